"""The network as people speak of it: its blocks, by one name each in tables, profiles and drawings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mvit2.errors import BundleError
from mvit2.tasks import TASKS

from .architectures import ARCHITECTURES, without_backbone

__all__ = ["Block", "block_of"]

_MOST = 10**15  # far above any network, and exact as a float


@dataclass(frozen=True)
class Block:
    """One block of a network at one image size, batch 1.

    Attributes:
        name: its module without the network's own, such as "encoder.layer.2.transformer.layer.0".
        kind: what it is, in words.
        shape: of its output: height, width, channels; (1, 1, classes) for the classifier.
        parameters: how many numbers it learned.
        macs: multiply-accumulates of its convolutions, its linear layers, and the products of its attention.

    Raises BundleError for numbers that no network has.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    parameters: int
    macs: int

    def __post_init__(self) -> None:
        numbers = (*self.shape, self.parameters, self.macs)
        if not all(0 <= n <= _MOST for n in numbers):
            raise BundleError(f"block {self.name[:80]!r} has the sizes {str(numbers)[:80]}, accepted: 0 to {_MOST}")


def block_of(module: str) -> str | None:
    """The block that a module lies in; None outside of all.

    >>> block_of("mobilevitv2.encoder.layer.2.transformer.layer.0.attention.qkv_proj")
    'encoder.layer.2.transformer.layer.0'
    >>> block_of("encoder.layer.1.layer.0.conv_3x3.convolution")
    'encoder.layer.1.layer.0'
    >>> block_of("encoder.layer.4.conv_kxk")
    'encoder.layer.4.conv_kxk'
    """
    heads = [re.escape(block) for task in TASKS.values() for block in task.blocks]
    ours = "|".join([*(row.blocks for row in ARCHITECTURES.values()), *heads])
    found = re.match(rf"({ours})(?![^.])", without_backbone(module))
    return found.group() if found else None
