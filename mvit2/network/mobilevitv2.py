"""MobileViTV2 (arXiv 2206.02680) in one page: read it from top to bottom.

Module names are those of the published Hugging Face checkpoints, so these load unchanged. The transformer never
cuts the feature map into patches: its 1x1 layers and norms treat every pixel alike, and the two places where patches
matter (a softmax and a sum over all patches, for each pixel position within a patch apart) are a reshape of the
channels-last map (B, H, W, C). The result equals the patchified form; the exported graph needs no Gather, no
unfold / fold and no tensor of more than 4 dimensions.

Shapes: B images, C channels, H x W pixels, p pixels along a patch's edge, nh x nw patches.
"""

from __future__ import annotations

from typing import NamedTuple, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mobilevitv2_config import ACTIVATION_NAMES, ModelConfig, make_divisible

__all__ = ["BackboneOutput", "MobileViTV2", "MobileViTV2Classifier", "Network"]

_MODULES = (nn.SiLU, nn.SiLU, nn.ReLU, nn.ReLU6, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Mish)
ACTIVATIONS: dict[str, type[nn.Module]] = dict(zip(ACTIVATION_NAMES, _MODULES, strict=True))


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


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow (arXiv 1801.04381)."""

    def __init__(self, config: ModelConfig, c_in: int, c_out: int, stride: int, dilation: int = 1) -> None:
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

    def __init__(self, config: ModelConfig, c_in: int, c_out: int, stride: int, depth: int) -> None:
        super().__init__()
        first = InvertedResidual(config, c_in, c_out, stride)
        self.layer = nn.ModuleList([first, *(InvertedResidual(config, c_out, c_out, 1) for _ in range(depth - 1))])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return x


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


class Encoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c0, (c1, c2, c3, c4, c5) = config.stem_channels, config.stage_channels
        a3, a4, a5 = config.attention_channels
        d3, d4, d5 = config.n_attn_blocks
        # Output strides 8 and 16 keep the resolution and dilate instead, as DeepLab does (arXiv 1706.05587).
        (s4, r4), (s5, r5) = {32: ((2, 1), (2, 1)), 16: ((2, 1), (1, 1)), 8: ((1, 1), (1, 2))}[config.output_stride]
        self.layer = nn.ModuleList(
            [
                MobileNetLayer(config, c0, c1, stride=1, depth=1),
                MobileNetLayer(config, c1, c2, stride=2, depth=2),
                MobileViTV2Layer(config, c2, c3, a3, d3, stride=2, dilation=1),
                MobileViTV2Layer(config, c3, c4, a4, d4, stride=s4, dilation=r4),
                MobileViTV2Layer(config, c4, c5, a5, d5, stride=s5, dilation=r5),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        states = []
        for layer in self.layer:
            x = layer(x)
            states.append(x)
        return states


class BackboneOutput(NamedTuple):
    last_hidden_state: Tensor  # (B, C5, H / stride, W / stride)
    pooler_output: Tensor | None  # (B, C5): its mean over all pixels; None without expand_output
    hidden_states: tuple[Tensor, ...]  # the outputs of the five encoder layers


class MobileViTV2(nn.Module):
    """The backbone: normalised pixels float32 (B, num_channels, H, W) -> BackboneOutput."""

    def __init__(self, config: ModelConfig, expand_output: bool = True) -> None:
        super().__init__()
        self.config, self.expand_output = config, expand_output
        self.conv_stem = ConvLayer(config.num_channels, config.stem_channels, 3, stride=2, act=config.hidden_act)
        self.encoder = Encoder(config)

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        states = self.encoder(self.conv_stem(pixel_values))
        pooled = states[-1].mean((2, 3)) if self.expand_output else None
        return BackboneOutput(states[-1], pooled, tuple(states))


class ClassifierOutput(NamedTuple):
    """What a classifier returns where it is given labels."""

    loss: Tensor  # ()
    logits: Tensor  # (B, classes)


class Network(nn.Module):
    """A backbone and the head of a task (mvit2.tasks): float32 (B, num_channels, H, W) -> logits."""

    config: ModelConfig

    @property
    def backbone(self) -> MobileViTV2:
        """Its attribute has the architecture's name, as in the published checkpoints."""
        backbone: MobileViTV2 = getattr(self, self.config.architecture)
        return backbone


class MobileViTV2Classifier(Network):
    """Backbone, mean over all pixels, one linear layer: float32 (B, num_channels, H, W) -> logits (B, classes)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mobilevitv2 = MobileViTV2(config)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(config.stage_channels[-1], config.num_labels)

    @overload
    def forward(self, pixel_values: Tensor, labels: None = None) -> Tensor: ...
    @overload
    def forward(self, pixel_values: Tensor, labels: Tensor) -> ClassifierOutput: ...
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Tensor | ClassifierOutput:
        logits: Tensor = self.classifier(self.dropout(self.mobilevitv2(pixel_values).pooler_output))
        return logits if labels is None else ClassifierOutput(self.loss(logits, labels), logits)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As transformers computes it for the configuration's ``problem_type``.

        Args:
            logits: float32 (B, classes), what the network returned.
            labels: of a single label int64 (B,), class indices; of several float (B, classes), 0 or 1 each; of a
                regression float (B, classes), or (B,) where there is one.
        """
        kind = self.config.problem_type
        if kind == "regression":
            one = self.config.num_labels == 1
            return F.mse_loss(logits.squeeze(), labels.squeeze()) if one else F.mse_loss(logits, labels)
        if kind == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, labels)
        return F.cross_entropy(logits.view(-1, self.config.num_labels), labels.view(-1))
