"""Answers of segmentation networks to be put on the picture, and the masks that Python makes of them.

The call, in the fields of ``Case`` (cases.py): ``what`` is LOGITS_TO_PICTURE or MASK_TO_PICTURE; ``width`` and
``height`` are the upright picture's, ``channels`` counts the classes, the spec's fields are the spec's, but
``resample`` and ``order`` hold the height and width of the network's answer. The payload is the answer: float32
[h, w, classes], or uint8 [H, W]. The result: left, top, right, bottom of what was seen as int32, then the mask, uint8
[height, width] of the picture, 255 where nothing was seen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mvit2.image.placement import Axis, Placement
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.segment.result import Segmentation
from mvit2.runtime.tasks.segment.upsample import classes_of_logits, classes_of_mask

from .cases import LOGITS_TO_PICTURE, MASK_TO_PICTURE, SEED, Array, Case, make_case

TIE = 1e-5  # of the logits' range: of two classes that are nearer than this either may win
ODD_PIXELS = 1e-4  # share of a picture's pixels in which that may happen

SPECS = {
    "stretched": PreprocessSpec((64, 96), None, (64, 96)),
    "the middle": PreprocessSpec((64, 96), 80),
    "a square of the middle": PreprocessSpec((64, 64), 68),
    "zeros around a small resize": PreprocessSpec((64, 96), 40),
    "zeros around a stretched one": PreprocessSpec((64, 96), None, (51, 70)),
    "nothing resized": PreprocessSpec((64, 96), None),
}
SIZES = ((96, 64), (333, 77), (77, 333), (31, 45), (6, 4), (1, 1), (1, 2), (200, 3), (3, 200), (1283, 721))
STRIDES_AND_CLASSES = ((16, 21), (8, 2), (32, 1), (16, 256))


@dataclass(frozen=True)
class MaskCase:
    """A call, and what Python says."""

    case: Case
    placement: Placement
    answer: Array  # of the network
    expected: Segmentation

    def wrong(self, result: bytes) -> str:
        """What is wrong with a result; empty where nothing is."""
        box, mask = np.frombuffer(result[:16], "<i4"), np.frombuffer(result[16:], np.uint8)
        if tuple(box) != self.expected.box or mask.size != self.expected.mask.size:
            return f"{mask.size} pixels, box {tuple(box)}, expected {self.expected.mask.size}, {self.expected.box}"
        rows, columns = np.nonzero(mask.reshape(self.expected.mask.shape) != self.expected.mask)
        found = mask.reshape(self.expected.mask.shape)[rows, columns]
        if not len(rows) or (self._all_near(rows, columns, found) and len(rows) <= ODD_PIXELS * mask.size):
            return ""
        return f"{len(rows)} of {mask.size} pixels differ, first in row {rows[0]}, column {columns[0]}: {found[0]}"

    def _all_near(self, rows: Array, columns: Array, found: Array) -> bool:
        """Whether these pixels are of classes that are about as good as the best one; no class of a mask is."""
        if self.answer.dtype == np.uint8 or found.max() >= self.answer.shape[-1]:
            return False
        y = _cells(self.placement.rows, rows, self.answer.shape[0])
        x = _cells(self.placement.columns, columns, self.answer.shape[1])
        logits = np.einsum("nh,nw,hwc->nc", y, x, self.answer.astype(np.float64))
        lost = logits.max(-1) - logits[np.arange(len(found)), found]
        return bool(lost.max() <= TIE * np.ptp(self.answer))


def _cells(axis: Axis, pixels: Array, cells: int) -> Array:
    """[pixels, cells]: the weights of align_corners=False in float64, as a hat around each cell's middle."""
    on_network = (2 * pixels + 1) * axis.resized / (2 * axis.picture) - axis.start
    at = np.clip(on_network * cells / axis.network - 0.5, 0, cells - 1)
    weights: Array = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    return weights


def _made(name: str, spec: PreprocessSpec, size: tuple[int, int], answer: Array, classes: int) -> MaskCase:
    placement = Placement.of(size, spec)
    masks = answer.dtype == np.uint8
    seen = classes_of_mask(answer, placement) if masks else classes_of_logits(answer, placement)
    labels = [str(index) for index in range(classes)]
    expected = Segmentation.of(seen, placement, labels, tuple("#000000" for _ in labels))
    case = make_case(
        f"{name}, {size[0]}x{size[1]}, {'mask' if masks else 'logits'} {list(answer.shape)} of {classes} classes",
        answer.ravel(),
        spec,
        what=MASK_TO_PICTURE if masks else LOGITS_TO_PICTURE,
        width=size[0],
        height=size[1],
        channels=classes,
        resample=answer.shape[0],
        order=answer.shape[1],
    )
    return MaskCase(case, placement, answer, expected)


def _random() -> Iterator[MaskCase]:
    """Every spec with every size; strides and numbers of classes take turns."""
    for index, (name, size) in enumerate((name, size) for name in SPECS for size in SIZES):
        spec, rng = SPECS[name], np.random.default_rng([SEED, index])
        stride, classes = STRIDES_AND_CLASSES[(index + index // len(SIZES)) % len(STRIDES_AND_CLASSES)]
        height, width = spec.image_size
        logits = rng.normal(0, 5, (height // stride, width // stride, classes)).astype(np.float32)
        yield _made(name, spec, size, logits, classes)
        yield _made(name, spec, size, rng.integers(0, classes, (height, width)).astype(np.uint8), classes)


def _ties() -> Iterator[MaskCase]:
    """Whole numbers at sizes whose weights are quarters, so that equal is equal: the lower index must win."""
    for scale in (1, 2, 4):
        logits = np.random.default_rng([SEED, scale]).integers(0, 3, (4, 6, 7)).astype(np.float32)
        yield _made("ties", PreprocessSpec((4, 6), None, (4, 6)), (6 * scale, 4 * scale), logits, 7)


@functools.cache
def mask_cases() -> tuple[MaskCase, ...]:
    return (*_random(), *_ties())
