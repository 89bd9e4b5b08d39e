"""How long models take, compared fairly: turn by turn in one run, so that whatever slows the machine slows all."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import UsageError

__all__ = ["FEWEST_TURNS", "Bounds", "Clock", "Latency", "in_turns", "interleaved", "paired_ratio", "turn_order"]

Clock = Callable[[], int]
FEWEST_TURNS = 10  # below it a duration does not stop, and noise cannot be told from chance


@dataclass(frozen=True)
class Bounds:
    """How often: ``warmup`` turns that are not counted, then ``runs`` turns; or, with ``duration`` in seconds, as many
    as fit into it, ``fewest`` at least. Raises UsageError for impossible values.
    """

    runs: int = 50
    warmup: int = 5
    duration: float | None = None
    fewest: int = FEWEST_TURNS

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise UsageError(f"--runs is {self.runs}, accepted: 1 or more.")
        if self.warmup < 0:
            raise UsageError(f"--warmup is {self.warmup}, accepted: 0 or more.")
        if self.duration is not None and not 0 < self.duration < math.inf:  # False for NaN, too
            raise UsageError(f"--duration is {self.duration}, accepted: seconds above 0.")

    def reached(self, turns: int, seconds: float) -> bool:
        return turns >= self.runs if self.duration is None else turns >= self.fewest and seconds >= self.duration

    def split(self, parts: int) -> tuple[Bounds, ...]:
        """The same work in so many parts or fewer, each with its own warm-up."""
        if self.duration is not None:
            part = replace(self, duration=self.duration / parts, fewest=math.ceil(self.fewest / parts))
            return (part,) * parts
        runs = [self.runs // parts + (i < self.runs % parts) for i in range(parts)]
        return tuple(replace(self, runs=n) for n in runs if n)


@dataclass(frozen=True)
class Latency:
    """One step over all turns, in milliseconds."""

    min: float
    median: float
    p90: float
    p99: float
    std: float

    @classmethod
    def of(cls, seconds: NDArray[np.float64]) -> Latency:
        """``seconds``: float64 [turns], one or more."""
        ms = seconds * 1e3
        median, p90, p99 = (float(value) for value in np.percentile(ms, (50, 90, 99)))
        return cls(float(ms.min()), median, p90, p99, float(ms.std()))


def paired_ratio(seconds: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The median of each turn's ratio: what slows one turn slows both, and what hits one of them is an outlier."""
    return float(np.median(seconds / reference))


def interleaved(
    work: Mapping[str, Callable[[], object]], *, runs: int, warmup: int = 3, clock: Clock = time.perf_counter_ns
) -> dict[str, NDArray[np.float64]]:
    """Seconds [runs] of each piece of work, done in turns: A B C, B C A, ...; ``warmup`` turns before do not count.

    The order of a turn is that of ``in_turns``, and so is ``clock``.
    """
    phases = {name: [lambda _, do=do: do()] for name, do in work.items()}
    return {name: seconds[:, 0] for name, seconds in in_turns(phases, Bounds(runs, warmup), clock).items()}


def in_turns(
    work: Mapping[str, Sequence[Callable[[Any], Any]]], bounds: Bounds, clock: Clock = time.perf_counter_ns
) -> dict[str, NDArray[np.float64]]:
    """Seconds [turns, phases] of each piece of work, whose phases hand their result on; the first is given None.

    The order changes from turn to turn so that each follows each other one equally often: what comes after a model of
    another engine finds its caches empty, which costs a small model 5 %.

    Args:
        clock: in nanoseconds. ``time.thread_time_ns`` counts the time of this thread alone, which is what an engine
            with one thread costs, whatever else the machine does.
    """
    names = list(work)
    taken: dict[str, list[list[int]]] = {name: [] for name in names}
    with _no_garbage_collection():
        for _ in range(bounds.warmup):
            for name in names:
                _nanoseconds(work[name], clock)
        start, turn = time.perf_counter(), 0
        while not bounds.reached(turn, time.perf_counter() - start):
            for index in turn_order(len(names), turn):
                taken[names[index]].append(_nanoseconds(work[names[index]], clock))
            turn += 1
    return {name: np.array(values) / 1e9 for name, values in taken.items()}


def turn_order(pieces: int, turn: int) -> list[int]:
    """Williams' design: over ``pieces`` turns (twice as many for an odd number) every piece has stood in each place
    and right behind each other piece equally often. E. J. Williams, Australian Journal of Scientific Research A 2
    (1949).
    """
    zigzag = [(k + 1) // 2 if k % 2 else -(k // 2) for k in range(pieces)]  # 0, 1, -1, 2, -2, ...
    order = [(index + turn) % pieces for index in zigzag]
    return order[::-1] if pieces % 2 and (turn // pieces) % 2 else order


def _nanoseconds(phases: Sequence[Callable[[Any], Any]], clock: Clock) -> list[int]:
    value, marks = None, [clock()]
    for phase in phases:
        value = phase(value)
        marks.append(clock())
    return [end - begin for begin, end in pairwise(marks)]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection would fall on whoever happens to run. None is made before: in a large process it takes 0.2 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
