"""How images become a network's pixels where a checkpoint does not say: recipes, by whose naming its tensors have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .preprocess_spec import ChannelOrder, Layout, PreprocessSpec, Resample

__all__ = ["MOBILEVIT", "MOBILEVITV2", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A preprocessing for networks of any input size.

    Attributes:
        shortest: the longer edge of the network's input -> the image's shortest edge, both in pixels.
    """

    resample: Resample
    channel_order: ChannelOrder
    shortest: Callable[[int], int]

    def at(self, image_size: tuple[int, int]) -> PreprocessSpec:
        """For a network input of (height, width). Raises UsageError: impossible size."""
        shortest = self.shortest(max(image_size))
        return PreprocessSpec(image_size, shortest, resample=self.resample, channel_order=self.channel_order)


def _and_32(edge: int) -> int:
    return edge + 32


def _in_proportion(edge: int) -> int:
    return edge if edge >= 384 else round(edge * 288 / 256)


# As convert_mlcvnets_to_pytorch.py of transformers wrote it beside the hub checkpoints of both families.
_CONVERTED = Recipe("bilinear", "BGR", _and_32)

# As the networks were trained: in proportion to 288 -> 256 (ml-cvnets classification/imagenet/mobilevit_v2.yaml; timm
# crop_pct 0.888), from 384 on the size itself (finetune_higher_res_in1k/mobilevit_v2.yaml; timm crop_pct 1.0).
_TRAINED_V2 = Recipe("bicubic", "RGB", _in_proportion)

MOBILEVITV2: Mapping[Layout, Recipe] = MappingProxyType(
    {"huggingface": _CONVERTED, "timm": _TRAINED_V2, "cvnets": _TRAINED_V2}
)
# Version 1 was trained on OpenCV's BGR pixels (ml-cvnets classification/imagenet/mobilevit.yaml: 288 -> 256, bilinear);
# timm's copies of it are given RGB ones (crop_pct 0.9, bicubic).
MOBILEVIT: Mapping[Layout, Recipe] = MappingProxyType(
    {
        "huggingface": _CONVERTED,
        "timm": Recipe("bicubic", "RGB", lambda edge: math.floor(edge / 0.9)),
        "cvnets": _CONVERTED,
    }
)
