"""Agreement, signal-to-noise ratio and intervals, against numbers worked out by hand or by scipy."""

from __future__ import annotations

import numpy as np
import pytest

from mvit2.metrics.fidelity import agreement, centred_logits, confidence_interval, logit_snr, top_k_hits

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(50, 20)).astype(np.float32)


@pytest.mark.parametrize("decibels", [0, 10, 20, 40])
def test_snr_is_the_ratio_that_was_put_in(decibels: int) -> None:
    signal = LOGITS - LOGITS.mean(-1, keepdims=True)
    noise = RNG.normal(size=LOGITS.shape)
    noise -= noise.mean(-1, keepdims=True)
    noise *= np.sqrt(np.square(signal).sum() / np.square(noise).sum()) * 10 ** (-decibels / 20)
    assert logit_snr(signal, signal + noise) == pytest.approx(decibels, abs=1e-4)


@pytest.mark.parametrize(
    ("candidate", "least", "most"),
    [
        (LOGITS, 150, 150),  # equal
        (LOGITS + 7, 130, 150),  # a softmax does not see a constant
        (np.zeros_like(LOGITS), 0, 1e-9),  # knows nothing
        (-LOGITS, -6.03, -6.02),  # the opposite: 20 log10(1 / 2)
    ],
)
def test_snr_of_the_extremes(candidate: np.ndarray, least: float, most: float) -> None:
    assert least <= logit_snr(LOGITS, candidate) <= most


def test_logits_come_back_from_probabilities() -> None:
    exponentials = np.exp(LOGITS.astype(np.float64))
    expected = LOGITS - LOGITS.mean(-1, keepdims=True)
    np.testing.assert_allclose(centred_logits(exponentials / exponentials.sum(-1, keepdims=True)), expected, atol=1e-6)


SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize(
    ("k", "labels", "hits"), [(1, [1, 0, 2], 3), (1, [1, 1, 0], 1), (2, [2, 1, 0], 2), (5, [0, 2, 1], 3)]
)
def test_top_k(k: int, labels: list[int], hits: int) -> None:
    assert top_k_hits(SCORES, np.array(labels), k) == hits


def test_agreement() -> None:
    assert agreement(SCORES, SCORES[:, ::-1]) == pytest.approx(1 / 3)  # only the first row's winner is in the middle


# scipy.stats.binomtest(hits, trials).proportion_ci(method="wilson")
@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(267, 500, 0.49020, 0.57729), (0, 32, 0.0, 0.10718), (32, 32, 0.89282, 1.0)]
)
def test_wilson_interval(hits: int, trials: int, low: float, high: float) -> None:
    assert confidence_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)
