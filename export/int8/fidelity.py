"""How near the outputs of a quantised model are to those of the float one, whatever kind they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mvit2.difference import Measure
from mvit2.metrics.fidelity import agreement, centred_logits, logit_snr, snr_db
from mvit2.runtime.engines.backend import Array
from mvit2.runtime.tasks.compare import log_softmax

__all__ = ["Nearness", "nearness"]


class Nearness(NamedTuple):
    """The figures of mvit2.bundle.measurements.Fidelity; of a network that scores pixels, each counts as an image."""

    agreement: float
    snr_db: float
    max_error: float


def _of_probabilities(reference: Array, candidate: Array) -> Nearness:
    snr = logit_snr(centred_logits(reference), centred_logits(candidate))
    return Nearness(agreement(reference, candidate), snr, float(np.abs(reference - candidate).max()))


def _of_logits(reference: Array, candidate: Array) -> Nearness:
    return _of_probabilities(np.exp(log_softmax(reference)), np.exp(log_softmax(candidate)))


def _of_masks(reference: Array, candidate: Array) -> Nearness:
    """As if each pixel were a vector of zeros with a one at its class: two that differ are apart by 2 of 1."""
    others = float(np.mean(reference != candidate))
    return Nearness(1 - others, snr_db(1, 2 * others), float(others > 0))


_BY_MEASURE: Mapping[Measure, Callable[[Array, Array], Nearness]] = {
    "probabilities": _of_probabilities,
    "logits": _of_logits,
    "masks": _of_masks,
}


def nearness(measure: Measure, reference: Array, candidate: Array) -> Nearness:
    """Of outputs [N, ...] as mvit2.runtime.tasks.outputs describes them."""
    return _BY_MEASURE[measure](reference, candidate)
