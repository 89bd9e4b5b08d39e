"""Faults that no CPU shows: each is put into a file of the bundle, and the accelerator that meets it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mvit2.bundle.proofs import Proof
from mvit2.runtime import check_bundle
from mvit2.runtime.accelerators.prove import prove
from mvit2.runtime.accelerators.table import Place

Placed = Callable[[str], Place]


def _proof(bundle: Path, place: Place, file: str) -> Proof:
    (proof,) = prove(bundle, [place], files=[file]).proofs
    return proof


def _right_on_the_cpu(bundle: Path, file: str) -> bool:
    return next(d for d in check_bundle(bundle).differences if d.stage == file).passed


def test_a_cast_of_the_input_is_shown_wrong_by_the_hexagon_compiler(
    bundle: Path, place: Placed, faults: ModuleType, forge: ModuleType
) -> None:
    """It becomes a cast to bool, so every image looks alike; DequantizeLinear is the same on a CPU, and right."""
    file, there = "model_float32.onnx", place("qnn-htp")
    faults.cast_input(bundle / file)
    forge.resign(bundle, file)
    assert _right_on_the_cpu(bundle, file)
    proof = _proof(bundle, there, file)
    assert proof.fully_placed and proof.verdict == "failed"
    assert proof.answers is not None and proof.answers.top1_agreement < 0.7


def test_what_the_export_writes_is_right_there(bundle: Path, place: Placed) -> None:
    proof = _proof(bundle, place("qnn-htp"), "model_float32.onnx")
    assert proof.fully_placed and proof.verdict == "passed", proof.reason


def test_two_dimensional_layers_are_refused_by_the_gpu(
    quantised: Path, place: Placed, faults: ModuleType, forge: ModuleType
) -> None:
    file, there = "model_int8.tflite", place("litert-gpu")
    assert faults.flat_layers(quantised / file) >= 18
    forge.resign(quantised, file)
    assert _right_on_the_cpu(quantised, file)
    proof = _proof(quantised, there, file)
    assert proof.verdict == "failed" and proof.failure is not None
    assert proof.failure.startswith("neither the GPU alone nor GPU and CPU together open it")


@pytest.mark.parametrize("file", ["model_int8.tflite", "model_full_int8.tflite"])
def test_the_layers_that_the_export_writes_run_on_the_gpu(file: str, quantised: Path, place: Placed) -> None:
    proof = _proof(quantised, place("litert-gpu"), file)
    assert proof.fully_placed and proof.verdict == "passed", proof.reason


@pytest.mark.parametrize("chip", ["u55-256", "u85-256"])
def test_means_over_channels_first_stay_on_the_cpu_of_an_ethos_u(
    chip: str, quantised: Path, place: Placed, faults: ModuleType, forge: ModuleType
) -> None:
    file, there = "model_full_int8.tflite", place(f"ethos-u:{chip}")
    pairs = faults.channels_first(quantised / file)
    assert pairs >= 40
    forge.resign(quantised, file)
    proof = _proof(quantised, there, file)
    assert proof.verdict == "placement only" and proof.estimate is not None
    means = sum(count for reason, count in proof.refused.items() if reason.startswith("MEAN"))
    assert means == pairs
    assert proof.operators is not None and proof.placed == proof.operators - sum(proof.refused.values())


def test_the_means_that_the_export_writes_run_on_an_ethos_u(quantised: Path, place: Placed) -> None:
    proof = _proof(quantised, place("ethos-u"), "model_full_int8.tflite")
    assert proof.placed is not None and proof.placed > 600
    assert not [reason for reason in proof.refused if reason.startswith("MEAN")]


def test_a_norm_that_overflows_half_precision_is_named(
    bundle: Path, place: Placed, faults: ModuleType, forge: ModuleType
) -> None:
    file, there = "model_float32.onnx", place("fp16")
    faults.large_norm(bundle / file)
    forge.resign(bundle, file)
    assert _right_on_the_cpu(bundle, file)
    proof = _proof(bundle, there, file)
    assert proof.verdict == "failed" and proof.failure is not None
    assert "overflows in float16" in proof.failure and "encoder.layer.3.layernorm reaches" in proof.failure
