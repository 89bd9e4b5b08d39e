"""``check_bundle``: passes what is right, fails what computes something else, refuses what is damaged."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from mvit2.errors import BundleError
from mvit2.manifest import MANIFEST, read_manifest, record
from mvit2.runtime import BundleReport, check_bundle
from mvit2.runtime.check import GOLDEN, read_golden, write_golden

Edit = Callable[[Path], None]
ARTIFACTS = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
PHOTO = "golden/coffee.png"


@pytest.fixture
def bundle(demo_bundle: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))


def _resign(bundle: Path, *paths: str) -> None:
    """Bring the manifest's size and sha256 of changed files up to date, as a careful forger would."""
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    for file in [*manifest["files"], *(artifact["file"] for artifact in manifest["artifacts"])]:
        if file["path"] in paths:
            now = record(bundle, file["path"])
            file.update(bytes=now.bytes, sha256=now.sha256)
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _edit_golden(bundle: Path, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    content = json.loads((bundle / GOLDEN).read_text(encoding="utf-8"))
    edit(content["cases"])
    (bundle / GOLDEN).write_text(json.dumps(content), encoding="utf-8")
    _resign(bundle, GOLDEN)


def _edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    edit(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _failed(report: BundleReport) -> list[str]:
    return [d.stage for d in report.differences if not d.passed]


# ---- right ----


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_exported_bundle_passes(threads: int | None, demo_bundle: Path) -> None:
    report = check_bundle(str(demo_bundle), threads)
    assert report.passed
    assert [d.stage for d in report.differences] == ARTIFACTS
    assert {d.inputs for d in report.differences} == {8}
    assert report.skipped == ()


def test_the_figures_are_those_of_the_export(demo_bundle: Path) -> None:
    """The same files, inputs and engines: what the manifest promises is found again."""
    promised = {a.file.path: a.parity for a in read_manifest(demo_bundle).artifacts}
    for found in check_bundle(demo_bundle).differences:
        assert found.max_log_probability == pytest.approx(promised[found.stage].max_log_probability, rel=0.5)
        assert found.tolerance == promised[found.stage].tolerance
        assert 0 < found.max_log_probability <= found.tolerance


def test_the_golden_vectors_survive_writing_and_reading(demo_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(demo_bundle)
    golden = read_golden(demo_bundle, manifest)
    assert sorted(write_golden(tmp_path, golden)) == sorted(f.path for f in manifest.files if "golden" in f.path)
    for file in manifest.files:
        if "golden" in file.path:
            assert record(tmp_path, file.path) == file
    again = read_golden(tmp_path, manifest)
    assert again.names == golden.names
    assert np.array_equal(again.pixels, golden.pixels)
    assert np.array_equal(again.probabilities, golden.probabilities)
    assert golden.probabilities.dtype == np.float32
    np.testing.assert_allclose(golden.probabilities.sum(-1), 1, atol=1e-6)


# ---- wrong numbers: a report, not an exception ----


def _perturb(bundle: Path, factor: float) -> None:
    """Scale the largest weight of the model file, which stays a valid model."""
    model = onnx.load(str(bundle / ARTIFACTS[0]))
    tensor = max(model.graph.initializer, key=lambda t: np.prod(t.dims))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(model, str(bundle / ARTIFACTS[0]))
    _resign(bundle, ARTIFACTS[0])


@pytest.mark.parametrize("factor", [1.01, 0.5, 0.0, float("nan"), 1e30])
def test_wrong_weights_fail(factor: float, bundle: Path) -> None:
    _perturb(bundle, factor)
    report = check_bundle(bundle)
    assert not report.passed
    assert _failed(report) == [ARTIFACTS[0]]


def test_the_same_weights_written_again_pass(bundle: Path) -> None:
    _perturb(bundle, 1.0)
    assert check_bundle(bundle).passed


def _swap(case: dict[str, Any]) -> None:
    """The best class with the worst."""
    p = case["probabilities"]
    best, worst = p.index(max(p)), p.index(min(p))
    p[best], p[worst] = p[worst], p[best]


@pytest.mark.parametrize(
    "edit",
    [
        lambda cases: _swap(cases[0]),
        lambda cases: _swap(cases[-1]),
        lambda cases: cases[3]["probabilities"].__setitem__(7, 0.0),
        lambda cases: cases[0].update(pixels=cases[1]["pixels"]),
    ],
)
def test_wrong_golden_vectors_fail(edit: Callable[[list[dict[str, Any]]], Any], bundle: Path) -> None:
    _edit_golden(bundle, edit)
    report = check_bundle(bundle)
    assert not report.passed
    assert _failed(report) == ARTIFACTS


def test_wrong_golden_pixels_fail(bundle: Path) -> None:
    """What a channel swap on the way would look like."""
    pixels = np.asarray(Image.open(bundle / PHOTO).convert("RGB"))
    Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])).save(bundle / PHOTO)
    _resign(bundle, PHOTO)
    assert _failed(check_bundle(bundle)) == ARTIFACTS


def test_nothing_checked_is_not_passed(bundle: Path) -> None:
    assert not BundleReport((), (("model_float32.onnx", "no engine"),)).passed
    _edit_manifest(bundle, lambda m: m.update(artifacts=[]))
    with pytest.raises(BundleError, match="lists no model file"):
        check_bundle(bundle)


def test_the_manifest_cannot_widen_its_own_tolerance(bundle: Path) -> None:
    """Else a forged manifest would pass everything."""
    _edit_manifest(bundle, lambda m: [a["parity"].update(tolerance=100.0) for a in m["artifacts"]])
    assert {d.tolerance for d in check_bundle(bundle).differences} == {1e-4, 2e-2}


# ---- damage: an exception ----


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", [*ARTIFACTS, "labels.txt", GOLDEN, PHOTO])
@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (_flip, "was changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "was changed"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_damaged_file_raises(damage: Edit, wrong: str, file: str, bundle: Path) -> None:
    damage(bundle / file)
    with pytest.raises(BundleError, match=wrong) as caught:
        check_bundle(bundle)
    assert file in str(caught.value) and "\n" not in str(caught.value)


def test_every_listed_file_is_checked(bundle: Path) -> None:
    """Also one that neither the labels nor the golden vectors lead to."""
    (bundle / "notes.txt").write_text("as exported")
    entry = asdict(record(bundle, "notes.txt"))
    _edit_manifest(bundle, lambda m: m["files"].append(entry))
    assert check_bundle(bundle).passed
    (bundle / "notes.txt").write_text("as changed!")
    with pytest.raises(BundleError, match=r"notes\.txt was changed"):
        check_bundle(bundle)


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
        (_png(127, 128, bytes((127 * 3 + 1) * 128)), "has 128x127 pixels, the network 128x128"),
        (_png(1, 1, bytes(4)), "has 1x1 pixels, the network 128x128"),
        (_png(128, 128, bytes(100)), "truncated"),
        (_png(12_000, 12_000), "is too large (12000x12000)"),  # warned of by Pillow
        (_png(2**31 - 1, 2**31 - 1), "is too large"),  # refused by Pillow
        (b"", "is empty"),
        (b"GIF89a, no picture", "is a GIF file"),
        (b"\x89PNG\r\n\x1a\n", "golden/coffee.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_golden_picture_that_is_none(content: bytes, wrong: str, bundle: Path) -> None:
    (bundle / PHOTO).write_bytes(content)
    _resign(bundle, PHOTO)
    with pytest.raises(BundleError) as caught:
        check_bundle(bundle)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda cases: cases.clear(),
        lambda cases: cases.append({}),
        lambda cases: cases[0].pop("name"),
        lambda cases: cases[0].pop("pixels"),
        lambda cases: cases[0].pop("probabilities"),
        lambda cases: cases[0].update(pixels="golden/absent.png"),
        lambda cases: cases[0].update(pixels="../outside.png"),
        lambda cases: cases[0].update(pixels=["golden/coffee.png"]),
        lambda cases: cases[0].update(probabilities=None),
        lambda cases: cases[0]["probabilities"].pop(),
        lambda cases: cases[0]["probabilities"].__setitem__(0, None),
        lambda cases: cases[0]["probabilities"].__setitem__(0, "x"),
        lambda cases: cases[0]["probabilities"].__setitem__(0, float("nan")),
        lambda cases: cases[0]["probabilities"].__setitem__(0, float("inf")),
        lambda cases: cases[0]["probabilities"].__setitem__(0, 10**400),
        lambda cases: cases[0]["probabilities"].__setitem__(0, -0.1),
        lambda cases: cases[0]["probabilities"].__setitem__(0, 1.1),
        lambda cases: [case["probabilities"].pop() for case in cases],
    ],
)
def test_golden_vectors_that_cannot_be_used(edit: Callable[[list[dict[str, Any]]], Any], bundle: Path) -> None:
    _edit_golden(bundle, edit)
    with pytest.raises(BundleError, match=r"golden\.json") as caught:
        check_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b'{"cases": 7}', b'{"cases": {"a": 1}}', b"\xff", b"[" * 100_000])
def test_golden_json_that_is_none(text: bytes, bundle: Path) -> None:
    (bundle / GOLDEN).write_bytes(text)
    _resign(bundle, GOLDEN)
    with pytest.raises(BundleError, match=r"golden\.json cannot be used"):
        check_bundle(bundle)


def test_golden_vectors_must_be_listed(bundle: Path) -> None:
    _edit_manifest(bundle, lambda m: m.update(files=[f for f in m["files"] if f["path"] != GOLDEN]))
    with pytest.raises(BundleError, match="has no golden vectors"):
        check_bundle(bundle)


# ---- an engine is missing ----


@pytest.mark.parametrize(
    ("hidden", "checked", "skipped"),
    [
        (("onnxruntime",), ARTIFACTS[1:], {ARTIFACTS[0]: "mvit2[ort]"}),
        (("ai_edge_litert",), ARTIFACTS[:1], dict.fromkeys(ARTIFACTS[1:], "mvit2[litert]")),
        (("onnxruntime", "ai_edge_litert"), [], {ARTIFACTS[0]: "[ort]", **dict.fromkeys(ARTIFACTS[1:], "[litert]")}),
    ],
)
def test_what_cannot_run_is_listed(
    hidden: tuple[str, ...], checked: list[str], skipped: dict[str, str], demo_bundle: Path
) -> None:
    script = (
        f"import json, sys; sys.modules.update(dict.fromkeys({hidden})); from mvit2.runtime import check_bundle\n"
        "r = check_bundle(sys.argv[1])\n"
        "print(json.dumps([r.passed, [d.stage for d in r.differences], r.skipped]))"
    )
    done = subprocess.run([sys.executable, "-c", script, demo_bundle], capture_output=True, text=True, check=True)
    passed, stages, left_out = json.loads(done.stdout)
    assert (passed, stages) == (bool(checked), checked)
    assert [file for file, _ in left_out] == list(skipped)
    assert all(skipped[file] in reason for file, reason in left_out)
