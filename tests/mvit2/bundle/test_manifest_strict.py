"""A manifest is untrusted input: what does not fit exactly is refused, always as BundleError, always in one line."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mvit2.bundle.manifest import MANIFEST, SCHEMA_VERSION, read_manifest, write_manifest
from mvit2.bundle.proofs import Proof
from mvit2.errors import BundleError

Spot = tuple[Any, ...]  # the keys and indices that lead to a place in a JSON value


@pytest.fixture(scope="module")
def content(demo_bundle: Path) -> dict[str, Any]:
    """A real manifest; one of each kind of entry is enough."""
    whole: dict[str, Any] = json.loads((demo_bundle / MANIFEST).read_text(encoding="utf-8"))
    return {**whole, "artifacts": whole["artifacts"][1:2], "files": whole["files"][:2], "parity": whole["parity"][:1]}


def _spots(value: Any, at: Spot = ()) -> Iterator[tuple[Spot, Any]]:
    """Every place in a JSON value, outermost first."""
    yield at, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from _spots(below, (*at, key))


def _changed(content: Any, at: Spot, value: Any) -> Any:
    if not at:
        return value
    changed = copy.deepcopy(content)
    place = changed
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    return changed


def _one_line(error: Exception) -> str:
    text = str(error)
    assert text and text.isprintable() and len(text) < 1000, repr(text)[:2000]
    return text


def _refusal(folder: Path, content: Any) -> str:
    """The one line that read_manifest says of ``content``: text, bytes, or a JSON value."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    (folder / MANIFEST).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BundleError) as caught:
        read_manifest(folder)
    return _one_line(caught.value)


FILE = {"path": "x.bin", "bytes": 3, "sha256": "ab" * 32}
PROOF = asdict(Proof("absent.onnx", "fp16", "ONNX", "float16", "2026-11-27"))

_OPTIONAL = {
    "unverified",
    "calibration",
    "quantisation",
    "resize_shortest",
    "resize_exact",
    "xnnpack_partitions",
    "not_delegated",
    "zero_point",
    "largest",
}
_FLOATS = {"max_absolute", "max_relative", "top1_agreement", "tolerance", "scale", "largest"}
_OTHERS: tuple[Any, ...] = (None, True, 7, 1.5, "x", [], {}, [[]], {"x": 1})


def _fits(at: Spot, value: Any, other: Any) -> bool:
    """Whether ``other`` is as good in this place as ``value`` is, as far as its type goes."""
    if other is None:  # a tensor may have no scale, the preprocessing has one
        return at[-1] in _OPTIONAL or at[-2:-1] == ("shape",) or (at[-1] == "scale" and at[0] == "artifacts")
    if at[-1] in _FLOATS or at[-2:-1] in (("mean",), ("std",)):
        return type(other) in (int, float)
    if at[-1] == "zero_point":
        return type(other) is int
    if at[-1] == "operators":
        return other in ({}, {"x": 1})
    if isinstance(value, list | dict):
        return bool(other == type(value)())
    return type(other) is type(value)


def test_every_wrong_type_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    tried = 0
    for at, value in list(_spots(content))[1:]:
        for other in _OTHERS:
            if not _fits(at, value, other):
                message = _refusal(tmp_path, _changed(content, at, other))
                assert [str(key) for key in at if isinstance(key, str)][-1] in message, (at, other, message)
                tried += 1
    assert tried > 500


def test_a_missing_or_unknown_field_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    tried = 0
    for at, whole in _spots(content):
        if not isinstance(whole, dict) or at[-1:] in (("tools",), ("operators",), ("rules",)):
            continue
        for name in whole:
            fewer = {key: value for key, value in whole.items() if key != name}
            assert f"missing or unknown ['{name}']" in _refusal(tmp_path, _changed(content, at, fewer))
            tried += 1
        for name in ("colour", "Name", "a\nb", "\ud800", "x" * 10_000):
            assert "missing or unknown" in _refusal(tmp_path, _changed(content, at, {**whole, name: 1}))
    assert tried > 50


def test_a_manifest_from_before_the_largest_values_is_read(content: dict[str, Any], tmp_path: Path) -> None:
    older = [{key: value for key, value in block.items() if key != "largest"} for block in content["blocks"]]
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "schema_version": 3, "blocks": older}))
    assert {block.largest for block in read_manifest(tmp_path).blocks} == {None}


@pytest.mark.parametrize(
    ("at", "value", "wrong"),
    [
        ((), [], "manifest is '[]', expected an object"),
        ((), None, "manifest is 'None', expected an object"),
        (("schema_version",), True, "manifest.schema_version is 'True', expected int"),
        (("schema_version",), SCHEMA_VERSION + 1, "this mvit2 reads 1 to 4: upgrade mvit2"),
        (("schema_version",), 10**4000, "upgrade mvit2"),
        (("schema_version",), 0, "this mvit2 reads 1 to 4: export the bundle again"),
        (("schema_version",), -1, "export the bundle again"),
        (("task",), "segmentation", "manifest.task is 'segmentation', expected 'image-classification' or 's"),
        (("task",), "semantic-segmentation", "the manifest has 0 colors, accepted: 20, one for each class"),
        (("output_kind",), "masks", "manifest.output_kind is 'masks', expected 'scores' or 'mask'"),
        (("output_kind",), "mask", "has masks of 20 classes for image-classification, accepted: semantic-segmentation"),
        (
            ("colors",),
            ["#000000"],
            "the manifest has 1 colors, accepted: none, an image classifier has no use for them",
        ),
        (("io",), "Image", "manifest.io is 'Image', expected 'image' or 'tensor'"),
        (("classes",), 3.0, "manifest.classes is '3.0', expected int"),
        (("classes",), None, "the manifest has None classes for image-classification, accepted: how many there are"),
        (("artifacts", 0, "outputs"), [], "gives model_float32.tflite no outputs, accepted: one or more"),
        (("artifacts", 0, "unverified"), "untried", "either parity or quantisation, or say unverified: why"),
        (("artifacts", 0, "parity"), None, "either parity or quantisation, or say unverified: why"),
        (("proofs",), [PROOF], "the manifest has a proof of 'absent.onnx', accepted: of its model files"),
        (
            ("artifacts", 0, "files"),
            [FILE],
            "lists 'x.bin' as a part of model_float32.tflite, accepted: files inside it",
        ),
        (
            ("artifacts", 0, "files"),
            [{**FILE, "path": "model_float32.tflite/x.bin"}],
            "record of model_float32.tflite is not that of the 1 files it lists",
        ),
        (("tools",), {"a\nb": 1}, r"manifest.tools['a\nb'] is '1', expected str"),
        (("tools",), {"\ud800": "1"}, "expected text that UTF-8 can write"),
        (("blocks", 0, "macs"), -1, "block 'conv_stem' has the sizes (64, 64, 16, 464, -1), accepted: 0 to "),
        (("blocks", 0, "shape"), [10**4000, 1, 1], "block 'conv_stem' has the sizes (1000"),
        (("blocks", 0, "largest"), -1, "block 'conv_stem' has the largest value -1.0, accepted: 0 or more"),
        (("name",), "\udfff", r"manifest.name is '\udfff', expected text that UTF-8 can write"),
        (("files", 0, "path"), "../x", "manifest names the file '../x'; accepted are plain relative paths"),
        (("files", 0, "path"), "a/" * 4_000_000 + "a", "accepted are plain relative paths"),
        (("artifacts", 0, "engine"), "tflite", "expected 'onnxruntime' or 'litert'"),
        (("artifacts", 0, "engine"), "onnxruntime", "gives model_float32.tflite to onnxruntime, accepted: *.onnx"),
        (("artifacts", 0, "file", "path"), "x.tflite.zip", "gives x.tflite.zip to litert, accepted: *.tflite"),
        (("artifacts", 0, "precision"), "bfloat16", "manifest.artifacts[0].precision is 'bfloat16'"),
        (("parity", 0, "tolerance"), math.nan, "manifest.parity[0].tolerance is 'nan', expected a finite number"),
        (("parity", 0, "tolerance"), math.inf, "expected a finite number"),
        (("parity", 0, "tolerance"), 10**400, "expected a finite number"),
        (("preprocess", "image_size"), [224], "manifest.preprocess.image_size is '[224]', expected 2 values"),
        (("preprocess", "image_size"), [224, 0], "image_size = (224, 0) cannot be used"),
        (("preprocess", "image_size"), [224, 10**9], "image_size = (224, 1000000000) cannot be used"),
        (("preprocess", "scale"), 0, "scale = 0.0 cannot be used"),
        (("preprocess", "resize_exact"), [9, 9], "resize_exact = (9, 9) cannot be used"),
        (("preprocess", "resample"), "nearest", "expected 'bilinear' or 'bicubic'"),
    ],
)
def test_refused(at: Spot, value: Any, wrong: str, content: dict[str, Any], tmp_path: Path) -> None:
    assert wrong in _refusal(tmp_path, _changed(content, at, value))


_NO_JSON = [
    *("", "{", "{'name': 1}", "\0", '{"schema_version": 1}{}', "\ufeff{}", b"\xff\xfe"),
    *("9" * 5000, "[" * 100_000, '{"a":' * 100_000),
]


@pytest.mark.parametrize("text", _NO_JSON, ids=lambda text: repr(text[:12]))
def test_what_is_no_json_is_refused(text: str | bytes, tmp_path: Path) -> None:
    assert "not readable JSON" in _refusal(tmp_path, text)


def test_nesting_at_the_interpreters_limit_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    """What json can just read, a message must still be able to print."""
    text = json.dumps({**content, "variant": "VARIANT"})
    for depth in range(850, 1001):
        _refusal(tmp_path, text.replace('"VARIANT"', "[" * depth + "]" * depth))


def test_a_newer_schema_is_told_apart_from_damage(tmp_path: Path) -> None:
    """Nothing but the version is known of it."""
    message = _refusal(tmp_path, {"schema_version": 99, "everything": "else"})
    assert "schema_version 99, this mvit2 reads 1 to 4: upgrade mvit2" in message


def test_size_limit(content: dict[str, Any], tmp_path: Path) -> None:
    text, limit = json.dumps(content), 8 << 20
    (tmp_path / MANIFEST).write_text(text.ljust(limit))
    assert read_manifest(tmp_path).name == content["name"]
    assert f"{limit + 1} bytes, accepted are at most {limit}" in _refusal(tmp_path, text.ljust(limit + 1))


_JUNK: tuple[Any, ...] = (*_OTHERS, -1, 0, 1e308, 10**400, math.nan, "", "../x", "\ud800", "a\nb", [1, 2], "model.onnx")


def _mutated(content: dict[str, Any], random_: random.Random) -> bytes:
    """The real thing with one to three changes: of JSON values first, then perhaps of bytes."""
    content = copy.deepcopy(content)
    for _ in range(random_.randint(1, 3)):
        places = [value for _, value in _spots(content) if isinstance(value, dict | list) and value]
        place = random_.choice(places)
        key = random_.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if random_.random() < 0.3:
            del place[key]
        else:
            place[key] = copy.deepcopy(random_.choice(_JUNK))
    data = bytearray(json.dumps(content).encode())
    for _ in range(random_.choice((0, 0, 1, 5))):
        at = random_.randrange(len(data))
        data[at : at + random_.randint(0, 3)] = random_.randbytes(random_.randint(0, 3))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_mutations_are_read_or_refused_in_one_line(seed: int, content: dict[str, Any], tmp_path: Path) -> None:
    random_, read = random.Random(seed), 0
    for _ in range(200):
        (tmp_path / MANIFEST).write_bytes(_mutated(content, random_))
        try:
            manifest = read_manifest(tmp_path)
        except BundleError as error:
            _one_line(error)
            continue
        read += 1
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path) == manifest
    assert 0 < read < 150
