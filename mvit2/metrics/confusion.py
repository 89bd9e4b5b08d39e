"""Which class pixels are and which they are taken for, and what follows: IoU of each class, its mean, accuracy."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cell", "Confusion", "mean_iou", "mean_iou_interval"]

_DRAWS = 1000

Cell = tuple[int, int, int]
"""(true class, answered class, how many pixels)"""


@dataclass(frozen=True, eq=False)
class Confusion:
    """``counts``: int64 [classes, classes], pixels of the true class (row) that were answered as a class (column).

    Those of several images add up: figures of the sum are those over all their pixels.
    """

    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = self.counts.shape
        if self.counts.dtype != np.int64 or len(shape) != 2 or shape[0] != shape[1] or (self.counts < 0).any():
            raise ValueError(f"counts are {self.counts.dtype} {list(shape)}, accepted: int64 [classes, classes], 0 up")

    @classmethod
    def of(cls, truth: NDArray[Any], answer: NDArray[Any], classes: int, ignored: Collection[int] = ()) -> Confusion:
        """Pixels of two masks of one shape. Those whose truth is ``ignored`` do not count.

        Raises ValueError: another shape, or a class that there is not.
        """
        if truth.shape != answer.shape:
            raise ValueError(f"masks of {truth.shape} and {answer.shape}, accepted: of one shape")
        counts = np.isin(truth, list(ignored), invert=True)
        rows, columns = truth[counts].astype(np.int64), answer[counts].astype(np.int64)
        if max(rows.max(initial=0), columns.max(initial=0)) >= classes:
            raise ValueError(f"masks name a class beyond {classes - 1}, accepted: 0 to {classes - 1}")
        return cls(np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes))

    @classmethod
    def of_cells(cls, cells: Iterable[Cell], classes: int) -> Confusion:
        """The sum of what ``cells`` gave."""
        counts = np.zeros((classes, classes), np.int64)
        for truth, answer, pixels in cells:
            counts[truth, answer] += pixels
        return cls(counts)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Those that are not zero, by class."""
        rows, columns = self.counts.nonzero()
        pixels = self.counts[rows, columns]
        return tuple(zip(rows.tolist(), columns.tolist(), pixels.tolist(), strict=True))

    @property
    def pixels(self) -> int:
        return int(self.counts.sum())

    @property
    def pixel_accuracy(self) -> float | None:
        """Share of pixels that are right; None without any."""
        return int(self.counts.trace()) / self.pixels if self.pixels else None

    def iou(self, ignored: Collection[int] = ()) -> tuple[float | None, ...]:
        """Of each class: intersection over union of its pixels in the truth and in the answers.

        None: a class in neither of both, and one whose own pixels are ``ignored``.
        """
        right = self.counts.diagonal()
        union = self.counts.sum(0) + self.counts.sum(1) - right
        occurs = [bool(union[i]) and i not in ignored for i in range(len(union))]
        return tuple(int(r) / int(u) if o else None for r, u, o in zip(right, union, occurs, strict=True))


def mean_iou(iou: Iterable[float | None]) -> float:
    """Over the classes that occur, as the mean IoU of PASCAL VOC, Cityscapes and ADE20K is. 0.0 where none does."""
    found = [value for value in iou if value is not None]
    return math.fsum(found) / len(found) if found else 0.0


def mean_iou_interval(
    images: Sequence[Iterable[Cell]], classes: int, ignored: Collection[int] = ()
) -> tuple[float, float] | None:
    """The 95 % interval of the mean IoU, by the bootstrap over images (B. Efron, 1979): its percentiles.

    Pixels of one image are alike, so images are drawn, not pixels. The draws are the same every time, and their sums
    whole numbers, so that the interval is the same on every machine.

    Args:
        images: of each the cells, as ``Confusion.cells``.

    Returns None for fewer than two images, of which nothing can be drawn.
    """
    if len(images) < 2:
        return None
    right, either = (np.zeros((len(images), classes)) for _ in range(2))  # intersections; both sets, counted apart
    for i, cells in enumerate(images):
        for truth, answer, pixels in cells:
            right[i, truth] += pixels if truth == answer else 0
            either[i, truth] += pixels
            either[i, answer] += pixels
    kept = np.isin(np.arange(classes), list(ignored), invert=True)
    draws = np.random.default_rng(0).multinomial(len(images), np.full(len(images), 1 / len(images)), _DRAWS)
    found = []
    for drawn in draws.astype(np.float64):
        intersection, union = drawn @ right, drawn @ either - drawn @ right
        occurs = kept & (union > 0)
        found.append(float((intersection[occurs] / union[occurs]).mean()) if occurs.any() else 0.0)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
