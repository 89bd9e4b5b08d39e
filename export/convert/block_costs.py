"""What the blocks of a network are and cost, read off the torch model while it runs once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mvit2.export.convert.fold.deeplabv3 import PyramidForm
from mvit2.network.architectures import without_backbone
from mvit2.network.blocks import Block, block_of
from mvit2.network.deeplabv3 import SpatialPyramid
from mvit2.network.layers import ConvLayer, InvertedResidual, Pointwise
from mvit2.network.mobilevit import SelfAttention
from mvit2.network.mobilevit import TransformerLayer as MobileViTTransformerLayer
from mvit2.network.mobilevitv2 import GlobalNorm, QueryKeyValue, SeparableSelfAttention, TransformerLayer
from mvit2.network.network import Network

__all__ = ["network_blocks"]

_KINDS: tuple[tuple[type[nn.Module], str], ...] = (
    (InvertedResidual, "inverted residual"),
    (TransformerLayer, "transformer layer"),
    (MobileViTTransformerLayer, "transformer layer"),
    (GlobalNorm, "normalisation"),
    (nn.LayerNorm, "normalisation"),
    (SpatialPyramid, "spatial pyramid"),
    (PyramidForm, "spatial pyramid"),
    (nn.Linear, "linear"),
    (Pointwise, "linear"),
)
_POINTWISE = (Pointwise, QueryKeyValue)
_TOKENS = (MobileViTTransformerLayer, SelfAttention, nn.LayerNorm, nn.Linear)  # patches, positions, channels
_CHANNELS_LAST = (TransformerLayer, GlobalNorm, SeparableSelfAttention, *_POINTWISE, *_TOKENS)
# Of the products of activations, by the (height, width, channels) of a module's output: an attention's weighted sum of
# the keys (its context), and each value times that; of attention between patches every query with every key, and the
# weighted sums of the values.
_PRODUCTS: tuple[tuple[type[nn.Module], Callable[[int, int, int], int]], ...] = (
    (SeparableSelfAttention, lambda height, width, channels: 2 * height * width * channels),
    (SelfAttention, lambda patches, positions, channels: 2 * patches * patches * positions * channels),
)


@torch.no_grad()
def network_blocks(model: Network, image_size: tuple[int, int]) -> tuple[Block, ...]:
    """The blocks of ``model`` for images of (height, width), in the order in which they run."""
    macs: dict[str, int] = defaultdict(int)
    shapes: dict[str, tuple[int, int, int]] = {}
    modules = {without_backbone(name): module for name, module in model.named_modules()}

    def ran(name: str, module: nn.Module, _: Any, output: Any) -> None:
        block = block_of(name)
        if block is None:
            return
        height, width, channels = _map_shape(module, output)
        if isinstance(module, (nn.Conv2d, nn.Linear, *_POINTWISE)):
            weight = module.convolution.weight if isinstance(module, _POINTWISE) else module.weight
            macs[block] += height * width * weight.numel()
        macs[block] += sum(count(height, width, channels) for kind, count in _PRODUCTS if isinstance(module, kind))
        if name == block:
            shapes[block] = (height, width, channels)

    hooks = [module.register_forward_hook(partial(ran, name)) for name, module in modules.items() if block_of(name)]
    try:
        model(torch.zeros(1, model.config.num_channels, *image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(Block(n, _kind(modules[n]), s, _parameters(modules[n]), macs[n]) for n, s in shapes.items())


def _map_shape(module: nn.Module, output: Tensor | tuple[Tensor, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of a map in either layout, of the first of several, and of a vector."""
    if isinstance(output, tuple):
        output = output[0]
    if output.dim() == 2:
        return 1, 1, output.shape[1]
    _, *rest = output.shape
    height, width, channels = rest if isinstance(module, _CHANNELS_LAST) else (*rest[1:], rest[0])
    return height, width, channels


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _kind(module: nn.Module) -> str:
    if isinstance(module, ConvLayer):
        convolution = module.convolution
        edge = convolution.kernel_size[0]
        return f"{edge}x{edge} {'depthwise ' if convolution.groups > 1 else ''}convolution"
    return next(kind for known, kind in _KINDS if isinstance(module, known))
