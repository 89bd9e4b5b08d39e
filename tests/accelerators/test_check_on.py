"""``mvit2 check --on``, ``--record``, ``mvit2 info`` and ``mvit2-export --prove``: the real commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mvit2.bundle.manifest import Precision, read_manifest
from mvit2.errors import CheckFailed, Mvit2Error, UsageError
from mvit2.export.pipeline import export
from mvit2.export.request import ExportRequest
from mvit2.runtime.accelerators.accelerator import Run
from mvit2.runtime.accelerators.prove import Proven, prove
from mvit2.runtime.accelerators.table import Place, parse_places
from mvit2.runtime.verify.golden import read_golden

Ran = Callable[..., subprocess.CompletedProcess[str]]
Placed = Callable[[str], Place]
FLOAT = "model_float32.onnx"


# ---- check ----


def test_a_proof_is_shown_and_recorded_and_listed(run: Ran, bundle: Path, place: Placed) -> None:
    place("opencv")
    done = run("check", bundle, "--on", "opencv", "--record")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "opencv: OpenCV's dnn" in line)
    operators = sum(read_manifest(bundle).artifacts[0].graph.operators.values())
    assert row.startswith(FLOAT) and f"{operators} of {operators}" in row and " ok " in row
    assert "not run on opencv: model_float32.tflite, model_float16.tflite (OpenCV opens .onnx files)" in done.stdout
    (proof,) = read_manifest(bundle).proofs
    assert (proof.file, proof.accelerator, proof.verdict) == (FLOAT, "opencv", "passed")
    assert any(name.startswith("opencv") for name in proof.versions)
    assert run("check", bundle).returncode == 0
    listed = run("info", bundle).stdout
    assert "not proven" in listed and "not for it" in listed
    assert proof.date in listed and "OpenCV's dnn on this CPU" in listed


def test_without_record_nothing_is_written(run: Ran, bundle: Path, place: Placed) -> None:
    place("fp16")
    before = (bundle / "manifest.json").read_bytes()
    done = run("check", bundle, "--on", "fp16", "--json")
    assert done.returncode == 0, done.stderr
    assert (bundle / "manifest.json").read_bytes() == before
    content = json.loads(done.stdout)
    assert content["passed"] and [proof["verdict"] for proof in content["proofs"]] == ["passed"]
    assert {one["file"] for one in content["not_proven"]} == {"model_float32.tflite", "model_float16.tflite"}


def test_a_wrong_file_exits_with_1_and_is_recorded_as_such(
    run: Ran, bundle: Path, place: Placed, faults: ModuleType, forge: ModuleType
) -> None:
    place("fp16")
    faults.large_norm(bundle / FLOAT)
    forge.resign(bundle, FLOAT)
    done = run("check", bundle, "--on", "fp16", "--record", "--json")
    assert done.returncode == 1
    content = json.loads(done.stdout)
    assert content["error"].startswith(f"not proven: {FLOAT} on fp16")
    (proof,) = content["proofs"]
    assert proof["verdict"] == "failed" and "encoder.layer.3.layernorm" in proof["failure"]
    assert done.stderr.count("error:") == 1
    assert [p.verdict for p in read_manifest(bundle).proofs] == ["failed"]
    assert "why they failed" in run("info", bundle).stdout
    quiet = run("check", bundle, "--on", "fp16", "--quiet")
    assert (quiet.returncode, quiet.stdout) == (1, "") and "FAILED" in quiet.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--on", "litertgpu"], 2, "Did you mean 'litert-gpu'?"),
        (["--on", "qnn-htp:9gen9"], 2, "unknown chip in --on 'qnn-htp:9gen9'"),
        (["--record"], 2, "--record is about accelerators: add --on PLACE"),
        (["--compiled", "folder"], 2, "--compiled is about accelerators"),
        (["--artifact", FLOAT], 2, "--artifact is about accelerators"),
        (["--on", "opencv", "--artifact", "model_float32.onx"], 1, f"Did you mean '{FLOAT}'"),
        (["--on", "opencv", "--artifact", "model_float32.tflite"], 1, "nothing was proven"),
    ],
)
def test_what_is_impossible_is_refused(options: list[str], code: int, said: str, run: Ran, demo_bundle: Path) -> None:
    done = run("check", demo_bundle, *options)
    assert done.returncode == code
    assert said in done.stderr and done.stderr.count("error:") == 1


def test_a_changed_file_is_run_nowhere(run: Ran, bundle: Path) -> None:
    content = bytearray((bundle / FLOAT).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / FLOAT).write_bytes(content)
    done = run("check", bundle, "--on", "opencv")
    assert done.returncode == 1 and "was changed" in done.stderr


# ---- in process ----


def _place() -> Place:
    place = parse_places("--on", ["opencv"])[0]
    return replace(place, accelerator=replace(place.accelerator, missing=lambda: None))


def test_all_leaves_out_what_is_missing_and_says_it(demo_bundle: Path) -> None:
    lacking = replace(_place(), accelerator=replace(_place().accelerator, missing=lambda: "no driver; install one"))
    proven = prove(demo_bundle, [replace(lacking, optional=True)])
    assert proven.proofs == () and not proven.passed
    assert [(one.place, one.file, one.reason) for one in proven.skipped] == [("opencv", None, "no driver; install one")]
    with pytest.raises(Mvit2Error, match=r"^opencv: no driver; install one$"):
        prove(demo_bundle, [lacking])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """What every process says from now on."""

    def say(run: Run) -> None:
        monkeypatch.setattr("mvit2.runtime.accelerators.prove.run_apart", lambda *_: run)

    return say


GOOD = Run("a chip", "float32", operators=10, placed=10)


@pytest.mark.parametrize(
    ("run", "verdict", "reason"),
    [
        (replace(GOOD, outputs=np.full((8, 20), 0.05, np.float32)), "failed", "differ by"),
        (replace(GOOD, outputs=np.full((8, 20), np.nan, np.float32)), "failed", "NaN or Inf"),
        (replace(GOOD, outputs=np.full((7, 20), 0.05, np.float32)), "failed", "returns [7, 20], expected [8, 20]"),
        (replace(GOOD, failure="its process was killed by SIGSEGV"), "failed", "SIGSEGV"),
        (GOOD, "placement only", ""),
    ],
)
def test_answers_are_judged_here(
    run: Run, verdict: str, reason: str, answers: Callable[[Run], None], demo_bundle: Path
) -> None:
    answers(run)
    (proof,) = prove(demo_bundle, [_place()]).proofs
    assert proof.verdict == verdict and reason in proof.reason


def test_half_precision_has_a_tolerance_of_its_own(answers: Callable[[Run], None], demo_bundle: Path) -> None:
    scores = read_golden(demo_bundle, read_manifest(demo_bundle)).scores[FLOAT] * np.float32(1.05)
    answers(replace(GOOD, outputs=scores))
    assert not prove(demo_bundle, [_place()]).passed
    answers(replace(GOOD, arithmetic="float16", outputs=scores))
    assert prove(demo_bundle, [_place()]).passed


@pytest.mark.parametrize(
    ("float_activations", "far", "passed"),
    [(("float16",), 1.0, True), ((), 1.0, False), (("float16",), 2.0, False)],
)
def test_where_activations_stay_in_float_the_float_file_is_the_measure_too(
    float_activations: tuple[Precision, ...],
    far: float,
    passed: bool,
    answers: Callable[[Run], None],
    demo_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """float16 stands for dynamic, which this bundle has no file of; its CPU is said to have answered otherwise."""
    golden, rounded = read_golden(demo_bundle, read_manifest(demo_bundle)), "model_float16.tflite"
    scores = {**golden.scores, rounded: golden.scores[rounded] * np.float32(1.5)}
    monkeypatch.setattr("mvit2.runtime.accelerators.prove.read_golden", lambda *_: replace(golden, scores=scores))
    answers(replace(GOOD, outputs=golden.scores[FLOAT] * np.float32(far)))
    row = replace(_place().accelerator, takes=lambda artifact: None, float_activations=float_activations)
    (proof,) = prove(demo_bundle, [Place(row, "")], files=[rounded]).proofs
    assert proof.passed == passed
    assert [finding for finding in proof.findings if FLOAT in finding] == list(proof.findings)
    assert len(proof.findings) == passed


def test_nothing_proven_is_not_passed() -> None:
    assert not Proven((), ()).passed


# ---- export ----


def _request(folder: Path, *prove: str) -> ExportRequest:
    return ExportRequest(
        weights="demo", variant="0.5", formats=("onnx",), quantize=(), output=folder, report=False, prove=prove
    )


def test_an_export_is_proven(tmp_path: Path, place: Placed) -> None:
    place("opencv")
    result = export(_request(tmp_path, "opencv"))
    assert [(p.accelerator, p.verdict) for p in result.manifest.proofs] == [("opencv", "passed")]
    assert read_manifest(result.bundle) == result.manifest


def test_an_export_that_fails_its_proof_leaves_nothing(
    tmp_path: Path, place: Placed, answers: Callable[[Run], None]
) -> None:
    place("opencv")
    answers(replace(GOOD, failure="it took more than 900 s and was stopped"))
    with pytest.raises(CheckFailed, match=rf"^--prove failed: {FLOAT} on opencv: it took .* No bundle was written\.$"):
        export(_request(tmp_path, "opencv"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_place_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown --prove 'gpu'"):
        export(_request(tmp_path, "gpu"))
    assert list(tmp_path.iterdir()) == []
