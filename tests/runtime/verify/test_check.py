"""``check_bundle``: passes what is right, fails what computes something else, refuses what is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mvit2.bundle.manifest import read_manifest, record
from mvit2.errors import BundleError
from mvit2.runtime import BundleReport, check_bundle
from mvit2.runtime.verify.golden import GOLDEN

Edit = Callable[[Path], None]
ARTIFACTS = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
PHOTO, PIXELS = "golden/coffee.png", "golden/coffee.rgb"
SCORES = tuple(f"golden/{name}.f32" for name in ARTIFACTS)


def _failed(report: BundleReport) -> list[str]:
    return [d.stage for d in report.differences if not d.passed]


# ---- right ----


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_exported_bundle_passes(threads: int | None, demo_bundle: Path) -> None:
    report = check_bundle(str(demo_bundle), threads)
    assert report.passed
    assert [d.stage for d in report.differences] == ARTIFACTS
    assert {d.inputs for d in report.differences} == {8}
    assert (report.other_pixels, report.skipped) == ((), ())


def test_the_same_engine_says_the_same(demo_bundle: Path) -> None:
    """Tolerances are for other machines: on the one that made the bundle only the order of a sum can differ."""
    promised = {a.file.path: a.parity.tolerance for a in read_manifest(demo_bundle).artifacts if a.parity}
    for found in check_bundle(demo_bundle, threads=1).differences:
        assert found.tolerance == promised[found.stage]
        assert found.max_relative <= 1e-5


# ---- wrong numbers: a report, not an exception ----


def _perturb(forge: ModuleType, bundle: Path, factor: float) -> None:
    """Scale the largest weight of the model file, which stays a valid model."""
    model = onnx.load(str(bundle / ARTIFACTS[0]))
    tensor = max(model.graph.initializer, key=lambda t: np.prod(t.dims))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(model, str(bundle / ARTIFACTS[0]))
    forge.resign(bundle, ARTIFACTS[0])


@pytest.mark.parametrize("factor", [1.01, 0.5, 0.0, float("nan"), 1e30])
def test_wrong_weights_fail(factor: float, bundle: Path, forge: ModuleType) -> None:
    _perturb(forge, bundle, factor)
    report = check_bundle(bundle)
    assert not report.passed
    assert _failed(report) == [ARTIFACTS[0]]


def test_the_same_weights_written_again_pass(bundle: Path, forge: ModuleType) -> None:
    _perturb(forge, bundle, 1.0)
    assert check_bundle(bundle).passed


def _swap(scores: Any) -> None:
    """The best class with the worst."""
    row = scores[-20:]
    best, worst = row.argmax(), row.argmin()
    row[[best, worst]] = row[[worst, best]]


@pytest.mark.parametrize("edit", [_swap, lambda scores: scores.__setitem__(67, 0.0)])
def test_other_scores_fail(edit: Callable[[Any], Any], bundle: Path, forge: ModuleType) -> None:
    forge.edit_numbers(bundle, SCORES[1], "<f4", edit)
    report = check_bundle(bundle)
    assert not report.passed
    assert _failed(report) == ARTIFACTS[1:2]


@pytest.mark.parametrize(
    ("edit", "failed"),
    [
        # what a channel swap on the way would look like
        (lambda pixels: np.ascontiguousarray(pixels.reshape(-1, 3)[:, ::-1]), ARTIFACTS),
        # scores forgive one level of one pixel, preprocessing does not
        (lambda pixels: pixels.__setitem__(12345, pixels[12345] ^ 1), []),
    ],
    ids=["channels", "one level"],
)
def test_other_pixels_fail(edit: Callable[[Any], Any], failed: list[str], bundle: Path, forge: ModuleType) -> None:
    forge.edit_numbers(bundle, PIXELS, "u1", edit)
    report = check_bundle(bundle)
    assert not report.passed
    assert (report.other_pixels, _failed(report)) == (("coffee",), failed)


def test_pixels_of_another_case_fail(bundle: Path, forge: ModuleType) -> None:
    forge.edit_json(bundle, GOLDEN, lambda golden: golden["cases"][-1].update(pixels=PIXELS))
    assert _failed(check_bundle(bundle)) == ARTIFACTS


def test_nothing_checked_is_not_passed(bundle: Path, forge: ModuleType) -> None:
    assert not BundleReport((), (), (("model_float32.onnx", "no engine"),)).passed
    forge.edit_manifest(bundle, lambda m: m.update(artifacts=[]))
    with pytest.raises(BundleError, match="lists no model file"):
        check_bundle(bundle)


def test_the_manifest_cannot_widen_its_own_tolerance(bundle: Path, forge: ModuleType) -> None:
    """Else a forged manifest would pass everything."""
    forge.edit_manifest(bundle, lambda m: [a["parity"].update(tolerance=100.0) for a in m["artifacts"]])
    assert {d.tolerance for d in check_bundle(bundle).differences} == {1e-4, 2e-2}


# ---- damage: an exception ----


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", [*ARTIFACTS, "labels.txt", GOLDEN, PHOTO, PIXELS, *SCORES])
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


def test_every_listed_file_is_checked(bundle: Path, forge: ModuleType) -> None:
    """Also one that neither the labels nor the golden vectors lead to."""
    (bundle / "notes.txt").write_text("as exported")
    entry = asdict(record(bundle, "notes.txt"))
    forge.edit_manifest(bundle, lambda m: m["files"].append(entry))
    assert check_bundle(bundle).passed
    (bundle / "notes.txt").write_text("as changed!")
    with pytest.raises(BundleError, match=r"notes\.txt was changed"):
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
