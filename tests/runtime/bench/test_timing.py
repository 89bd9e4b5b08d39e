"""Turns, statistics and noise: what ``mvit2 bench`` stands on."""

from __future__ import annotations

import gc
import math
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest

from mvit2.errors import BundleError, UsageError
from mvit2.runtime.bench.cold_start import measure_alone
from mvit2.runtime.bench.noise import Noise, Watch
from mvit2.runtime.machine import usable_cores
from mvit2.runtime.timing import Bounds, Latency, in_turns, interleaved, paired_ratio, turn_order

QUIET = Noise(spread=0.05, drift=0.01, cores_taken=0.0, frequency_change=0.0)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere it is unknown")


# ---- turns ----


@pytest.mark.parametrize(
    ("names", "runs", "warmup", "order"),
    [
        ("A", 2, 1, "A AA"),
        ("AB", 3, 2, "ABAB ABBAAB"),
        ("ABC", 4, 1, "ABC ABCBCACABCBA"),
        ("ABC", 1, 0, " ABC"),
    ],
)
def test_every_piece_has_its_turns(names: str, runs: int, warmup: int, order: str) -> None:
    seen: list[str] = []
    work: dict[str, Callable[[], object]] = {name: (lambda name=name: seen.append(name)) for name in names}
    seconds = interleaved(work, runs=runs, warmup=warmup)
    assert "".join(seen) == order.replace(" ", "")
    assert list(seconds) == list(names)
    assert all(
        taken.shape == (runs,) and taken.dtype == np.float64 and (taken >= 0).all() for taken in seconds.values()
    )


@pytest.mark.parametrize("pieces", range(1, 10))
def test_each_follows_each_equally_often(pieces: int) -> None:
    turns = [turn_order(pieces, turn) for turn in range(2 * pieces)]
    assert all(sorted(turn) == list(range(pieces)) for turn in turns)
    places = Counter((place, piece) for turn in turns for place, piece in enumerate(turn))
    neighbours = Counter(pair for turn in turns for pair in pairwise(turn))
    assert places == dict.fromkeys(product(range(pieces), repeat=2), 2)
    assert neighbours == dict.fromkeys(permutations(range(pieces), 2), 2)


def test_each_piece_is_given_its_own_time() -> None:
    """A sleep never ends early, on any machine."""
    seconds = interleaved({"long": lambda: time.sleep(0.02), "short": lambda: None}, runs=5)
    assert (seconds["long"] >= 0.02).all()


def test_phases_hand_their_result_on() -> None:
    seen: list[object] = []
    work = [lambda first: seen.append(first) or 2, lambda two: two * 21, seen.append]
    assert in_turns({"chain": work}, Bounds(runs=3, warmup=0))["chain"].shape == (3, 3)
    assert seen == [None, 42] * 3


@pytest.mark.parametrize(("duration", "fewest"), [(1e-9, 10), (0.05, 10)])
def test_a_duration_stops_after_ten_turns_at_least(duration: float, fewest: int) -> None:
    start = time.perf_counter()
    turns = len(in_turns({"A": [lambda _: time.sleep(1e-3)]}, Bounds(runs=1, warmup=0, duration=duration))["A"])
    assert turns >= fewest
    assert time.perf_counter() - start >= duration


@pytest.mark.parametrize(
    ("bounds", "parts", "runs"),
    [
        (Bounds(50), 6, [9, 9, 8, 8, 8, 8]),
        (Bounds(6), 3, [2, 2, 2]),
        (Bounds(2), 6, [1, 1]),
    ],
)
def test_runs_are_split(bounds: Bounds, parts: int, runs: list[int]) -> None:
    assert [part.runs for part in bounds.split(parts)] == runs
    assert {part.warmup for part in bounds.split(parts)} == {bounds.warmup}


def test_a_duration_is_split() -> None:
    split = Bounds(duration=3.0).split(6)
    assert len(split) == 6
    assert sum(part.duration or 0 for part in split) == pytest.approx(3)
    assert sum(part.fewest for part in split) >= 10


def test_no_turns_of_nothing() -> None:
    assert in_turns({}, Bounds(runs=3)) == {}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_no_garbage_collection_falls_into_a_turn(enabled: bool, fails: bool) -> None:
    def work() -> None:
        states.append(gc.isenabled())
        if fails:
            raise ValueError

    states: list[bool] = []
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        try:
            interleaved({"A": work}, runs=2, warmup=0)
        except ValueError:
            assert fails
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert states == [False] * (1 if fails else 2)


@pytest.mark.parametrize(
    ("bounds", "wrong"),
    [
        ({"runs": 0}, "--runs is 0, accepted: 1 or more."),
        ({"warmup": -1}, "--warmup is -1, accepted: 0 or more."),
        ({"duration": 0.0}, "--duration is 0.0, accepted: seconds above 0."),
        ({"duration": math.nan}, "--duration is nan"),
        ({"duration": math.inf}, "--duration is inf"),
    ],
)
def test_impossible_bounds(bounds: dict[str, float], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        Bounds(**bounds)  # type: ignore[arg-type]


# ---- statistics ----


def test_latency_is_what_the_standard_library_says() -> None:
    ms = [float(n) for n in range(1, 102)][::-1]
    found = Latency.of(np.array(ms) / 1e3)
    tenths = statistics.quantiles(ms, n=100, method="inclusive")
    expected = Latency(1.0, statistics.median(ms), tenths[89], tenths[98], statistics.pstdev(ms))
    for name in ("min", "median", "p90", "p99", "std"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))


def test_a_ratio_of_pairs_survives_what_slows_both() -> None:
    """Half of the run on a machine of half the speed, and a spike of each model: the ratio of medians is far off."""
    machine = np.repeat([1.0, 2.0], 15)
    reference, half = machine * 1.0, machine * 0.5
    reference[3], half[20:24] = 50.0, 40.0
    reference[:4] = 9.0
    assert paired_ratio(half, reference) == 0.5
    assert float(np.median(half) / np.median(reference)) != pytest.approx(0.5, rel=0.05)


# ---- noise ----


@pytest.mark.parametrize(
    ("noise", "reasons"),
    [
        (QUIET, []),
        (Noise(None, None, None, None), []),
        (Noise(0.4, 0.01, 0.0, 0.0), ["latencies spread by 40% of their median (accepted 35%)"]),
        (Noise(0.1, 0.2, None, None), ["second half differs from the first by 20% (accepted 8%)"]),
        (Noise(0.1, 0.0, 1.26, None), ["other processes took 1.3 of the cores it needed (accepted 0.2)"]),
        (Noise(0.1, 0.0, 0.0, 0.3), ["frequency changed by 30% (accepted 10%)"]),
        (Noise(0.4, 0.2, 1.0, 0.3), ["spread", "second half", "other processes", "frequency"]),
    ],
)
def test_why_a_run_is_not_believed(noise: Noise, reasons: list[str]) -> None:
    assert len(noise.reasons) == len(reasons)
    assert all(part in reason for part, reason in zip(reasons, noise.reasons, strict=True))
    assert (noise.excess > 1) == bool(reasons)


@pytest.mark.parametrize(
    ("models", "spread", "drift"),
    [
        ([np.ones(10)], 0.0, 0.0),
        ([np.linspace(1, 2, 11)], 0.8 / 1.5, 1.75 / 1.2 - 1),
        ([np.repeat([1.0, 1.5], 10)], 0.4, 0.5),
        ([np.ones(10), np.ones(10), np.repeat([1.0, 9.0], 5)], 0.0, 0.0),  # one model's trouble is not the machine's
        ([np.ones(9)], None, None),
        ([], None, None),
    ],
)
def test_spread_and_drift(models: list[np.ndarray], spread: float | None, drift: float | None) -> None:
    noise = Watch(1).noise(models)
    assert noise.spread == (None if spread is None else pytest.approx(spread))
    assert noise.drift == (None if drift is None else pytest.approx(drift))


@pytest.mark.timing
@linux
def test_other_processes_are_seen_and_our_own_are_not() -> None:
    hog = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(hog) for _ in range(2 * usable_cores())]
    try:
        watch = Watch(usable_cores())
        time.sleep(0.5)
        noise = watch.noise([])
    finally:
        for process in hogs:
            process.kill()
            process.wait()
    assert noise.cores_taken is not None and noise.cores_taken > 0.5 * usable_cores()


@linux
def test_cores_are_those_that_we_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from mvit2.runtime.machine import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert usable_cores() == len(os.sched_getaffinity(0))


# ---- a process for one model ----


@linux
def test_peak_memory_holds_what_was_freed() -> None:
    script = (
        "import numpy as np; from mvit2.runtime.bench.cold_start import peak_bytes; before = peak_bytes(); "
        "block = np.ones(25_000_000); del block; print(peak_bytes() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 190e6 < int(done.stdout) < 210e6


@pytest.mark.parametrize("file", ["model_float32.onnx", "model_float32.tflite"])
def test_alone(file: str, demo_bundle: Path) -> None:
    alone = measure_alone(demo_bundle / file, threads=1)
    assert alone.load_ms > 0 and alone.first_ms > 0
    assert alone.peak_bytes is None or (demo_bundle / file).stat().st_size < alone.peak_bytes < 1e9


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_process_that_fails_is_one_line(suffix: str, tmp_path: Path) -> None:
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"no model" * 100)
    with pytest.raises(BundleError, match=r"broken.*its process exited 1 \(.*check or replace the file") as caught:
        measure_alone(broken, 1)
    assert "\n" not in str(caught.value)
