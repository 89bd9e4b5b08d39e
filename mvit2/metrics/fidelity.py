"""How near two models' answers are: agreement, signal-to-noise ratio, accuracy with its uncertainty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SMALLEST_PROBABILITY",
    "agreement",
    "centred_logits",
    "confidence_interval",
    "logit_snr",
    "snr_db",
    "top_k_hits",
]

# Below this a float32 softmax underflows towards 0 and its logarithm means nothing.
SMALLEST_PROBABILITY = 1e-30
_MOST_DB = 150.0  # of equal numbers, for which there is no ratio; float32 rounding alone is about 130


def centred_logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """[N, classes] -> log-probabilities less their mean: the logits, as far as a softmax lets them be known."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST_PROBABILITY))
    return np.asarray(logs - logs.mean(-1, keepdims=True))


def logit_snr(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """10 log10(power of the reference / power of the difference) in dB, of centred logits [N, classes]."""
    a, b = (x.astype(np.float64) - x.astype(np.float64).mean(-1, keepdims=True) for x in (reference, candidate))
    return snr_db(float(np.square(a).sum()), float(np.square(a - b).sum()))


def snr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers, in dB; at most 150, of equal numbers too."""
    if noise <= signal * 10 ** (-_MOST_DB / 10):
        return _MOST_DB
    return 10 * math.log10(max(signal, 1e-300) / noise)


def agreement(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Share of rows [N, classes] with the same largest entry."""
    return float(np.mean(reference.argmax(-1) == candidate.argmax(-1)))


def top_k_hits(scores: NDArray[Any], labels: NDArray[np.int64], k: int) -> int:
    """How many rows [N, classes] have their label among the ``k`` largest; of equal scores the lower index wins."""
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    return int((best == labels[:, None]).any(-1).sum())


def confidence_interval(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson, 1927)."""
    z, share = 1.959964, hits / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return (centre - spread) / (1 + z * z / trials), (centre + spread) / (1 + z * z / trials)
