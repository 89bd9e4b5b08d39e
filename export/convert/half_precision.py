"""Keeps a network within float16, in which GPUs, NPUs and Core ML compute and which ends at 65,504.

A norm squares its input, and 256 * 256 is beyond that end: trained networks reach it. LiteRT's and ONNX Runtime's CPUs
compute in float32, so no comparison on them shows it.

Every transformer has a residual stream: ``conv_1x1`` begins it, attention and feed-forward layers add to it, and only
norms read it. A norm undoes any factor of its input, if its epsilon has the square of that factor. So a power of two in
those layers' weights and in the epsilons makes the squares small enough. float32 results keep every bit, and no
operator is added; a multiplication inside each norm, k * (x - mean), would cost one pass over the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mvit2.network.architectures import without_backbone
from mvit2.network.blocks import block_of
from mvit2.network.mobilevit import MobileViTLayer
from mvit2.network.mobilevitv2 import GlobalNorm, MobileViTV2Layer
from mvit2.network.network import Network

__all__ = ["largest_values", "scale_streams"]

# What |x - mean| may reach in a norm on the parity inputs: a quarter of what float16 can square, for other images.
_LARGEST_DEVIATION = 64.0


@dataclass(frozen=True)
class _Kind:
    """A family's encoder layers with a residual stream.

    Attributes:
        norm: the type of all that read the stream.
        mean: what such a norm subtracts.
        writers: last parts of the names of the modules that add to the stream, below ``transformer``.
    """

    layer: type[nn.Module]
    norm: type[nn.Module]
    mean: Callable[[Tensor], Tensor]
    writers: tuple[str, ...]


_KINDS = (
    _Kind(MobileViTV2Layer, GlobalNorm, GlobalNorm.mean, ("attention.out_proj", "ffn.conv2")),
    _Kind(MobileViTLayer, nn.LayerNorm, lambda x: x.mean(-1, keepdim=True), ("output.dense",)),
)


@dataclass(frozen=True, eq=False)
class _Stream:
    layer: nn.Module
    kind: _Kind

    @property
    def norms(self) -> list[nn.Module]:
        return [module for module in self.layer.modules() if isinstance(module, self.kind.norm)]

    def scale(self, factor: float) -> None:
        named = self.layer.get_submodule("transformer").named_modules()
        writers = [module for name, module in named if name.endswith(self.kind.writers)]
        for writer in (self.layer.get_submodule("conv_1x1"), *writers):
            for parameter in writer.parameters():
                parameter.mul_(factor)
        for norm in self.norms:
            assert isinstance(norm, GlobalNorm | nn.LayerNorm)
            norm.eps *= factor * factor


@torch.no_grad()
def scale_streams(model: Network, pixel_values: Tensor) -> None:
    """Scale every residual stream of ``model``, in place, by the power of two that ``pixel_values`` call for.

    Streams that are small enough stay as they are.
    """
    streams = [_Stream(m, kind) for m in model.modules() for kind in _KINDS if isinstance(m, kind.layer)]
    deviations = dict.fromkeys(streams, 0.0)

    def measure(stream: _Stream, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        deviations[stream] = max(deviations[stream], float((x - stream.kind.mean(x)).abs().max()))

    hooks = [
        norm.register_forward_pre_hook(lambda _, inputs, stream=stream: measure(stream, inputs))
        for stream in streams
        for norm in stream.norms
    ]
    try:
        for image in pixel_values:
            model(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    for stream, deviation in deviations.items():
        if math.isfinite(deviation) and deviation > _LARGEST_DEVIATION:
            stream.scale(2.0 ** -math.ceil(math.log2(deviation / _LARGEST_DEVIATION)))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """The largest |value| of every tensor computed while ``block`` runs, by block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.block: str | None = None
        self.largest: dict[str, float] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled, so torch need not import its compiler: 320 modules."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.block is not None:
            for made in result if isinstance(result, (list, tuple)) else [result]:
                if isinstance(made, Tensor) and made.is_floating_point() and made.numel():
                    self.largest[self.block] = max(self.largest[self.block], float(made.abs().max()))
        return result

    def enter(self, block: str | None) -> None:
        self.block = block
        if block is not None:
            self.largest.setdefault(block, 0.0)


@contextmanager
def largest_values(network: Network) -> Iterator[dict[str, float]]:
    """While ``network`` runs: block (mvit2.network.blocks) -> the largest |value| of any tensor computed in it."""
    watch = _Watch()
    hooks = []
    for name, module in network.named_modules():
        block = block_of(name)
        if block is not None and block == without_backbone(name):
            hooks.append(module.register_forward_pre_hook(lambda *_, block=block: watch.enter(block)))
            hooks.append(module.register_forward_hook(lambda *_: watch.enter(None)))
    try:
        with watch:
            yield watch.largest
        for block, value in watch.largest.items():
            watch.largest[block] = float(f"{value:.4g}")  # the digits that do not depend on the machine
    finally:
        for hook in hooks:
            hook.remove()
