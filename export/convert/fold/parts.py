"""What every fold does: a BatchNorm into the convolution before it, a norm's affine part into the layers after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvit2.network.layers import ConvLayer

__all__ = ["assign", "centre_outputs", "fold_affine", "fold_batch_norm"]

Linear = nn.Conv2d | nn.Linear


def fold_batch_norm(layer: ConvLayer) -> None:
    norm, conv = layer.normalization, layer.convolution
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_var is not None and norm.running_mean is not None
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        assign(
            conv,
            conv.weight.double() * gain[:, None, None, None],
            norm.bias.double() - norm.running_mean.double() * gain,
        )
        layer.normalization = nn.Identity()


def fold_affine(weight: Tensor | None, bias: Tensor | None, layer: Linear, factor: float = 1.0) -> None:
    """W (weight * x + bias) + b = (W weight) x + (W bias + b), for a linear layer or a 1x1 convolution.

    Args:
        factor: the layer's output is multiplied by it, too.
    """
    assert weight is not None and bias is not None
    rows = layer.weight.double().flatten(1)
    old = 0.0 if layer.bias is None else layer.bias.double()
    new = (rows * weight.double() * factor).reshape(layer.weight.shape)
    assign(layer, new, (rows @ bias.double() + old) * factor)


def centre_outputs(layer: Linear) -> None:
    """The mean over its output channels is 0 for every input: what only norms read that subtract it, needs it not."""
    weight = layer.weight.double()
    bias = None if layer.bias is None else layer.bias.double() - layer.bias.double().mean()
    assign(layer, weight - weight.mean(0, keepdim=True), bias)


def assign(layer: Linear, weight: Tensor, bias: Tensor | None) -> None:
    """New weights, rounded to float32, that need no gradient."""
    layer.weight = nn.Parameter(weight.detach().clone().float(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.detach().clone().float(), requires_grad=False)
