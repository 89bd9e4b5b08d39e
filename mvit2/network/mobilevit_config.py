"""The three published sizes of MobileViT and the configuration that a checkpoint carries (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

from .config import NetworkConfig, Variant, require

__all__ = ["SIZES", "MobileViTConfig", "Size"]


@dataclass(frozen=True)
class Size(Variant):
    """One row of table 5 of arXiv 2110.02178, and the channels that make it."""

    hidden_sizes: tuple[int, int, int]
    neck_hidden_sizes: tuple[int, int, int, int, int, int, int]
    expand_ratio: float


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        row.name: row
        for row in (
            Size("xx-small", 1_272_024, 0.41, 69.0, (64, 80, 96), (16, 16, 24, 48, 64, 80, 320), 2.0),
            Size("x-small", 2_317_848, 1.03, 74.8, (96, 120, 144), (16, 32, 48, 64, 80, 96, 384), 4.0),
            Size("small", 5_578_632, 2.00, 78.4, (144, 192, 240), (16, 32, 64, 96, 128, 160, 640), 4.0),
        )
    }
)


@dataclass(frozen=True)
class MobileViTConfig(NetworkConfig):
    """The fields of a Hugging Face ``MobileViTConfig``, with its defaults; impossible values are refused.

    Raises:
        CheckpointError: a value that no MobileViT network can have.
    """

    architecture: ClassVar[str] = "mobilevit"
    title: ClassVar[str] = "MobileViT"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {
            "hidden_sizes": (1, 8192),
            "neck_hidden_sizes": (1, 8192),
            "num_attention_heads": (1, 64),
            "mlp_ratio": (0.01, 16),
            "hidden_dropout_prob": (0, 0.99),
            "attention_probs_dropout_prob": (0, 0.99),
        }
    )
    triples: ClassVar[tuple[str, ...]] = ("hidden_sizes",)
    untold: ClassVar[tuple[str, ...]] = ("num_attention_heads", "patch_size")
    depths: ClassVar[tuple[int, int, int]] = (2, 4, 3)  # transformer layers; no field of the configuration

    expand_ratio: float = 4.0
    hidden_sizes: tuple[int, ...] = (144, 192, 240)
    neck_hidden_sizes: tuple[int, ...] = (16, 32, 64, 96, 128, 160, 640)
    num_attention_heads: int = 4
    mlp_ratio: float = 2.0
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.0
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        neck, heads = self.neck_hidden_sizes, self.num_attention_heads
        require(len(neck) == 7, "neck_hidden_sizes", neck, "seven integers")
        for channels in self.hidden_sizes:
            divide = channels % heads == 0
            require(divide, "num_attention_heads", heads, f"what divides every hidden size, {list(self.hidden_sizes)}")
        require(min(self.wide(channels) for channels in self.hidden_sizes) > 0, "mlp_ratio", self.mlp_ratio, "more")

    def wide(self, channels: int) -> int:
        """Channels inside of a feed-forward layer."""
        return int(channels * self.mlp_ratio)

    @property
    def variant_name(self) -> str:
        mine = self.hidden_sizes, self.neck_hidden_sizes, self.expand_ratio
        found = (s.name for s in SIZES.values() if mine == (s.hidden_sizes, s.neck_hidden_sizes, s.expand_ratio))
        return next(found, "custom")

    @property
    def stem_channels(self) -> int:
        return self.neck_hidden_sizes[0]

    @property
    def stage_channels(self) -> tuple[int, int, int, int, int]:
        _, c1, c2, c3, c4, c5, _ = self.neck_hidden_sizes
        return c1, c2, c3, c4, c5

    @property
    def feature_channels(self) -> int:
        return self.neck_hidden_sizes[-1]

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], labels: tuple[str, ...]) -> Self:
        def rows(name: str, axis: int = 0) -> int:
            shape = shapes.get(full := f"{cls.architecture}.{name}.weight", ())
            require(len(shape) > axis and min(shape) > 0, full, shape, "what a MobileViT network has there")
            return shape[axis]

        layers = [f"encoder.layer.{index}" for index in (2, 3, 4)]
        narrow = [f"encoder.layer.{index}.layer.0.reduce_1x1" for index in (0, 1)]
        narrow += [f"{layer}.downsampling_layer.reduce_1x1" for layer in layers]
        hidden = tuple(rows(f"{layer}.conv_1x1.convolution") for layer in layers)
        neck = (rows("conv_stem.convolution"), *(rows(f"{name}.convolution") for name in narrow))
        expanded = f"{cls.architecture}.conv_1x1_exp.convolution.weight" in shapes  # not in a segmenter
        published: Mapping[tuple[int, ...], int] = {
            size.neck_hidden_sizes[:-1]: size.neck_hidden_sizes[-1] for size in SIZES.values()
        }
        last = rows("conv_1x1_exp.convolution") if expanded else published.get(neck, 4 * neck[-1])
        block = f"{layers[0]}.transformer.layer.0"
        return cls(
            num_channels=rows("conv_stem.convolution", 1),
            hidden_sizes=hidden,
            neck_hidden_sizes=(*neck, last),
            expand_ratio=rows(f"{layers[2]}.downsampling_layer.expand_1x1.convolution") / neck[4],
            mlp_ratio=rows(f"{block}.intermediate.dense") / hidden[0],
            qkv_bias=f"{cls.architecture}.{block}.attention.attention.query.bias" in shapes,
            conv_kernel_size=rows(f"{layers[0]}.conv_kxk.convolution", 3),
            labels=labels,
        )

    @classmethod
    def of_size(cls, size: Size) -> Self:
        """The configuration of the published 1000-class network."""
        return cls(
            hidden_sizes=size.hidden_sizes,
            neck_hidden_sizes=size.neck_hidden_sizes,
            expand_ratio=size.expand_ratio,
            hidden_dropout_prob=0.05 if size.name == "xx-small" else 0.1,
        )
