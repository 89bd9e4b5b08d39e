"""The export form of a segmentation head: DeepLabV3's pyramid without the map that would repeat one vector everywhere.

1. What is in the whole image is a vector until the end: its part of the projection's weights makes a layer of its own,
   whose result is added by broadcast. Nothing is expanded, and a fifth of the projection is spared.
2. Of a dilated 3x3 convolution the taps that lie outside of the map at every pixel are cut: with a rate of 18 on a map
   of 16 x 16 it is its centre, a 1x1 convolution.

Both are exact in real arithmetic. BatchNorms are to be folded before (export/convert/fold/export_form.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2.network.deeplabv3 import DeepLabV3, ImagePooling, SpatialPyramid
from mvit2.network.layers import ConvLayer, Pointwise

from .parts import assign

__all__ = ["PyramidForm", "fold_head"]


def fold_head(head: DeepLabV3, map_size: tuple[int, int] | None) -> None:
    """In place. ``map_size`` is (height, width) of the only maps that it is for; None is for maps of any size."""
    head.add_module("aspp", PyramidForm(head.aspp, map_size))
    head.add_module("classifier", _AsConvolution(head.classifier))


class PyramidForm(nn.Module):
    """``SpatialPyramid`` with folded norms; takes its layers over."""

    def __init__(self, pyramid: SpatialPyramid, map_size: tuple[int, int] | None) -> None:
        super().__init__()
        *self_and_around, pooling = pyramid.convs
        assert isinstance(pooling, ImagePooling)
        joint = pyramid.project.convolution
        c = joint.out_channels
        self.pooled = pooling.conv_1x1
        self.context = ConvLayer(c, c, norm=False)
        assign(self.context.convolution, joint.weight[:, -c:], None)
        self.convs = nn.ModuleList(self_and_around)
        if map_size is not None:
            for layer in self.convs:
                _cut_taps(layer, map_size)
        self.project = ConvLayer(joint.in_channels - c, c, norm=False)
        assign(self.project.convolution, joint.weight[:, :-c], joint.bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, C5, h, w) -> (B, C, h, w)
        # In the order of the TFLite graph, by which quantize/ knows the layers.
        whole = self.context(self.pooled(x.mean((2, 3), keepdim=True)))  # (B, C, 1, 1)
        near = self.project(torch.cat([conv(x) for conv in self.convs], dim=1))
        return F.relu(near + whole)


class _AsConvolution(Pointwise):
    """A ``Pointwise`` whose map comes from convolutions: it stays one, where a matrix product would reorder the map."""

    def __init__(self, pointwise: Pointwise) -> None:
        nn.Module.__init__(self)
        self.convolution = pointwise.convolution

    def forward(self, x: Tensor) -> Tensor:  # (B, h, w, c_in) -> (B, h, w, c_out)
        scores: Tensor = self.convolution(x.permute(0, 3, 1, 2))
        return scores.permute(0, 2, 3, 1)


def _cut_taps(layer: nn.Module, map_size: tuple[int, int]) -> None:
    """Along an edge that is no longer than the dilation, the first and the last of three taps read padding alone."""
    assert isinstance(layer, ConvLayer)
    conv = layer.convolution
    for axis, edge in enumerate(map_size):
        if conv.kernel_size[axis] == 3 and conv.dilation[axis] >= edge:
            assign(conv, conv.weight.narrow(2 + axis, 1, 1), conv.bias)
            for name in ("kernel_size", "padding", "dilation"):
                pair = list(getattr(conv, name))
                pair[axis] = 0 if name == "padding" else 1
                setattr(conv, name, tuple(pair))
