"""Bias correction: int8 moves the mean of every channel, and a layer's bias can take that back for nothing.

Rounding is not symmetric where a channel is small against the step of its tensor: most of its values become zero. The
shifts of many channels add up from layer to layer; they make half of the logits' error on a trained network. Here every
layer is compared with the float network on the same images, with the layers before it corrected already, in one pass
(the empirical correction of Nagel et al., arXiv 1906.04721, appendix D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .simulate import Layer, Simulation

__all__ = ["correct_biases", "forget_biases"]

_BATCH = 4


@torch.no_grad()
def correct_biases(simulation: Simulation, pixels: NDArray[np.uint8]) -> None:
    """Give every quantised layer its correction, for the modes of now."""
    totals: dict[Layer, Tensor] = {}
    forget_biases(simulation)
    for batch in np.split(pixels, range(_BATCH, len(pixels), _BATCH)):
        for layer, shift in _shifts(simulation, simulation.inputs(batch)).items():
            totals[layer] = totals.get(layer, torch.zeros_like(shift)) + shift * (len(batch) / len(pixels))
    for layer, total in totals.items():
        layer.correction = total


def forget_biases(simulation: Simulation) -> None:
    for layer in simulation.layers:
        layer.correction = None


def _shifts(simulation: Simulation, inputs: Tensor) -> dict[Layer, Tensor]:
    """[out] of every quantised layer: what its sums must be given to have the float network's mean over ``inputs``."""
    wanted: dict[Layer, Tensor] = {}
    shifts: dict[Layer, Tensor] = {}

    def remember(layer: Layer, x: Tensor) -> Tensor:
        wanted[layer] = _mean(layer, x)
        return x

    def hold(layer: Layer, x: Tensor) -> Tensor:
        if layer.mode == "float":
            return x
        shifts[layer] = wanted[layer] - _mean(layer, x)
        return x + (shifts[layer] if layer.channels_last else shifts[layer][:, None, None])

    with simulation.in_float(), _changed(simulation, remember):
        simulation.network(inputs)
    with _changed(simulation, hold):
        simulation.network(inputs)
    return shifts


def _mean(layer: Layer, x: Tensor) -> Tensor:
    return x.mean(tuple(range(x.ndim - 1)) if layer.channels_last else (0, 2, 3))


@contextmanager
def _changed(simulation: Simulation, change: Callable[[Layer, Tensor], Tensor]) -> Iterator[None]:
    for layer in simulation.layers:
        layer.change = change
    try:
        yield
    finally:
        for layer in simulation.layers:
            layer.change = None
