"""``mvit2 bench --baseline``: what an earlier run is compared by, and what is no earlier run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mvit2.errors import UsageError
from mvit2.runtime.bench.baseline import Before, Change, changes, read_baseline, slower
from mvit2.runtime.bench.cold_start import Alone
from mvit2.runtime.bench.run import Measured
from mvit2.runtime.timing import Latency


@pytest.mark.parametrize(
    ("found", "percent", "absolute", "said"),
    [
        (Change("m", 1, 1.099, 3.0), 10, False, []),
        (Change("m", 1, 1.101, 0.5), 10, False, ["m with 1 thread(s): ratio to float32 +10.1%"]),
        (Change("m", 2, 0.5, 1.2), 10, True, ["m with 2 thread(s): median +20.0%"]),
        (Change("m", 1, 1.2, 1.3), 10, True, ["ratio to float32 +20.0%", "median +30.0%"]),
        (Change("m", 1, None, 1.3), 10, False, []),
        (Change("m", 1, 1.001, 1.0), 0, False, ["ratio to float32 +0.1%"]),
    ],
)
def test_slower(found: Change, percent: float, absolute: bool, said: list[str]) -> None:
    worse = slower([found], percent, absolute)
    assert len(worse) == len(said) and all(part in text for part, text in zip(said, worse, strict=True))


def now(model: str = "m", reference: str | None = "f", ratio: float | None = 0.5) -> Measured:
    latency, alone = Latency(1.0, 2.0, 3.0, 4.0, 0.5), Alone(1.0, 1.0, None)
    unknown = (None,) * 5
    return Measured(model, 1, "litert", "int8", 10, latency, reference, ratio, 500.0, *unknown, alone)


@pytest.mark.parametrize(
    ("before", "today", "absolute", "found"),
    [
        (Before("m", 1, "f", 0.4, 1.0), now(), False, Change("m", 1, 1.25, 2.0)),
        (Before("m", 1, "g", 0.4, 4.0), now(), True, Change("m", 1, None, 0.5)),
        (Before("m", 1, "m", 1.0, 2.0), now(reference="m", ratio=1.0), True, Change("m", 1, None, 1.0)),
        (Before("m", 1, None, None, 2.0), now(), True, Change("m", 1, None, 1.0)),
        (Before("m", 1, "g", 0.4, 4.0), now(), False, "no ratio to the same float32 model for m with 1 thread"),
        (Before("m", 1, "f", 0.4, 4.0), now(ratio=None), False, "no ratio to the same float32 model"),
        (Before("m", 2, "f", 0.4, 4.0), now(), True, "it holds m with 2 thread(s), this run m with 1 thread(s)"),
        (Before("n", 1, "f", 0.4, 4.0), now(), False, "no model in common with this run"),
    ],
)
def test_changes(before: Before, today: Measured, absolute: bool, found: Change | str) -> None:
    """Only ratios to the same model are compared; times only if they are asked for."""
    if isinstance(found, Change):
        assert changes([before], [today], absolute) == (found,)
        return
    with pytest.raises(UsageError) as caught:
        changes([before], [today], absolute)
    assert found in str(caught.value) and "\n" not in str(caught.value)


def file_of(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def result(**changed: Any) -> dict[str, Any]:
    return {"model": "m", "threads": 1, "reference": "f", "ratio": 0.5, "inference": {"median": 2.0}, **changed}


def test_a_baseline_is_read(tmp_path: Path) -> None:
    content = {"trials": [{"results": [result()]}, {"results": [result(threads=2, reference=None, ratio=None)]}]}
    found = read_baseline(file_of(tmp_path / "b.json", json.dumps(content)))
    assert found == (Before("m", 1, "f", 0.5, 2.0), Before("m", 2, None, None, 2.0))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "7", "{}", '{"trials": 7}', '{"trials": [{}]}', b"\xff", "[" * 100_000),
        json.dumps({"trials": [{"results": [result(ratio="fast")]}]}),
        json.dumps({"trials": [{"results": [result(ratio=0.0)]}]}),
        json.dumps({"trials": [{"results": [result(ratio=float("nan"))]}]}),
        json.dumps({"trials": [{"results": [result(inference={"median": -1.0})]}]}),
        json.dumps({"trials": [{"results": [result(inference=None)]}]}),
        json.dumps({"trials": [{"results": [result(threads="1")]}]}),
    ],
    ids=lambda text: str(text[:60]),
)
def test_a_baseline_that_is_none(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"b\.json is no bench in JSON \(.*Make one with: mvit2 bench") as caught:
        read_baseline(file_of(tmp_path / "b.json", text))
    assert "\n" not in str(caught.value)
