"""The export form of a MobileViTV2 backbone.

1. The affine part of every GlobalNorm folds into the 1x1 layer after it; but for the last one of an encoder layer
   where zeros are put beside its output (``ModelConfig.patch_rule``).
2. Query, key and value become layers of their own: no runtime then cuts them out of one map, or computes the one
   query channel beyond a multiple of its kernel's width; TFLite makes ReLU part of the value's layer.

BatchNorms are to be folded before (export/convert/fold/export_form.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvit2.network.config import NetworkConfig
from mvit2.network.layers import Pointwise
from mvit2.network.mobilevitv2 import (
    GlobalNorm,
    MobileViTV2Layer,
    QueryKeyValue,
    SeparableSelfAttention,
    TransformerLayer,
)
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.network.network import Backbone

from .parts import assign, fold_affine

__all__ = ["fold_mobilevitv2"]


def fold_mobilevitv2(backbone: Backbone, *, single_image: bool, image_size: tuple[int, int] | None) -> None:
    """In place; arguments as for export_form."""
    for module in backbone.modules():
        if isinstance(module, TransformerLayer):
            _fold_norm(module.layernorm_before, module.attention.qkv_proj.convolution)
            _fold_norm(module.layernorm_after, module.ffn.conv1.convolution)
        elif isinstance(module, MobileViTV2Layer):
            if not _pads(backbone.config, image_size):
                _fold_norm(module.layernorm, module.conv_projection.convolution)
        elif isinstance(module, SeparableSelfAttention):
            module.single_image = single_image
            module.add_module("qkv_proj", _Apart(module.qkv_proj))


def _pads(config: NetworkConfig, image_size: tuple[int, int] | None) -> bool:
    """Whether zeros may stand beside what a layer's last norm puts out: its shift is then not the projection's."""
    assert isinstance(config, ModelConfig)
    return config.patch_rule == "transformers" and (image_size is None or not config.tiles(image_size))


def _fold_norm(norm: GlobalNorm, conv: nn.Conv2d) -> None:
    fold_affine(norm.weight, norm.bias, conv)
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
            assign(layer.convolution, weight, bias)
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer in self.children())
