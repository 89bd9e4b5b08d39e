"""The seven published widths of MobileViTV2 and the configuration that a checkpoint carries (no torch here)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Self

from mvit2.errors import UsageError

from .config import ACTIVATION_NAMES, NetworkConfig, Variant, make_divisible, require

__all__ = [
    "ACTIVATION_NAMES",
    "DILATION_RULES",
    "PATCH_RULES",
    "VARIANTS",
    "ModelConfig",
    "Variant",
    "Width",
    "make_divisible",
]


@dataclass(frozen=True)
class Width(Variant):
    """One row of table 1 of arXiv 2206.02680."""

    @property
    def width_multiplier(self) -> float:
        return float(self.name)


VARIANTS: Mapping[str, Width] = MappingProxyType(
    {
        row.name: row
        for row in (
            Width("0.5", 1_370_593, 0.48, 70.18),
            Width("0.75", 2_866_009, 1.05, 75.56),
            Width("1.0", 4_901_841, 1.84, 78.09),
            Width("1.25", 7_478_089, 2.86, 79.65),
            Width("1.5", 10_594_753, 4.09, 80.38),
            Width("1.75", 14_251_833, 5.54, 80.84),
            Width("2.0", 18_449_329, 7.22, 81.17),
        )
    }
)


PATCH_RULES = ("transformers", "ml-cvnets")
DILATION_RULES = ("transformers", "ml-cvnets")


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """The fields of a Hugging Face ``MobileViTV2Config``, with its defaults; impossible values are refused.

    Two fields more are not in a config.json. ``dilation_rule`` says how far the depthwise
    ``conv_kxk`` of an encoder layer reaches where output stride 8 or 16 keeps the resolution of its input:

    * "transformers": its neighbours, as everywhere. Hugging Face's code computes this, so checkpoints in its
      naming get it, the published conversions of Apple's included.
    * "ml-cvnets": 2 pixels (4 in the second layer that keeps the resolution), as Apple's code and timm's dilate it.
      Checkpoints in their naming get it.

    At output stride 32 nothing is dilated, and both rules mean the same.

    ``patch_rule`` says what happens to a map that patches do not tile, as at every image size that is no multiple of
    64 at output stride 32:

    * "transformers": the transformer does not see its last row or column, and puts zeros there. ``from_hf`` sets it.
    * "ml-cvnets": the map is stretched first, as Apple's code and timm's do.

    Raises:
        CheckpointError: a value that no MobileViTV2 network can have.
    """

    architecture: ClassVar[str] = "mobilevitv2"
    title: ClassVar[str] = "MobileViTV2"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType(
        {
            "n_attn_blocks": (1, 64),
            "base_attn_unit_dims": (1, 2048),
            "width_multiplier": (0.01, 8),
            "ffn_multiplier": (1, 16),
            "attn_dropout": (0, 0.99),
            "ffn_dropout": (0, 0.99),
        }
    )
    triples: ClassVar[tuple[str, ...]] = ("n_attn_blocks", "base_attn_unit_dims")
    ours: ClassVar[tuple[str, ...]] = ("dilation_rule", "patch_rule")

    hidden_act: str = "swish"
    aspp_out_channels: int = 512
    n_attn_blocks: tuple[int, ...] = (2, 4, 3)
    base_attn_unit_dims: tuple[int, ...] = (128, 192, 256)
    width_multiplier: float = 1.0
    ffn_multiplier: int = 2
    attn_dropout: float = 0.0
    ffn_dropout: float = 0.0
    dilation_rule: str = "transformers"
    patch_rule: str = "ml-cvnets"

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = " or ".join(DILATION_RULES)
        require(self.dilation_rule in DILATION_RULES, "dilation_rule", self.dilation_rule, rules)
        rules = " or ".join(PATCH_RULES)
        require(self.patch_rule in PATCH_RULES, "patch_rule", self.patch_rule, rules)

    @property
    def variant_name(self) -> str:
        """As the published variants are called, which it may or may not be one of."""
        width = self.width_multiplier
        return f"{width:.1f}" if round(width, 1) == width else f"{width:g}"

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], labels: tuple[str, ...]) -> Self:
        stem = shapes[f"{cls.architecture}.conv_stem.convolution.weight"]  # (out, in, height, width)
        return cls(width_multiplier=stem[0] / 32, num_channels=stem[1], labels=labels)

    @property
    def stem_channels(self) -> int:
        return make_divisible(min(64, max(16, 32 * self.width_multiplier)), 8, minimum=16)

    @property
    def stage_channels(self) -> tuple[int, int, int, int, int]:
        """Output channels of the five encoder layers."""
        w = self.width_multiplier
        return (
            make_divisible(64 * w, 16),
            make_divisible(128 * w),
            make_divisible(256 * w),
            make_divisible(384 * w),
            make_divisible(512 * w),
        )

    @property
    def attention_channels(self) -> tuple[int, ...]:
        """Channels of the transformers in encoder layers 3, 4 and 5."""
        return tuple(make_divisible(dim * self.width_multiplier) for dim in self.base_attn_unit_dims)

    def _maps(self, image_size: tuple[int, int]) -> list[tuple[int, ...]]:
        """The transformers' maps, (height, width) each, before anything is stretched."""
        strides = [min(stride, self.output_stride) for stride in (8, 16, 32)]  # of encoder layers 3, 4, 5
        return [tuple(-(-edge // stride) for edge in image_size) for stride in strides]

    def tiles(self, image_size: tuple[int, int]) -> bool:
        """Whether patches tile the map of every transformer, so that ``patch_rule`` makes no difference."""
        return not any(edge % self.patch_size for size in self._maps(image_size) for edge in size)

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the last encoder layer's map, which segmentation logits have, for an image of that size.

        Raises UsageError where patches do not tile the map of a transformer and ``patch_rule`` stretches it there: the
        logits would no longer lie over the picture.
        """
        maps = self._maps(image_size)
        if self.patch_rule == "ml-cvnets" and not self.tiles(image_size):
            step = self.output_stride * self.patch_size
            near = _times(max(1, round(edge / step)) * step for edge in image_size)
            raise UsageError(
                f"image size {_times(image_size)} (height x width) gives the transformers maps of "
                f"{', '.join(map(_times, maps))}, which patches of {self.patch_size}x{self.patch_size} do not tile; "
                f"accepted at output stride {self.output_stride}: multiples of {step}, such as {near}."
            )
        return super().map_size(image_size)

    @property
    def rules(self) -> Mapping[str, str]:
        return {"patches": self.patch_rule, "dilation": self.dilation_rule}

    def computed_as(self, code: str) -> Self:
        return replace(self, patch_rule=code, dilation_rule=code if self.output_stride < 32 else self.dilation_rule)

    def doubt_at(self, image_size: tuple[int, int]) -> str | None:
        if self.tiles(image_size):
            return None
        does = {
            "transformers": "transformers' (drops the last row and column of such a map, and puts zeros there)",
            "ml-cvnets": "ml-cvnets' and timm's (stretches such a map)",
        }
        (other,) = set(does) - {self.patch_rule}
        return (
            f"at {_times(image_size)} px patches do not tile every map, and implementations differ: the arithmetic is "
            f"{does[self.patch_rule]}; where the network was trained with {does[other]}, add --arithmetic {other}."
        )


def _times(size: Iterable[int]) -> str:
    return "x".join(map(str, size))
