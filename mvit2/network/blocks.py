"""The network as people speak of it: its blocks, by one name each in tables, profiles and drawings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mvit2.errors import BundleError
from mvit2.tasks import TASKS

from .architectures import ARCHITECTURES, without_backbone

__all__ = ["LARGEST_FLOAT16", "Block", "beyond_float16", "block_of", "largest_value"]

LARGEST_FLOAT16 = 65504.0

_MOST = 10**15  # far above any network, and exact as a float


@dataclass(frozen=True)
class Block:
    """One block of a network at one image size, batch 1.

    Attributes:
        name: its module without the network's own, such as "encoder.layer.2.transformer.layer.0".
        kind: what it is, in words.
        shape: of its output: height, width, channels; where a transformer attends to patches their number, the pixels
            of one, channels; (1, 1, classes) for the classifier.
        parameters: how many numbers it learned.
        macs: multiply-accumulates of its convolutions, its linear layers, and the products of its attention.
        largest: the largest |value| of any tensor computed in it, on the parity inputs; None where nobody looked.

    Raises BundleError for numbers that no network has.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    parameters: int
    macs: int
    largest: float | None = None

    def __post_init__(self) -> None:
        numbers = (*self.shape, self.parameters, self.macs)
        if not all(0 <= n <= _MOST for n in numbers):
            raise BundleError(f"block {self.name[:80]!r} has the sizes {str(numbers)[:80]}, accepted: 0 to {_MOST}")
        if self.largest is not None and self.largest < 0:
            raise BundleError(f"block {self.name[:80]!r} has the largest value {self.largest}, accepted: 0 or more")


def largest_value(blocks: Iterable[Block]) -> tuple[Block, float] | None:
    """The block that reaches furthest, and how far; None where nobody looked."""
    seen = [(block, block.largest) for block in blocks if block.largest is not None]
    return max(seen, key=lambda pair: pair[1], default=None)


def beyond_float16(blocks: Iterable[Block]) -> str | None:
    """Which block's values float16 cannot hold, in words; None if it holds all, or nobody looked."""
    found = largest_value(blocks)
    if found is None or found[1] <= LARGEST_FLOAT16:
        return None
    return f"block {found[0].name} reaches {found[1]:.3g}, float16 ends at {LARGEST_FLOAT16:.0f}"


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
