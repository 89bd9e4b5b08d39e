"""The convolutional blocks that all networks of the family are made of.

Module names are those of the published Hugging Face checkpoints.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .config import ACTIVATION_NAMES, NetworkConfig, make_divisible

__all__ = ["ACTIVATIONS", "STRIDES", "ConvLayer", "InvertedResidual", "MobileNetLayer", "Pointwise"]

_MODULES = (nn.SiLU, nn.SiLU, nn.ReLU, nn.ReLU6, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Mish)
ACTIVATIONS: dict[str, type[nn.Module]] = dict(zip(ACTIVATION_NAMES, _MODULES, strict=True))
# Output stride -> (stride, dilation) of encoder layers 4 and 5. 8 and 16 keep the resolution and dilate instead, as
# DeepLab does (arXiv 1706.05587).
STRIDES = {32: ((2, 1), (2, 1)), 16: ((2, 1), (1, 1)), 8: ((1, 1), (1, 2))}


class ConvLayer(nn.Module):
    """Convolution, then BatchNorm and activation where wanted; keeps the size at stride 1."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: bool = True,
        act: str | None = None,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 * dilation
        self.convolution = nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False)
        self.normalization = nn.BatchNorm2d(c_out) if norm else nn.Identity()
        self.activation = ACTIVATIONS[act]() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalization(self.convolution(x))
        return self.activation(x)


class Pointwise(nn.Module):
    """A 1x1 convolution with bias over a channels-last map; its weight keeps the published shape (out, in, 1, 1)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, c_in) -> (B, H, W, c_out)
        return F.linear(x, self.convolution.weight.flatten(1), self.convolution.bias)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow (arXiv 1801.04381)."""

    def __init__(self, config: NetworkConfig, c_in: int, c_out: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        wide = make_divisible(round(c_in * config.expand_ratio))
        act = config.hidden_act
        self.use_residual = stride == 1 and c_in == c_out
        self.expand_1x1 = ConvLayer(c_in, wide, act=act)
        self.conv_3x3 = ConvLayer(wide, wide, 3, stride=stride, groups=wide, dilation=dilation, act=act)
        self.reduce_1x1 = ConvLayer(wide, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        return x + y if self.use_residual else y


class MobileNetLayer(nn.Module):
    """Inverted residuals in a row, the first with the stride."""

    def __init__(self, config: NetworkConfig, c_in: int, c_out: int, stride: int, depth: int) -> None:
        super().__init__()
        first = InvertedResidual(config, c_in, c_out, stride)
        self.layer = nn.ModuleList([first, *(InvertedResidual(config, c_out, c_out, 1) for _ in range(depth - 1))])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return x
