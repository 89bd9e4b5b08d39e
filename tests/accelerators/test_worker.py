"""Every run has a process of its own: whatever happens to it is a fact about the file, and costs us nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mvit2.runtime.accelerators.accelerator import Run, one_line
from mvit2.runtime.accelerators.prove import prove
from mvit2.runtime.accelerators.table import ACCELERATORS, Place
from mvit2.runtime.accelerators.worker import run_apart

Placed = Callable[[str], Place]
IMAGES = np.zeros((1, 128, 128, 3), np.uint8)
FILES = {
    "litert-gpu": "model_float32.tflite",
    "qnn-htp": "model_float32.onnx",
    "ethos-u": "model_full_int8.tflite",
    "fp16": "model_float32.onnx",
    "opencv": "model_float32.onnx",
}


def _run(name: str, file: Path, limit: int = 300) -> Run:
    row = replace(ACCELERATORS[name], limit_seconds=limit)
    return run_apart(row, next(iter(row.chips)), file, IMAGES, 475)


@pytest.mark.parametrize("name", ACCELERATORS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"no model at all",
        lambda whole: whole[: len(whole) // 3],
        lambda whole: whole[:64] + bytes(len(whole) - 64),
        lambda whole: whole[:4096] + bytes(byte ^ 0x5A for byte in whole[4096:8192]) + whole[8192:],
    ],
    ids=["empty", "text", "cut", "zeros", "noise"],
)
def test_a_broken_model_is_one_line(
    name: str, damage: Callable[[bytes], bytes], place: Placed, int8_bundle: Path, tmp_path: Path
) -> None:
    place(name)
    file = tmp_path / f"broken{Path(FILES[name]).suffix}"
    file.write_bytes(damage((int8_bundle / FILES[name]).read_bytes()))
    run = _run(name, file)
    if damage(b"x" * 10_000)[8192:] != b"x" * 1808:  # noise among weights may be a model still
        assert run.failure is not None
    said = run.failure or ""
    assert "\n" not in said and said.isprintable() and len(said) < 300


def test_it_says_when_the_file_is_missing(place: Placed, tmp_path: Path) -> None:
    place("fp16")
    failure = _run("fp16", tmp_path / "model.onnx").failure
    assert failure is not None and "model.onnx" in failure


def _impostor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """What runs instead of Python."""
    file = tmp_path / "impostor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr("mvit2.worker_process.sys.executable", str(file))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '*** driver: cannot go on' >&2; kill -ABRT $$", "its process was killed by SIGABRT: *** driver"),
        ("kill -SEGV $$", "its process was killed by SIGSEGV: it printed nothing"),
        ("printf 'one\\ntwo \\033[31m\\n'; exit 3", "its process exited 3: two ?[31m"),
        ("head -c 3000000 /dev/zero | tr '\\0' x; exit 1", "its process exited 1: xxx"),
    ],
)
def test_a_process_that_dies_is_a_failure(
    script: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _impostor(monkeypatch, tmp_path, script)
    failure = _run("qnn-htp", tmp_path / "model.onnx").failure
    assert failure is not None and failure.startswith(said) and len(failure) < 300


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_process_that_hangs_is_stopped_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = f"100{time.time_ns() % 10**9}"
    _impostor(monkeypatch, tmp_path, f"sleep {mark} & sleep {mark}")
    start = time.monotonic()
    run = _run("litert-gpu", tmp_path / "model.tflite", limit=1)
    assert run.failure == "its process did not finish in 1 s and was stopped: it printed nothing"
    assert time.monotonic() - start < 30
    left = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert mark not in left


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(
    "script",
    ["exit 0", "echo '{' > $3/run.json", 'echo \'{"chip": 1}\' > "$3/run.json"', "echo x > $3/outputs.npy"],
)
def test_a_process_that_leaves_no_sense_is_a_failure(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _impostor(monkeypatch, tmp_path, script)
    failure = _run("fp16", tmp_path / "model.onnx").failure
    assert failure is not None and failure.startswith("its process left no result")


@pytest.mark.parametrize("name", ACCELERATORS)
def test_the_demo_s_file_runs_there(name: str, place: Placed, quantised: Path) -> None:
    """Really run, and right where answers are compared."""
    (proof,) = prove(quantised, [place(name)], files=[FILES[name]]).proofs
    assert proof.operators is not None and proof.placed is not None
    assert proof.placed > 0.9 * proof.operators
    assert proof.chip and proof.versions and proof.compile_seconds is not None
    if name == "ethos-u":
        assert proof.estimate is not None and 1e-4 < proof.estimate.seconds < 1
        assert proof.verdict == "placement only"
    else:
        assert proof.answers is not None and proof.answers.inputs == 8
        assert proof.verdict == "passed", proof.reason


def test_the_gpu_says_which_one_and_computes_in_32_bits(place: Placed, bundle: Path) -> None:
    (proof,) = prove(bundle, [place("litert-gpu")], files=["model_float16.tflite"]).proofs
    assert proof.fully_placed and proof.arithmetic == "float32"
    assert proof.answers is not None and proof.answers.max_relative < 1e-4
    if "SwiftShader" in proof.chip:
        assert proof.inference_seconds is None


@pytest.mark.parametrize(("word", "name"), [("qnn-htp:8gen3", "8gen3"), ("ethos-u:u85-256", "u85-256")])
def test_what_is_compiled_for_a_chip_can_be_kept(
    word: str, name: str, place: Placed, quantised: Path, tmp_path: Path, forge: ModuleType
) -> None:
    there = place(word)
    file = FILES[there.accelerator.name]
    prove(quantised, [there], files=[file], compiled=tmp_path)
    stem, suffix = Path(file).stem, Path(file).suffix
    compiled = tmp_path / f"{stem}.{name}{suffix}"
    assert compiled.stat().st_size > 100_000
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [compiled.name]


def test_one_line() -> None:
    assert one_line("a\n\tb\x1b[2J  c") == "a b?[2J c"
    assert one_line("") == "it printed nothing"
    assert len(one_line("x" * 10**6)) == 200
