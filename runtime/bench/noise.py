"""Whether a machine was quiet enough for its latencies to be believed, judged from the run itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvit2.runtime.machine import our_cores, usable_cores
from mvit2.runtime.timing import FEWEST_TURNS

__all__ = ["Noise", "Watch"]

# What a quiet machine stays below; the first two are what ratios of medians forgive without moving by a percent.
_ACCEPTED = {"spread": 0.35, "drift": 0.08, "cores_taken": 0.2, "frequency_change": 0.1}
_SAYS = {
    "spread": "latencies spread by {0:.0%} of their median (accepted {1:.0%})",
    "drift": "the second half differs from the first by {0:.0%} (accepted {1:.0%})",
    "cores_taken": "other processes took {0:.1f} of the cores it needed (accepted {1:.1f})",
    "frequency_change": "the CPU's frequency changed by {0:.0%} (accepted {1:.0%})",
}


@dataclass(frozen=True)
class Noise:
    """None stands for "unknown here"."""

    spread: float | None  # (p90 - p10) / median, the middle one of the models
    drift: float | None  # |median of the second half / of the first - 1|, the middle one of the models
    cores_taken: float | None  # by other processes, of those that the threads needed
    frequency_change: float | None  # relative

    @property
    def excess(self) -> float:
        """The worst figure by what is accepted of it; above 1 is noisy."""
        return max((value / _ACCEPTED[name] for name, value in self._known().items()), default=0.0)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was noisy; empty for a quiet machine."""
        known = self._known().items()
        return tuple(_SAYS[n].format(value, _ACCEPTED[n]) for n, value in known if value > _ACCEPTED[n])

    def _known(self) -> Mapping[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


class Watch:
    """Look at the machine, run, then ask ``noise``. Where the system does not tell (other than Linux) it is unknown."""

    def __init__(self, threads: int) -> None:
        self._threads, self._frequency = threads, _frequency()
        self._start, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def noise(self, seconds: Iterable[NDArray[np.float64]]) -> Noise:
        """``seconds``: float64 [turns] of each model. Fewer than 10 turns say nothing about spread and drift."""
        enough = [model for model in seconds if len(model) >= FEWEST_TURNS]
        spread = float(np.median([_spread(model) for model in enough])) if enough else None
        drift = float(np.median([_drift(model) for model in enough])) if enough else None
        return Noise(spread, drift, self._cores_taken(), self._frequency_change())

    def _cores_taken(self) -> float | None:
        # Unlike a load average this holds neither our own threads nor what ran before.
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy - (_own_seconds() - self._own)) / (time.perf_counter() - self._start)
        needed = min(self._threads, usable_cores())
        return min(max(0.0, needed + others - usable_cores()), float(needed))

    def _frequency_change(self) -> float | None:
        now = _frequency()
        return abs(now / self._frequency - 1) if now and self._frequency else None


def _spread(seconds: NDArray[np.float64]) -> float:
    low, middle, high = np.percentile(seconds, (10, 50, 90))
    return float((high - low) / middle)


def _drift(seconds: NDArray[np.float64]) -> float:
    half = len(seconds) // 2
    return float(abs(np.median(seconds[half:]) / np.median(seconds[:half]) - 1))


def _own_seconds() -> float:
    used = os.times()
    return used.user + used.system


def _busy_seconds() -> float | None:
    """How long the cores that we may use were busy since the machine started, for whomever."""
    ours = {f"cpu{core}" for core in our_cores()}
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
        # user nice system idle iowait irq softirq steal; guests are part of user
        ticks = [int(n) for name, *rest in lines if name in ours for i, n in enumerate(rest[:8]) if i not in (3, 4)]
        return sum(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _frequency() -> float | None:
    """Of the fastest core, which is the one that has just worked."""
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    try:
        return max((float(file.read_text(encoding="ascii")) for file in files), default=None)
    except (OSError, ValueError):
        return None
