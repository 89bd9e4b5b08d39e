"""Which blocks of the network lose how much to int8, and the fewest that must stay float to reach a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvit2.metrics.fidelity import agreement, logit_snr
from mvit2.network.blocks import block_of

from .search import modes
from .simulate import Simulation

__all__ = ["BlockLoss", "fewest_float_blocks", "sensitivity"]


@dataclass(frozen=True)
class BlockLoss:
    """One block against the float network: when it alone is int8, and when it alone stays float."""

    block: str
    alone_snr_db: float
    alone_cosine: float
    alone_agreement: float
    without_snr_db: float
    without_agreement: float


def sensitivity(simulation: Simulation, pixels: NDArray[np.uint8]) -> list[BlockLoss]:
    """The most sensitive block first. ``simulation`` holds ranges; it is left in the recipe's modes."""
    simulation.set_modes(lambda name: "float")
    reference = simulation.logits(pixels)
    blocks = list(dict.fromkeys(block for layer in simulation.layers if (block := block_of(layer.name))))
    losses = []
    for block in blocks:
        others = frozenset(blocks) - {block}
        simulation.set_modes(modes(others))
        alone = simulation.logits(pixels)
        simulation.set_modes(modes(frozenset({block})))
        without = simulation.logits(pixels)
        losses.append(
            BlockLoss(
                block,
                logit_snr(reference, alone),
                _cosine(reference, alone),
                agreement(reference, alone),
                logit_snr(reference, without),
                agreement(reference, without),
            )
        )
    simulation.set_modes(modes())
    return sorted(losses, key=lambda loss: loss.alone_snr_db)


def fewest_float_blocks(
    simulation: Simulation, order: Sequence[str], good: Callable[[NDArray[np.float32]], bool], pixels: NDArray[np.uint8]
) -> int:
    """How many blocks of ``order`` must stay float until ``good(logits)``; all of them where that is not enough."""
    for count in range(len(order) + 1):
        simulation.set_modes(modes(frozenset(order[:count])))
        if good(simulation.logits(pixels)):
            return count
    return len(order)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-30))
