"""MobileViTV2 (arXiv 2206.02680) in one page: read it from top to bottom.

Module names are those of the published Hugging Face checkpoints, so these load unchanged. The transformer never
cuts the feature map into patches: its 1x1 layers and norms treat every pixel alike, and the two places where patches
matter (a softmax and a sum over all patches, for each pixel position within a patch apart) are a reshape of the
channels-last map (B, H, W, C). The result equals the patchified form; the exported graph needs no Gather, no
unfold / fold and no tensor of more than 4 dimensions.

Shapes: B images, C channels, H x W pixels, p pixels along a patch's edge, nh x nw patches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ACTIVATIONS, STRIDES, ConvLayer, InvertedResidual, MobileNetLayer, Pointwise
from .mobilevitv2_config import ModelConfig
from .network import Backbone, Classifier

__all__ = ["MobileViTV2", "MobileViTV2Classifier"]


class QueryKeyValue(nn.Module):
    """One ``Pointwise`` for all three: a query of one channel, and a key and a value of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.parts = [1, channels, channels]
        self.convolution = nn.Conv2d(channels, sum(self.parts), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # (B, H, W, C) -> (B, H, W, 1), (B, H, W, C), (B, H, W, C)
        x = F.linear(x, self.convolution.weight.flatten(1), self.convolution.bias)
        return torch.split(x, self.parts, dim=-1)


class GlobalNorm(nn.Module):
    """GroupNorm with one group over a channels-last map: one mean and variance per image."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight: nn.Parameter | None = nn.Parameter(torch.ones(channels))  # None once folded into the next layer
        self.bias: nn.Parameter | None = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C)
        x = x - self.mean(x)
        x = x * torch.rsqrt(self.mean(x * x) + self.eps)
        return x if self.weight is None or self.bias is None else x * self.weight + self.bias

    @staticmethod
    def mean(x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, 1, 1, 1)
        """In two steps: runtimes add up in float32, and one sum over a million values loses three digits."""
        return x.mean(-1, keepdim=True).mean((1, 2), keepdim=True)


class SeparableSelfAttention(nn.Module):
    """Attention of linear cost: out = relu(value) * sum over patches of (softmax over patches of query) * key.

    ``single_image`` drops the batch dimension inside, so that no tensor has more than 4 dimensions (for export).
    """

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.patch, self.single_image = config.patch_size, False
        self.qkv_proj = QueryKeyValue(channels)
        self.attn_dropout = nn.Dropout(config.attn_dropout)
        self.out_proj = Pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C)
        query, key, value = self.qkv_proj(x)
        scores = self.attn_dropout(self.softmax_over_patches(query))  # (B, H, W, 1)
        context = self.by_patch(key * scores).sum((-4, -2), keepdim=True)  # (B, 1, p, 1, p*C)
        out = self.by_patch(F.relu(value)) * context  # (B, nh, p, nw, p*C)
        return self.out_proj(out.reshape(x.shape))

    def by_patch(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, nh, p, nw, p*C): the patches lie on axes -4 and -2, the pixel within one on -3 and -1."""
        batch, height, width, channels = x.shape
        p = self.patch
        shape = (height // p, p, width // p, p * channels)
        return x.reshape(shape if self.single_image else (batch, *shape))

    def softmax_over_patches(self, query: Tensor) -> Tensor:  # (B, H, W, 1)
        q = self.by_patch(query)  # (B, nh, p, nw, p)
        e = torch.exp(q - q.amax((-4, -2), keepdim=True))
        return (e / e.sum((-4, -2), keepdim=True)).reshape(query.shape)


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        wide = config.ffn_multiplier * channels // 16 * 16
        self.conv1 = Pointwise(channels, wide)
        self.activation = ACTIVATIONS[config.hidden_act]()
        self.conv2 = Pointwise(wide, channels)
        self.dropout = nn.Dropout(config.ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.activation(self.conv1(x)))
        return self.dropout(self.conv2(x))


class TransformerLayer(nn.Module):
    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.layernorm_before = GlobalNorm(channels, config.layer_norm_eps)
        self.attention = SeparableSelfAttention(config, channels)
        self.layernorm_after = GlobalNorm(channels, config.layer_norm_eps)
        self.ffn = FeedForward(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.ffn(self.layernorm_after(x))


class Transformer(nn.Module):
    def __init__(self, config: ModelConfig, channels: int, depth: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(TransformerLayer(config, channels) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class MobileViTV2Layer(nn.Module):
    """Downsample, look around locally (convolution), then globally (transformer on the channels-last map)."""

    def __init__(
        self, config: ModelConfig, c_in: int, c_out: int, channels: int, depth: int, *, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.patch, self.stretches = config.patch_size, config.patch_rule == "ml-cvnets"  # see ModelConfig
        self.downsampling_layer = InvertedResidual(config, c_in, c_out, stride, dilation)
        act, kernel = config.hidden_act, config.conv_kernel_size
        local = 2 * dilation if stride == 1 and config.dilation_rule == "ml-cvnets" else 1  # see ModelConfig
        self.conv_kxk = ConvLayer(c_out, c_out, kernel, groups=c_out, dilation=local, act=act)
        self.conv_1x1 = ConvLayer(c_out, channels, norm=False)
        self.transformer = Transformer(config, channels, depth)
        self.layernorm = GlobalNorm(channels, config.layer_norm_eps)
        self.conv_projection = ConvLayer(channels, c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsampling_layer(x)
        x = self.conv_1x1(self.conv_kxk(self.whole_patches(x) if self.stretches else x))
        x = x.permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)
        height, width = int(x.shape[1]), int(x.shape[2])
        rows, columns = height % self.patch, width % self.patch  # that patches leave over
        if rows or columns:
            x = x[:, : height - rows, : width - columns]
        x = self.layernorm(self.transformer(x))
        if rows or columns:
            x = F.pad(x, (0, 0, 0, columns, 0, rows))
        return self.conv_projection(x.permute(0, 3, 1, 2))

    def whole_patches(self, x: Tensor) -> Tensor:
        """Stretch a map that patches do not tile, as timm and Apple do."""
        height, width = (-(-int(n) // self.patch) * self.patch for n in x.shape[2:])
        if (height, width) == tuple(x.shape[2:]):
            return x
        return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


class MobileViTV2(Backbone):
    """The backbone: normalised pixels float32 (B, num_channels, H, W) -> BackboneOutput."""

    def __init__(self, config: ModelConfig, expand_output: bool = True) -> None:
        c0, (c1, c2, c3, c4, c5) = config.stem_channels, config.stage_channels
        a3, a4, a5 = config.attention_channels
        d3, d4, d5 = config.n_attn_blocks
        (s4, r4), (s5, r5) = STRIDES[config.output_stride]
        layers = (
            MobileNetLayer(config, c0, c1, stride=1, depth=1),
            MobileNetLayer(config, c1, c2, stride=2, depth=2),
            MobileViTV2Layer(config, c2, c3, a3, d3, stride=2, dilation=1),
            MobileViTV2Layer(config, c3, c4, a4, d4, stride=s4, dilation=r4),
            MobileViTV2Layer(config, c4, c5, a5, d5, stride=s5, dilation=r5),
        )
        super().__init__(config, layers, expand_output=expand_output)


class MobileViTV2Classifier(Classifier):
    """Backbone, mean over all pixels, one linear layer: float32 (B, num_channels, H, W) -> logits (B, classes)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, MobileViTV2(config))
