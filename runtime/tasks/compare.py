"""The numbers by which two stages of the chain are called equal; for each kind of answer its own measure.

Tolerances of probabilities are on their logarithms, i.e. relative errors, so a class of probability 1e-6 counts as
much as the winner; those of logits are shares of their range; those of masks are shares of an image's pixels.
float32: rounding of a different order of summation. float16: weights rounded to 11 bits. Quantised models are compared
with their own recorded answers: another CPU's last bit in a float island can move a value across a rounding step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Precision
from mvit2.difference import Difference, Measure
from mvit2.metrics.fidelity import SMALLEST_PROBABILITY

__all__ = [
    "LOGIT_TOLERANCES",
    "MASK_TOLERANCES",
    "TOLERANCES",
    "compare",
    "compare_logits",
    "compare_masks",
    "log_softmax",
]


def _tolerances(float32: float, float16: float, quantised: float) -> Mapping[Precision, float]:
    return {
        "float32": float32,
        "float16": float16,
        "dynamic": quantised,
        "int8": quantised,
        "full-int8": quantised,
    }


TOLERANCES = _tolerances(1e-4, 2e-2, 0.25)
LOGIT_TOLERANCES = _tolerances(1e-4, 1e-2, 0.05)
MASK_TOLERANCES = _tolerances(1e-3, 1e-2, 0.03)


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """float [N, classes] -> log-probabilities float64 [N, classes]; a row that holds NaN or Inf becomes NaN."""
    finite = np.where(np.isfinite(logits).all(-1, keepdims=True), logits, np.nan).astype(np.float64)
    shifted = finite - finite.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def compare(stage: str, reference: NDArray[Any], candidate: NDArray[Any], tolerance: float) -> Difference:
    """Compare probabilities of a stage with those of the torch model.

    Args:
        reference, candidate: probabilities [N, classes]; NaN or Inf in either is a failure, never
            replaced; so are different shapes, and none at all.
        tolerance: accepted max |difference| of log-probabilities. Two classes of the reference that are closer than
            this are a tie: either may come first.
    """
    if not _comparable(reference, candidate):
        return _failure(stage, reference, tolerance, "probabilities")
    a, b = (np.log(np.maximum(p.astype(np.float64), SMALLEST_PROBABILITY)) for p in (reference, candidate))
    gap = float(np.abs(reference.astype(np.float64) - candidate.astype(np.float64)).max())
    worst = max(float(np.abs(a - b).max()), gap)  # which is the larger one only where there is a number below 0
    return Difference(stage, len(reference), gap, worst, _agreement(a, b, tolerance), tolerance)


def compare_logits(stage: str, reference: NDArray[Any], candidate: NDArray[Any], tolerance: float) -> Difference:
    """As ``compare``, for logits [N, h, w, classes]; ``tolerance`` is a share of the range of all the reference's."""
    if not _comparable(reference, candidate):
        return _failure(stage, reference, tolerance, "logits")
    a, b = (x.astype(np.float64) for x in (reference, candidate))
    gap, extent = float(np.abs(a - b).max()), max(float(np.ptp(a)), float(np.finfo(np.float32).tiny))
    agreement = _agreement(a, b, tolerance * extent)
    return Difference(stage, len(a), gap, gap / extent, agreement, tolerance, measure="logits")


def compare_masks(stage: str, reference: NDArray[Any], candidate: NDArray[Any], tolerance: float) -> Difference:
    """As ``compare``, for masks [N, H, W]; ``tolerance`` is the share of an image's pixels that may differ.

    A mask does not tell where two classes are nearly equal, so these pixels are what the tolerance is for.
    """
    if not _comparable(reference, candidate):
        return _failure(stage, reference, tolerance, "masks")
    others = np.count_nonzero(reference != candidate, axis=(1, 2))
    shares = others / reference[0].size
    agreement = float(np.mean(shares <= tolerance))
    worst = int(others.argmax())
    return Difference(
        stage, len(others), float(others[worst]), float(shares[worst]), agreement, tolerance, measure="masks"
    )


def _comparable(reference: NDArray[Any], candidate: NDArray[Any]) -> bool:
    finite = bool(np.isfinite(reference).all() and np.isfinite(candidate).all())
    return finite and reference.shape == candidate.shape and bool(reference.size)


def _failure(stage: str, reference: NDArray[Any], tolerance: float, measure: Measure) -> Difference:
    return Difference(stage, len(reference), -1.0, -1.0, 0.0, tolerance, finite=False, measure=measure)


def _agreement(a: NDArray[np.float64], b: NDArray[np.float64], tie: float) -> float:
    """Share of rows [..., classes] in which the winner of ``b`` is within ``tie`` of that of ``a``."""
    chosen = np.take_along_axis(a, b.argmax(-1)[..., None], -1)[..., 0]
    return float(np.mean(a.max(-1) - chosen <= tie))
