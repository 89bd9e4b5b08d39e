"""How long models take, compared fairly: turn by turn in one run, so that whatever slows the machine slows all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["interleaved"]


def interleaved(
    work: Mapping[str, Callable[[], object]], *, runs: int, warmup: int = 3
) -> dict[str, NDArray[np.float64]]:
    """Seconds [runs] of each piece of work, done in turns: A B C A B C ...; ``warmup`` turns before are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(warmup + runs):
        for name, do in work.items():
            start = time.perf_counter()
            do()
            end = time.perf_counter()
            if turn >= warmup:
                seconds[name].append(end - start)
    return {name: np.array(values) for name, values in seconds.items()}
