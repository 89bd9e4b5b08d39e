"""The manifest: what is written is what is read, and the files are those that it lists."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mvit2.bundle.accelerator import Accelerator
from mvit2.bundle.files import folder_record
from mvit2.bundle.manifest import (
    LABELS,
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    FileRecord,
    GraphFacts,
    Manifest,
    TensorFacts,
    WeightsIdentity,
    read_labels,
    read_manifest,
    record,
    sha256_of,
    verified_path,
    write_manifest,
)
from mvit2.bundle.measurements import Accuracy, Calibration, Fidelity, Quantisation
from mvit2.bundle.proofs import Estimate, Proof
from mvit2.difference import Difference
from mvit2.errors import BundleError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.blocks import Block

DIFFERENCE = Difference("stage \u2192 ü", 8, 1e-6, 1.25e-5, 0.875, 1e-4, finite=False)
NNAPI = Accelerator("NNAPI", 21, 20, 2, ("ai.onnx:Cast",), "maybe")
GRAPH = GraphFacts({"CONV_2D": 20, "CAST": 1}, 4, 3, ("FlexErf", "Other"), 2, ("CAST", "CUMSUM"), (NNAPI,))
FIDELITY = Fidelity("evaluation pictures", 50, 0.96, 21.5, 0.125, Accuracy(50, 40, 48), Accuracy(50, 39, 49))
PARTS = (
    FileRecord("model_float32.onnx/graph.pb", 5, "01" * 32),
    FileRecord("model_float32.onnx/weights/w.bin", 7, "23" * 32),
)
FULL = Manifest(  # no field has its default, so that a field that is dropped or replaced by its default shows
    schema_version=SCHEMA_VERSION,
    name="mobilevitv2-1.75-x",
    task="semantic-segmentation",
    architecture="mobilevitv2",
    variant="1.75",
    io="tensor",
    weights=WeightsIdentity("x", "owner/x@0123", "timm", "ab" * 32),
    preprocess=PreprocessSpec(
        (224, 160), None, (256, 192), "bicubic", "BGR", 0.0078125, (0.5, 0.25, 0.125), (0.5, 2.0, 4.0)
    ),
    classes=3,
    artifacts=(
        Artifact(
            FileRecord("model_float16.tflite", 12, "cd" * 32),
            "litert",
            "float16",
            TensorFacts("pixel_values", "float32", (None, 3, 224, 160), 0.25, 3),
            (TensorFacts("logits", "float32", (None, 3), 0.5, 4), TensorFacts("features", "float32", (1, 9), 0.5, 4)),
            GRAPH,
            DIFFERENCE,
        ),
        Artifact(
            FileRecord("model_int8.tflite", 11, "ce" * 32),
            "litert",
            "int8",
            TensorFacts("pixel_values", "float32", (None, 3, 224, 160), 0.25, 3),
            (TensorFacts("logits", "float32", (None, 3), 0.5, 4),),
            GRAPH,
            None,
            Quantisation("min-max", ("conv_stem",), {"min-max": 12.5}, FIDELITY),
        ),
        Artifact(
            folder_record("model_float32.onnx", PARTS),
            "onnxruntime",
            "float32",
            TensorFacts("pixel_values", "float32", (None, 3, 224, 160), 0.25, 3),
            (TensorFacts("logits", "float32", (None, 3), 0.5, 4),),
            GRAPH,
            unverified="nothing here runs it",
            files=PARTS,
        ),
    ),
    files=(FileRecord(LABELS, 9, "ef" * 32), FileRecord("golden/golden.json", 2, "01" * 32)),
    parity=(DIFFERENCE, replace(DIFFERENCE, stage="two", finite=True)),
    blocks=(Block("conv_stem", "3x3 convolution", (112, 80, 56), 1624, 13547520, 2861.0),),
    calibration=Calibration("folder", 3, ("aa" * 32, "bb" * 32), 1),
    tools={"torch": "2.13.0", "numpy": "2.4.6"},
    output_kind="mask",
    colors=("#000000", "#80ff00", "#0000ff"),
    assumptions=("preprocessing is ASSUMED",),
    reduce_labels=True,
    rules={"patches": "transformers"},
    options=("--format", "onnx", "--force"),
    proofs=(
        Proof(
            "model_float16.tflite",
            "litert-gpu",
            "SwiftShader",
            "float16",
            "2026-11-27",
            20,
            18,
            {"CAST": 2},
            DIFFERENCE,
            None,
            ("opens twice",),
            1.5,
            0.25,
            Estimate(0.5, 4096),
            {"ai-edge-litert": "2.3.0"},
        ),
        Proof("model_int8.tflite", "ethos-u", "Ethos-U85", "int8", "2026-11-27", failure="not compiled"),
    ),
)


def _one_line(error: Exception) -> str:
    text = str(error)
    assert text and text.isprintable() and len(text) < 1000, repr(text)[:2000]
    return text


def _touched(path: Path) -> Path:
    path.touch()
    return path


# ---- what is written is what is read ----


def test_round_trip_of_every_field(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    assert read_manifest(tmp_path) == FULL


def test_no_field_of_the_round_trip_has_its_default() -> None:
    def check(value: object) -> None:
        if isinstance(value, tuple):
            for one in value:
                check(one)
        elif is_dataclass(value):
            for field in fields(value):
                either = field.name in ("parity", "quantisation", "unverified", "files")  # an artifact has one of three
                if field.default is not MISSING and not isinstance(value, Difference | Proof) and not either:
                    assert getattr(value, field.name) != field.default, field.name
                check(getattr(value, field.name))

    check(FULL)
    for name in ("parity", "quantisation", "unverified", "files"):
        assert any(getattr(artifact, name) for artifact in FULL.artifacts), name
    for proof in fields(Proof):
        assert any(getattr(one, proof.name) for one in FULL.proofs), proof.name
    assert DIFFERENCE.finite is False
    assert FULL.tools


def test_the_exported_manifest_is_written_back_byte_for_byte(demo_bundle: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path, read_manifest(demo_bundle))
    assert (tmp_path / MANIFEST).read_bytes() == (demo_bundle / MANIFEST).read_bytes()


def test_the_exported_manifest_lists_every_file_with_its_hash(demo_bundle: Path) -> None:
    manifest = read_manifest(demo_bundle)
    listed = {f.path: (f.bytes, f.sha256) for f in (*manifest.files, *(a.file for a in manifest.artifacts))}
    found = {}
    for path in demo_bundle.rglob("*"):
        if path.is_file() and path.name not in (MANIFEST, "report.html", "README.md"):  # these two hold measured times
            content = path.read_bytes()
            found[path.relative_to(demo_bundle).as_posix()] = (len(content), hashlib.sha256(content).hexdigest())
    assert listed == found


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_is_not_written(bad: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_manifest(tmp_path, replace(FULL, parity=(replace(DIFFERENCE, max_absolute=bad),)))
    assert not (tmp_path / MANIFEST).exists()


def test_whole_numbers_are_floats_too(tmp_path: Path) -> None:
    """Other writers print 1.0 as 1."""
    write_manifest(tmp_path, FULL)
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace('"top1_agreement": 0.875', '"top1_agreement": 1'))
    value = read_manifest(tmp_path).parity[0].top1_agreement
    assert (value, type(value)) == (1.0, float)


# ---- where no bundle is ----


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda p: p / "absent", f"does not exist: no {MANIFEST}"),
        (lambda p: p, f"holds no {MANIFEST}"),
        (lambda p: _touched(p / "file"), f"is no folder with a {MANIFEST}"),
        (lambda p: (p / MANIFEST).mkdir() or p, f"holds no {MANIFEST}"),
        (lambda p: (p / MANIFEST).symlink_to(MANIFEST) or p, f"holds no {MANIFEST}"),
        (lambda p: os.mkfifo(p / MANIFEST) or p, f"holds no {MANIFEST}"),  # would block for ever
        (lambda p: p / ("x" * 300), f"does not exist: no {MANIFEST}"),
        (lambda p: Path("\0"), f"does not exist: no {MANIFEST}"),
    ],
)
def test_no_bundle(make: Any, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        read_manifest(make(tmp_path))
    assert f"{wrong}. Make a bundle with: mvit2-export" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- files ----


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../x", "a/../x", "a/..", "/etc/passwd", "//x", "a//b", "", ".", "./x", "a/", "/", " ", "a b"),
        *(
            "..\\x",
            "a\\b",
            "C:\\x",
            "C:x",
            "C:/x",
            "a\0b",
            "a\n",
            "\na",
            "é",
            ".hidden",
            "a/.hidden",
            "-o",
            "~",
            "$HOME",
        ),
        *("x" * 201, "x/" * 4000 + "x", "x" * 1_000_000),
    ],
    ids=lambda path: repr(path[:12]),
)
def test_a_path_that_could_lead_out_is_refused(path: str) -> None:
    with pytest.raises(BundleError, match="accepted are plain relative paths") as caught:
        FileRecord(path, 1, "00")
    _one_line(caught.value)


@pytest.mark.parametrize("path", ["a", "a.b", "golden/a-b_c.0.png", "A/b/C/d", "0", "_", "a..b", "x" * 200])
def test_plain_paths(path: str) -> None:
    assert FileRecord(path, 1, "00").path == path


def test_sha256(tmp_path: Path) -> None:
    """The example of FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert record(tmp_path, "abc") == FileRecord("abc", 3, sha256_of(tmp_path / "abc"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "golden").mkdir(parents=True)
    (folder / "golden" / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.bin").write_bytes(bytes(range(256)))
    return folder


def _link(link: Path, target: Path) -> None:
    link.rename(link.with_name("moved"))
    link.symlink_to(target)


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (lambda b: (b / "golden/a.bin").write_bytes(bytes(range(255)) + b"\0"), "was changed: its sha256 is"),
        (lambda b: (b / "golden/a.bin").write_bytes(bytes(range(255))), "is 255 bytes, the manifest says 256 bytes"),
        (lambda b: (b / "golden/a.bin").write_bytes(bytes(257)), "is 257 bytes, the manifest says 256 bytes"),
        (lambda b: (b / "golden/a.bin").write_bytes(b""), "is 0 bytes, the manifest says 256 bytes"),
        (lambda b: (b / "golden/a.bin").unlink(), "is missing"),
        (lambda b: (b / "golden").rename(b / "silver"), "is missing"),
        (lambda b: (b / "golden/a.bin").unlink() or (b / "golden/a.bin").mkdir(), "is missing"),
        (lambda b: _link(b / "golden/a.bin", b / "golden/a.bin"), "is missing"),
        (lambda b: _link(b / "golden/a.bin", b.parent / "outside/a.bin"), "leads out of the bundle"),
        (lambda b: _link(b / "golden", b.parent / "outside"), "leads out of the bundle"),
    ],
)
def test_a_damaged_file_is_refused(damage: Any, wrong: str, bundle: Path) -> None:
    file = record(bundle, "golden/a.bin")
    assert verified_path(bundle, file) == bundle / "golden" / "a.bin"
    damage(bundle)
    with pytest.raises(BundleError, match=wrong) as caught:
        verified_path(bundle, file)
    _one_line(caught.value)


def test_every_changed_byte_is_detected(bundle: Path) -> None:
    file, content = record(bundle, "golden/a.bin"), bytes(range(256))
    for at in range(256):
        (bundle / "golden/a.bin").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(BundleError, match="was changed"):
            verified_path(bundle, file)


def test_links_that_stay_inside_are_followed(bundle: Path) -> None:
    file = record(bundle, "golden/a.bin")
    (bundle.parent / "link").symlink_to(bundle)
    assert verified_path(bundle.parent / "link", file).is_file()
    _link(bundle / "golden/a.bin", bundle / "golden/moved")
    assert verified_path(bundle, file).is_file()


# ---- labels ----


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"ant\nbee\ncat\n", ("ant", "bee", "cat")),
        (b"ant\nbee\ncat", ("ant", "bee", "cat")),
        (b"ant\r\nbee\r\ncat\r\n", ("ant", "bee", "cat")),
        ("Ä\n日本\n\n".encode(), ("Ä", "日本", "")),
    ],
)
def test_labels(content: bytes, labels: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / LABELS).write_bytes(content)
    assert read_labels(tmp_path, replace(FULL, files=(record(tmp_path, LABELS),))) == labels


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "has 0 lines, the network 3 classes"),
        (b"ant\nbee\n", "has 2 lines, the network 3 classes"),
        (b"ant\nbee\ncat\ndog\n", "has 4 lines, the network 3 classes"),
        (b"ant\n\xff\ncat\n", "is no UTF-8 text"),
    ],
)
def test_labels_refused(content: bytes, wrong: str, tmp_path: Path) -> None:
    (tmp_path / LABELS).write_bytes(content)
    with pytest.raises(BundleError, match=wrong) as caught:
        read_labels(tmp_path, replace(FULL, files=(record(tmp_path, LABELS),)))
    _one_line(caught.value)


def test_labels_must_be_listed_and_intact(tmp_path: Path) -> None:
    (tmp_path / LABELS).write_text("ant\nbee\ncat\n")
    listed = replace(FULL, files=(record(tmp_path, LABELS),))
    with pytest.raises(BundleError, match=r"lists no labels\.txt"):
        read_labels(tmp_path, replace(FULL, files=()))
    (tmp_path / LABELS).write_text("ant\nbee\ncow\n")
    with pytest.raises(BundleError, match="was changed"):
        read_labels(tmp_path, listed)
