"""The export form of a MobileViT backbone.

1. The affine part of every LayerNorm folds into the layers after it, and 1 / sqrt(d) of the attention into the query.
2. Of a transformer's residual stream nothing is read but by LayerNorms, which subtract its mean over the channels. So
   whoever writes to it writes nothing of that mean, and a LayerNorm is left with dividing: 5 operators of 10.

Between the last LayerNorm and ``conv_projection``, and between ``conv_1x1`` and the tokens, a map that patches do not
tile is resized: each channel alone, with shares that add up to 1, so both hold there, too.

BatchNorms are to be folded before (export/convert/fold/export_form.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvit2.network.mobilevit import MobileViTLayer, TransformerLayer
from mvit2.network.network import Backbone

from .parts import centre_outputs, fold_affine

__all__ = ["CentredNorm", "fold_mobilevit"]


class CentredNorm(nn.Module):
    """LayerNorm of an input whose mean over the channels is 0, without affine part."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # (..., C)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps)


def fold_mobilevit(backbone: Backbone, *, single_image: bool, image_size: tuple[int, int] | None) -> None:
    """In place. It is the same for one image and for many, and for any size."""
    for layer in [module for module in backbone.modules() if isinstance(module, MobileViTLayer)]:
        centre_outputs(layer.conv_1x1.convolution)
        for block in layer.transformer.layer:
            assert isinstance(block, TransformerLayer)
            _fold_block(block)
        norm = layer.layernorm
        fold_affine(norm.weight, norm.bias, layer.conv_projection.convolution)
        layer.add_module("layernorm", CentredNorm(norm.eps))


def _fold_block(block: TransformerLayer) -> None:
    attention, before, after = block.attention.attention, block.layernorm_before, block.layernorm_after
    assert attention.scale is not None
    fold_affine(before.weight, before.bias, attention.query, attention.scale)
    attention.scale = None
    for layer in (attention.key, attention.value):
        fold_affine(before.weight, before.bias, layer)
    fold_affine(after.weight, after.bias, block.intermediate.dense)
    for writer in (block.attention.output, block.output):
        centre_outputs(writer.dense)
    block.add_module("layernorm_before", CentredNorm(before.eps))
    block.add_module("layernorm_after", CentredNorm(after.eps))
