"""How wide int8 should reach at each point: four ways to look at activations, in one pass or two, in bounded memory.

litert-quantizer's own calibration averages the extremes of the samples, i.e. it clips without saying so. Here a method
is a row of a table, and held-out images decide (quantize/learn/search.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvit2.quantize.plan import INSIDE, OVER_IMAGES, Range

from .fake_quant import Point
from .simulate import Simulation

__all__ = ["METHODS", "Method", "measure_ranges"]

Method = Callable[["_Extremes", "_Histogram"], Range]
_ENOUGH = 1 << 15  # values of one image from which a percentile is taken; larger maps are sampled evenly
_BINS = 2048
_COUNTED = 32  # images in a histogram, of whose bins more would change little
_SHRINK = np.geomspace(1, 0.03, 40)  # of the extremes: the candidates of the search for the least squared error
_SHARES = tuple(INSIDE.values())


class _Extremes:
    """For each image: least and largest value, and percentiles of both ends."""

    def __init__(self) -> None:
        self.rows: list[NDArray[np.float32]] = []  # [images, 2 + 2 * len(_SHARES)] each

    def __call__(self, x: Tensor) -> None:
        values = _flat(x)
        step = -(-values.shape[1] // _ENOUGH) | 1  # odd: meets every channel
        some = values[:, ::step]
        columns = [values.amin(1), values.amax(1)]
        for share in _SHARES:
            count = max(1, round(some.shape[1] * (1 - share)))
            columns += [-(-some).topk(count, 1).values[:, -1], some.topk(count, 1).values[:, -1]]
        self.rows.append(torch.stack(columns, 1).numpy())

    def ends(self, share: float | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        at = 0 if share is None else 2 + 2 * _SHARES.index(share)
        table = np.concatenate(self.rows)
        return table[:, at], table[:, at + 1]


class _Histogram:
    def __init__(self, covered: Range) -> None:
        self.covered, self.counts = covered, np.zeros(_BINS)

    def __call__(self, x: Tensor) -> None:
        self.counts += torch.histc(_flat(x), _BINS, self.covered.lo, self.covered.hi).numpy()

    @property
    def centres(self) -> NDArray[np.float64]:
        edges = np.linspace(self.covered.lo, self.covered.hi, _BINS + 1)
        return np.asarray((edges[1:] + edges[:-1]) / 2)


def _flat(x: Tensor) -> Tensor:
    """[images, values] in the order of the memory, where (B, C, H, W) lies channels last."""
    return (x.permute(0, 2, 3, 1) if x.is_contiguous(memory_format=torch.channels_last) else x).flatten(1)


def _min_max(extremes: _Extremes, histogram: _Histogram) -> Range:
    low, high = extremes.ends(None)
    return Range(float(low.min()), float(high.max()))


def _percentile(share: float) -> Method:
    """The percentile of each image, then one over the images: neither a pixel nor an image widens it alone."""

    def method(extremes: _Extremes, histogram: _Histogram) -> Range:
        low, high = extremes.ends(share)
        return Range(float(np.quantile(low, 1 - OVER_IMAGES)), float(np.quantile(high, OVER_IMAGES)))

    return method


def _least_squares(extremes: _Extremes, histogram: _Histogram) -> Range:
    """The ends, searched in turn, that make the squared rounding and clipping error least."""
    best = histogram.covered
    for _ in range(2):
        best = min((Range(best.lo, best.hi * s) for s in _SHRINK), key=lambda r: _error(histogram, r))
        best = min((Range(best.lo * s, best.hi) for s in _SHRINK), key=lambda r: _error(histogram, r))
    return best


def _error(histogram: _Histogram, candidate: Range) -> float:
    values = histogram.centres
    steps = np.clip(np.rint(values / candidate.scale) + candidate.zero_point, -128, 127)
    return float(histogram.counts @ np.square((steps - candidate.zero_point) * candidate.scale - values))


METHODS: Mapping[str, Method] = {
    "min-max": _min_max,
    **{name: _percentile(share) for name, share in INSIDE.items()},
    "least squares": _least_squares,
}


def measure_ranges(
    simulation: Simulation, pixels: NDArray[np.uint8], points: Sequence[Point] | None = None
) -> dict[str, list[Range]]:
    """Run the float network over ``pixels``: method -> a range for each of ``points``, by default all in use."""
    points = simulation.points() if points is None else points
    extremes = [_Extremes() for _ in points]
    with _observed(simulation, points, extremes):
        simulation.logits(pixels)
    histograms = [_Histogram(_min_max(e, _Histogram(Range(0, 1)))) for e in extremes]
    with _observed(simulation, points, histograms):
        simulation.logits(pixels[:_COUNTED])
    pairs = list(zip(extremes, histograms, strict=True))
    return {name: [method(*pair) for pair in pairs] for name, method in METHODS.items()}


@contextmanager
def _observed(
    simulation: Simulation, points: Sequence[Point], observers: Sequence[Callable[[Tensor], None]]
) -> Iterator[None]:
    """Every layer in float, every point watched."""
    for point, observer in zip(points, observers, strict=True):
        point.observer = observer
    try:
        with simulation.in_float():
            yield
    finally:
        for point in points:
            point.observer = None
