"""The export form: the same network with its normalisations and its input scaling folded into convolutions.

1. BatchNorm folds into the convolution before it.
2. The affine part of every GlobalNorm folds into the 1x1 layer after it; but for the last one of an encoder layer
   where zeros are put beside its output (``ModelConfig.patch_rule``).
3. Query, key and value become layers of their own: no runtime then cuts them out of one map, or computes the one
   query channel beyond a multiple of its kernel's width; TFLite makes ReLU part of the value's layer.
4. A segmentation head gets the form of export/convert/fold_deeplabv3.py.
5. The artifact contract's input (uint8 RGB) folds into the stem, in contract.py: scale into its weights, BGR into their
   order.

All of them are exact in real arithmetic; they are computed in float64 and rounded once.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mvit2.network.config import NetworkConfig
from mvit2.network.deeplabv3 import DeepLabV3
from mvit2.network.layers import ConvLayer, Pointwise
from mvit2.network.mobilevitv2 import (
    GlobalNorm,
    MobileViTV2Layer,
    QueryKeyValue,
    SeparableSelfAttention,
    TransformerLayer,
)
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.network.network import Network

from .fold_deeplabv3 import fold_head

__all__ = ["export_form"]


def export_form(model: Network, *, single_image: bool, image_size: tuple[int, int] | None = None) -> Network:
    """A folded copy of ``model`` in eval mode.

    Args:
        single_image: the batch is 1, and every tensor of rank <= 4.
        image_size: (height, width) of the only pictures that the copy is for, which spares a segmentation head the
            taps that never meet its map; None is for any size.
    """
    folded = copy.deepcopy(model).requires_grad_(False)
    for module in folded.modules():
        if isinstance(module, ConvLayer):
            _fold_batch_norm(module)
    for module in folded.modules():
        if isinstance(module, TransformerLayer):
            _fold_affine(module.layernorm_before, module.attention.qkv_proj.convolution)
            _fold_affine(module.layernorm_after, module.ffn.conv1.convolution)
        elif isinstance(module, MobileViTV2Layer):
            if not _pads(folded.config, image_size):
                _fold_affine(module.layernorm, module.conv_projection.convolution)
        elif isinstance(module, SeparableSelfAttention):
            module.single_image = single_image
            module.add_module("qkv_proj", _Apart(module.qkv_proj))
        elif isinstance(module, DeepLabV3):
            fold_head(module, image_size and folded.config.map_size(image_size))
    return folded.eval()


def _pads(config: NetworkConfig, image_size: tuple[int, int] | None) -> bool:
    """Whether zeros may stand beside what a layer's last norm puts out: its shift is then not the projection's."""
    assert isinstance(config, ModelConfig)
    return config.patch_rule == "transformers" and (image_size is None or not config.tiles(image_size))


def _fold_batch_norm(layer: ConvLayer) -> None:
    norm, conv = layer.normalization, layer.convolution
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_var is not None and norm.running_mean is not None
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        _assign(
            conv,
            conv.weight.double() * gain[:, None, None, None],
            norm.bias.double() - norm.running_mean.double() * gain,
        )
        layer.normalization = nn.Identity()


def _fold_affine(norm: GlobalNorm, conv: nn.Conv2d) -> None:
    """W (weight * x + bias) + b = (W weight) x + (W bias + b), for a 1x1 convolution without padding."""
    assert norm.weight is not None and norm.bias is not None
    weight = conv.weight.double()
    shift = (weight * norm.bias.double()[:, None, None]).sum((1, 2, 3))
    old = 0.0 if conv.bias is None else conv.bias.double()
    _assign(conv, weight * norm.weight.double()[:, None, None], old + shift)
    norm.weight = norm.bias = None


class _Apart(nn.Module):
    """``QueryKeyValue`` as three layers; takes it over."""

    def __init__(self, joint: QueryKeyValue) -> None:
        super().__init__()
        conv = joint.convolution
        assert conv.bias is not None
        weights, biases = (torch.split(t, joint.parts) for t in (conv.weight, conv.bias))
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            layer = Pointwise(weight.shape[1], len(weight))
            _assign(layer.convolution, weight, bias)
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer in self.children())


def _assign(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.weight = nn.Parameter(weight.float(), requires_grad=False)
    conv.bias = nn.Parameter(bias.float(), requires_grad=False)
