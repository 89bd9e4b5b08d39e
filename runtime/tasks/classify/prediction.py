"""A classifier's answer: scores -> the best labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvit2.errors import CheckFailed, UsageError

__all__ = ["Prediction", "top_k"]


@dataclass(frozen=True)
class Prediction:
    """One line of an answer: a class's label, its score, its index."""

    label: str
    score: float
    index: int


def top_k(scores: npt.ArrayLike, labels: Sequence[str], k: int = 5) -> list[Prediction]:
    """The best ``k`` classes, best first; of equal scores the lower index comes first.

    Args:
        scores: ``[classes]`` or ``[1, classes]``, real numbers.
        labels: one per class.
        k: how many; more than there are classes gives all of them.

    Raises:
        UsageError: ``k`` no whole number or below 1, or another number of scores than of labels.
        CheckFailed: a score is NaN or infinite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"top_k is {k!r}, accepted: a whole number from 1 on.")
    if values.shape not in ((len(labels),), (1, len(labels))):
        raise UsageError(
            f"scores of shape {list(values.shape)} do not fit {len(labels)} labels; accepted: one score per "
            "label, of one image; pass the labels that belong to the model"
        )
    values = values.reshape(-1)
    broken = np.flatnonzero(~np.isfinite(values))
    if broken.size:
        raise CheckFailed(
            f"{broken.size} of {values.size} scores are not finite (class {broken[0]}: {values[broken[0]]}); "
            "check the model against its checkpoint"
        )
    best = np.argsort(-values, kind="stable")[:k]
    return [Prediction(labels[index], float(values[index]), int(index)) for index in best]
