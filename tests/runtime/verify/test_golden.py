"""Golden vectors: what a phone's test reads, and what is refused when they are damaged."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.manifest import read_manifest, record
from mvit2.errors import BundleError
from mvit2.image.preprocess import preprocess
from mvit2.runtime import check_bundle
from mvit2.runtime.verify.golden import GOLDEN, read_golden, write_golden

Edit = Callable[[dict[str, Any]], Any]
ARTIFACTS = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
PHOTO, PIXELS, SCORES = "golden/coffee.png", "golden/coffee.rgb", "golden/model_float16.tflite.f32"


def test_the_formats_are_what_the_readme_says(demo_bundle: Path) -> None:
    """Read without mvit2, as the test inside an app does."""
    index = json.loads((demo_bundle / GOLDEN).read_bytes())
    assert index["input"] == {"dtype": "uint8", "shape": [128, 128, 3]}
    assert index["output"] == {"dtype": "float32", "shape": [20], "floor": 1e-30}
    assert [case["name"] for case in index["cases"] if case["picture"] is None] == ["black", "white", "checkerboard"]
    spec = read_manifest(demo_bundle).preprocess
    for case in index["cases"]:
        pixels = np.fromfile(demo_bundle / case["pixels"], np.uint8).reshape(index["input"]["shape"])
        if case["picture"] is not None:
            picture = Image.open(demo_bundle / case["picture"])
            assert (picture.format, picture.mode, picture.info) == ("PNG", "RGB", {})
            assert np.array_equal(preprocess(picture, spec), pixels)
    assert list(index["scores"]) == ARTIFACTS
    for name, scores in index["scores"].items():
        numbers = np.fromfile(demo_bundle / scores["file"], "<f4").reshape(len(index["cases"]), 20)
        assert np.abs(numbers.sum(-1) - 1).max() < 1e-5
        assert scores["tolerance"] == (2e-2 if "float16" in name else 1e-4)


def test_the_golden_vectors_survive_writing_and_reading(demo_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(demo_bundle)
    golden = read_golden(demo_bundle, manifest)
    assert sorted(write_golden(tmp_path, golden, manifest.artifacts)) == sorted(
        f.path for f in manifest.files if "golden" in f.path
    )
    for file in manifest.files:
        if "golden" in file.path:
            assert record(tmp_path, file.path) == file
    again = read_golden(tmp_path, manifest)
    assert again.names == golden.names
    assert np.array_equal(again.pixels, golden.pixels)
    assert list(again.scores) == ARTIFACTS
    assert all(np.array_equal(again.scores[name], golden.scores[name]) for name in ARTIFACTS)


def _png(width: int, height: int, scanlines: bytes = b"") -> bytes:
    """A PNG whose header promises so many pixels, whatever its data hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(scanlines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (_png(128, 128, bytes(100)), "truncated"),
        (_png(12_000, 12_000), "is too large (12000x12000)"),  # warned of by Pillow
        (_png(2**31 - 1, 2**31 - 1), "is too large"),  # refused by Pillow
        (b"", "is empty"),
        (b"GIF89a, no picture", "is damaged or truncated"),
        (b"\x89PNG\r\n\x1a\n", "golden/coffee.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_golden_picture_that_is_none(content: bytes, wrong: str, bundle: Path, forge: ModuleType) -> None:
    (bundle / PHOTO).write_bytes(content)
    forge.resign(bundle, PHOTO)
    with pytest.raises(BundleError) as caught:
        check_bundle(bundle)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (lambda g: g["cases"].clear(), "0 cases"),
        (lambda g: g["cases"].append({}), "golden.cases[8]: missing or unknown"),
        (lambda g: g["cases"][0].pop("name"), "golden.cases[0]: missing or unknown"),
        (lambda g: g["cases"][0].pop("pixels"), "golden.cases[0]: missing or unknown"),
        (lambda g: g["cases"][0].update(pixels="golden/absent.rgb"), "'golden/absent.rgb' is missing"),
        (lambda g: g["cases"][0].update(pixels="../outside.rgb"), "'../outside.rgb' is missing"),
        (lambda g: g["cases"][0].update(pixels=[PIXELS]), "expected str"),
        (lambda g: g["cases"][0].update(pixels=None), "expected str"),
        (lambda g: g["cases"][0].update(pixels="golden/cat.png"), "expected 49152"),
        (lambda g: g["cases"][0].update(picture="golden/cat.rgb"), "accepted: JPEG, PNG"),
        (lambda g: g["input"].update(shape=[127, 128, 3]), "8 cases of [127, 128, 3] and float32 [20]"),
        (lambda g: g["input"].update(dtype="float32"), "expected 'uint8'"),
        (lambda g: g["output"].update(shape=[21]), "8 cases of [128, 128, 3] and float32 [21]"),
        (lambda g: g["output"].update(dtype="uint8"), "8 cases of [128, 128, 3] and uint8 [20]"),
        (lambda g: g["scores"].pop(ARTIFACTS[0]), f"{ARTIFACTS[0]!r} is missing"),
        (lambda g: g["scores"][ARTIFACTS[0]].update(file="golden/absent.f32"), "'golden/absent.f32' is missing"),
        (lambda g: g["scores"][ARTIFACTS[0]].update(file=PIXELS), "has 49152 bytes, expected 640"),
        (lambda g: g["scores"].update(more=3), "golden.scores['more'] is '3', expected an object"),
    ],
)
def test_golden_vectors_that_cannot_be_used(
    edit: Callable[[dict[str, Any]], Any], wrong: str, bundle: Path, forge: ModuleType
) -> None:
    forge.edit_json(bundle, GOLDEN, edit)
    with pytest.raises(BundleError, match=r"golden\.json cannot be used") as caught:
        check_bundle(bundle)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.1, 1.1])
def test_scores_that_are_no_probabilities(number: float, bundle: Path, forge: ModuleType) -> None:
    forge.edit_numbers(bundle, SCORES, "<f4", lambda scores: scores.__setitem__(159, number))
    with pytest.raises(BundleError, match=rf"golden\.json cannot be used \({SCORES} holds numbers that are no"):
        check_bundle(bundle)


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b'{"cases": 7}', b'{"cases": {"a": 1}}', b"\xff", b"[" * 100_000])
def test_golden_json_that_is_none(text: bytes, bundle: Path, forge: ModuleType) -> None:
    (bundle / GOLDEN).write_bytes(text)
    forge.resign(bundle, GOLDEN)
    with pytest.raises(BundleError, match=r"golden\.json cannot be used"):
        check_bundle(bundle)


def test_golden_vectors_must_be_listed(bundle: Path, forge: ModuleType) -> None:
    forge.edit_manifest(bundle, lambda m: m.update(files=[f for f in m["files"] if f["path"] != GOLDEN]))
    with pytest.raises(BundleError, match="has no golden vectors"):
        check_bundle(bundle)
