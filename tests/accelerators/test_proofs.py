"""A proof keeps what a run said, refuses what none can have said, and survives its way through a manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mvit2.bundle.manifest import read_manifest
from mvit2.bundle.proofs import Estimate, Proof, merged_proofs
from mvit2.difference import Difference
from mvit2.errors import BundleError
from mvit2.runtime.accelerators.prove import record_proofs
from mvit2.runtime.accelerators.standing import NOT_FOR_IT, NOT_PROVEN, standings
from mvit2.strict_json import decode

NEAR = Difference("model_float32.onnx", 8, 1e-3, 1e-2, 1.0, 0.15)
PROOF = Proof(
    file="model_float32.onnx",
    accelerator="qnn-htp",
    chip="Snapdragon 8 Gen 2 (simulator)",
    arithmetic="float16",
    date="2026-11-27",
    operators=524,
    placed=520,
    refused={"Gemm stays on the CPU": 4},
    answers=NEAR,
    findings=("the NPU alone does not take the file",),
    compile_seconds=4.5,
    estimate=Estimate(0.008, 2**19),
    versions={"onnxruntime-qnn": "2.7.0"},
)


def test_a_proof_survives_json() -> None:
    assert decode(Proof, json.loads(json.dumps(asdict(PROOF))), "proof") == PROOF


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accelerator", "GPU"),
        ("accelerator", ""),
        ("accelerator", "a\x1b[2J"),
        ("chip", ""),
        ("chip", "two\nlines"),
        ("chip", "x" * 301),
        ("date", "yesterday"),
        ("date", "2026-13-01"),
        ("operators", -1),
        ("operators", 10**7),
        ("placed", 525),
        ("placed", -1),
        ("operators", None),
        ("refused", {"Gemm stays on the CPU": 5}),
        ("refused", {"Gemm stays on the CPU": -1}),
        ("refused", {"\x07": 1}),
        ("failure", ""),
        ("failure", "beside answers"),
        ("findings", ("",)),
        ("findings", ("said",) * 65),
        ("compile_seconds", -1.0),
        ("compile_seconds", float("nan")),
        ("inference_seconds", float("inf")),
        ("versions", {"onnx": "1\n2"}),
    ],
)
def test_what_no_run_can_have_said_is_refused(field: str, value: Any) -> None:
    with pytest.raises(BundleError, match="accepted") as caught:
        replace(PROOF, **{field: value})
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("values", [(-1.0, 1), (float("nan"), 1), (1.0, -1)])
def test_an_impossible_estimate_is_refused(values: tuple[float, int]) -> None:
    with pytest.raises(BundleError, match="accepted"):
        Estimate(*values)


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, "passed", ""),
        ({"answers": None}, "placement only", ""),
        ({"answers": None, "failure": "it took more than 900 s"}, "failed", "900 s"),
        ({"answers": None, "failure": "overflows"}, "failed", "overflows"),
        ({"answers": replace(NEAR, max_relative=0.2)}, "failed", r"differ by 0.2 (accepted: 0.15)"),
        ({"answers": replace(NEAR, top1_agreement=0.5)}, "failed", "50% top-1 agreement"),
        ({"answers": replace(NEAR, finite=False)}, "failed", "NaN or Inf"),
    ],
)
def test_the_verdict(changes: dict[str, Any], verdict: str, reason: str) -> None:
    proof = replace(PROOF, **changes)
    assert (proof.verdict, proof.passed) == (verdict, verdict != "failed")
    assert reason in proof.reason and bool(proof.reason) == (verdict == "failed")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "520 of 524"),
        ({"placed": 524, "refused": {}}, "524 of 524"),
        ({"placed": None, "refused": {}}, "some of 524"),
        ({"placed": None, "operators": None, "refused": {}}, "not opened"),
    ],
)
def test_the_placement_in_words(changes: dict[str, Any], said: str) -> None:
    proof = replace(PROOF, **changes)
    assert (proof.placement, proof.fully_placed) == (said, said == "524 of 524")


def test_a_newer_proof_takes_the_place_of_the_older() -> None:
    newer, elsewhere = replace(PROOF, date="2026-11-28"), replace(PROOF, chip="Snapdragon 8 Gen 3 (simulator)")
    assert merged_proofs([PROOF], [elsewhere, newer]) == (newer, elsewhere)


def test_a_manifest_keeps_them(bundle: Path) -> None:
    record_proofs(bundle, [PROOF])
    assert read_manifest(bundle).proofs == (PROOF,)
    newer = replace(PROOF, date="2026-11-28")
    assert record_proofs(bundle, [newer]).proofs == (newer,)
    assert read_manifest(bundle).proofs == (newer,)
    assert not list(bundle.glob(".*"))


@pytest.mark.parametrize(
    "edit",
    [
        lambda proof: proof.update(file="model_float64.onnx"),
        lambda proof: proof.update(placed=10**9),
        lambda proof: proof.update(placed="all"),
        lambda proof: proof.update(answers={}),
        lambda proof: proof.pop("chip"),
        lambda proof: proof.update(more=1),
    ],
)
def test_a_forged_one_is_refused(edit: Callable[[dict[str, Any]], Any], bundle: Path, forge: ModuleType) -> None:
    record_proofs(bundle, [PROOF])
    forge.edit_manifest(bundle, lambda manifest: edit(manifest["proofs"][0]))
    with pytest.raises(BundleError) as caught:
        read_manifest(bundle)
    assert "\n" not in str(caught.value)


def test_an_interrupted_record_leaves_the_manifest_as_it_was(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (bundle / "manifest.json").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mvit2.atomic_write.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record_proofs(bundle, [PROOF])
    assert (bundle / "manifest.json").read_bytes() == before
    assert not list(bundle.glob(".*"))


def test_how_files_stand_is_never_a_blank(bundle: Path) -> None:
    manifest = record_proofs(bundle, [PROOF, replace(PROOF, accelerator="fp16", answers=None, failure="overflows")])
    found = standings(manifest)
    assert found["model_float32.onnx"]["qnn-htp"] == "ok, 520 of 524 operators, max error 1.0e-02"
    assert found["model_float32.onnx"]["fp16"] == "FAILED"
    assert found["model_float32.tflite"]["litert-gpu"] == NOT_PROVEN
    assert found["model_float32.tflite"]["qnn-htp"] == NOT_FOR_IT
    assert all(words for of_file in found.values() for words in of_file.values())
