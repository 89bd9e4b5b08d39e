"""MobileViT, the first version (arXiv 2110.02178), in one page: read it from top to bottom.

Module names are those of the published Hugging Face checkpoints, so these load unchanged.

A transformer cuts the feature map into patches, and each pixel attends to those at the same position of all other
patches. Positions never meet, and neither do heads: so a position is just more heads. That keeps every tensor at 4
dimensions for any batch, and no axis but the inner ones ever moves.

Shapes: B images, C channels, H x W pixels, p pixels along a patch's edge, P = p * p positions in a patch,
N = H/p * W/p patches, h heads of d = C / h channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ACTIVATIONS, STRIDES, ConvLayer, InvertedResidual, MobileNetLayer
from .mobilevit_config import MobileViTConfig
from .network import Backbone, Classifier

__all__ = ["MobileViT", "MobileViTClassifier"]


class Dense(nn.Module):
    """A linear layer, then activation or dropout."""

    def __init__(self, c_in: int, c_out: int, *, act: str | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = nn.Linear(c_in, c_out)
        self.activation = ACTIVATIONS[act]() if act else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (..., c_in) -> (..., c_out)
        return self.dropout(self.activation(self.dense(x)))


class SelfAttention(nn.Module):
    """softmax(query key^T / sqrt(d)) value over all patches, for each position and head apart."""

    def __init__(self, config: MobileViTConfig, channels: int) -> None:
        super().__init__()
        self.head = channels // config.num_attention_heads
        self.scale: float | None = 1 / math.sqrt(self.head)  # None once folded into the query
        self.query, self.key, self.value = (nn.Linear(channels, channels, bias=config.qkv_bias) for _ in range(3))
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, P, C)
        query, key, value = (self.by_head(layer(x)) for layer in (self.query, self.key, self.value))
        if self.scale is not None:
            query = query * self.scale
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1)  # (B, Ph, N, d) @ (B, Ph, d, N)
        seen = self.dropout(scores.softmax(-1)) @ value.transpose(1, 2)  # (B, Ph, N, d)
        return seen.transpose(1, 2).reshape(x.shape)

    def by_head(self, x: Tensor) -> Tensor:  # (B, N, P, C) -> (B, N, Ph, d)
        return x.reshape(*x.shape[:2], -1, self.head)


class Attention(nn.Module):
    def __init__(self, config: MobileViTConfig, channels: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, channels)
        self.output = Dense(channels, channels, dropout=config.hidden_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x))


class TransformerLayer(nn.Module):
    def __init__(self, config: MobileViTConfig, channels: int) -> None:
        super().__init__()
        wide = config.wide(channels)
        self.attention = Attention(config, channels)
        self.intermediate = Dense(channels, wide, act=config.hidden_act)
        self.output = Dense(wide, channels, dropout=config.hidden_dropout_prob)
        self.layernorm_before = nn.LayerNorm(channels, config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(channels, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(self.intermediate(self.layernorm_after(x)))


class Transformer(nn.Module):
    def __init__(self, config: MobileViTConfig, channels: int, depth: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(TransformerLayer(config, channels) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class MobileViTLayer(nn.Module):
    """Downsample, look around locally (convolution), then globally (transformer), and put both together."""

    def __init__(
        self, config: MobileViTConfig, c_in: int, c_out: int, channels: int, depth: int, *, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.patch = config.patch_size
        act, kernel = config.hidden_act, config.conv_kernel_size
        self.downsampling_layer = InvertedResidual(config, c_in, c_out, stride, dilation)
        self.conv_kxk = ConvLayer(c_out, c_out, kernel, act=act)
        self.conv_1x1 = ConvLayer(c_out, channels, norm=False)
        self.transformer = Transformer(config, channels, depth)
        self.layernorm = nn.LayerNorm(channels, config.layer_norm_eps)
        self.conv_projection = ConvLayer(channels, c_out, act=act)
        self.fusion = ConvLayer(2 * c_out, c_out, kernel, act=act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsampling_layer(x)
        y = self.conv_1x1(self.conv_kxk(x))
        size = int(y.shape[2]), int(y.shape[3])
        whole = -(-size[0] // self.patch) * self.patch, -(-size[1] // self.patch) * self.patch
        y = resized(y, size, whole)  # a map that patches do not tile is stretched, and shrunk again
        y = self.map_of(self.layernorm(self.transformer(self.tokens(y))), whole)
        return self.fusion(torch.cat((x, self.conv_projection(resized(y, whole, size))), dim=1))

    def tokens(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, N, P, C)
        (batch, channels, height, width), p = x.shape, self.patch
        rows = x.permute(0, 2, 3, 1).reshape(batch * (height // p), p, width // p, p * channels)
        return rows.transpose(1, 2).reshape(batch, -1, p * p, channels)

    def map_of(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # (B, N, P, C) -> (B, C, H, W)
        (batch, _, _, channels), (height, width), p = x.shape, size, self.patch
        rows = x.reshape(batch * (height // p), width // p, p, p * channels)
        return rows.transpose(1, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def resized(x: Tensor, size: tuple[int, int], other: tuple[int, int]) -> Tensor:
    return x if size == other else F.interpolate(x, size=other, mode="bilinear", align_corners=False)


class MobileViT(Backbone):
    """The backbone: normalised pixels float32 (B, num_channels, H, W) -> BackboneOutput."""

    def __init__(self, config: MobileViTConfig, expand_output: bool = True) -> None:
        c0, (c1, c2, c3, c4, c5) = config.stem_channels, config.stage_channels
        a3, a4, a5 = config.hidden_sizes
        d3, d4, d5 = config.depths
        (s4, r4), (s5, r5) = STRIDES[config.output_stride]
        layers = (
            MobileNetLayer(config, c0, c1, stride=1, depth=1),
            MobileNetLayer(config, c1, c2, stride=2, depth=3),
            MobileViTLayer(config, c2, c3, a3, d3, stride=2, dilation=1),
            MobileViTLayer(config, c3, c4, a4, d4, stride=s4, dilation=r4),
            MobileViTLayer(config, c4, c5, a5, d5, stride=s5, dilation=r5),
        )
        super().__init__(config, layers, expand_output=expand_output)
        if expand_output:
            self.conv_1x1_exp = ConvLayer(c5, config.feature_channels, act=config.hidden_act)

    def expanded(self, x: Tensor) -> Tensor:
        return self.conv_1x1_exp(x)


class MobileViTClassifier(Classifier):
    """Backbone, mean over all pixels, one linear layer: float32 (B, num_channels, H, W) -> logits (B, classes)."""

    def __init__(self, config: MobileViTConfig) -> None:
        super().__init__(config, MobileViT(config))
