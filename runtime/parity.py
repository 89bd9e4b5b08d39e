"""The numbers by which two stages of the chain are called equal.

Tolerances are on log-probabilities, i.e. relative errors of probabilities, so a class of probability 1e-6 counts as
much as the winner. float32: rounding of a different order of summation. float16: weights rounded to 11 bits. Quantised
models are compared with their own recorded answers: another CPU's last bit in a float island can move a value across a
rounding step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.fidelity import SMALLEST_PROBABILITY
from mvit2.manifest import Difference

__all__ = ["TOLERANCES", "compare", "log_softmax"]

TOLERANCES: Mapping[str, float] = {
    "float32": 1e-4,
    "float16": 2e-2,
    "dynamic": 0.25,
    "int8": 0.25,
    "full-int8": 0.25,
}


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
    finite = bool(np.isfinite(reference).all() and np.isfinite(candidate).all())
    if reference.shape != candidate.shape or not reference.size or not finite:
        return Difference(stage, len(reference), -1.0, -1.0, 0.0, tolerance, finite=False)
    a, b = (np.log(np.maximum(p.astype(np.float64), SMALLEST_PROBABILITY)) for p in (reference, candidate))
    chosen = np.take_along_axis(a, b.argmax(-1)[:, None], -1)[:, 0]
    agreement = float(np.mean(a.max(-1) - chosen <= tolerance))
    gap = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    return Difference(stage, len(reference), float(gap.max()), float(np.abs(a - b).max()), agreement, tolerance)
