"""Tensors of a checkpoint known by their names, and brought to those of mvit2.network (no torch here).

Three layouts are known, each a table of renamings: Hugging Face (ours), timm, and Apple's ml-cvnets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_spec import Layout

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["layout_of", "prefix_of", "to_hf_names", "without_auxiliary_head"]

# A layout is recognised by its stem and renamed by regular expressions, applied in order, each at most once a name.
_STEM: Mapping[str, Layout] = {
    "mobilevitv2.conv_stem.convolution.weight": "huggingface",
    "stem.conv.weight": "timm",
    "conv_1.block.conv.weight": "cvnets",
    "encoder.conv_1.block.conv.weight": "cvnets",  # of a segmentation network
}
_LAYER = "mobilevitv2.encoder.layer."


_TIMM: tuple[tuple[str, str], ...] = (
    (r"^stem\.", "mobilevitv2.conv_stem."),
    (r"^head\.fc\.", "classifier."),
    (r"^stages\.([01])\.(\d+)\.", _LAYER + r"\1.layer.\2."),
    (r"^stages\.([234])\.0\.", _LAYER + r"\1.downsampling_layer."),
    (r"^stages\.([234])\.1\.", _LAYER + r"\1."),
    (r"\.conv1_1x1\.", ".expand_1x1."),
    (r"\.conv2_kxk\.", ".conv_3x3."),
    (r"\.conv3_1x1\.", ".reduce_1x1."),
    (r"\.transformer\.(\d+)\.", r".transformer.layer.\1."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.(qkv_proj|out_proj)\.", r".attention.\1.convolution."),
    (r"\.mlp\.fc([12])\.", r".ffn.conv\1.convolution."),
    (r"(layer\.[234])\.norm\.", r"\1.layernorm."),
    (r"\.conv_1x1\.", ".conv_1x1.convolution."),
    (r"\.conv_proj\.", ".conv_projection."),
    (r"\.conv\.", ".convolution."),
    (r"\.bn\.", ".normalization."),
)
_CVNETS: tuple[tuple[str, str], ...] = (
    (r"^encoder\.", ""),
    (r"^seg_head\.", "segmentation_head."),
    (r"\.aspp_layer\.", "."),
    (r"\.aspp_pool\.", "."),
    (r"^conv_1\.", "mobilevitv2.conv_stem."),
    (r"^classifier\.1\.", "classifier."),
    (r"^layer_1\.", _LAYER + "0.layer."),
    (r"^layer_2\.", _LAYER + "1.layer."),
    (r"^layer_3\.", _LAYER + "2."),
    (r"^layer_4\.", _LAYER + "3."),
    (r"^layer_5\.", _LAYER + "4."),
    (r"(layer\.[234])\.0\.", r"\1.downsampling_layer."),
    (r"(layer\.[234])\.1\.", r"\1."),
    (r"\.block\.exp_1x1\.", ".expand_1x1."),
    (r"\.block\.conv_3x3\.", ".conv_3x3."),
    (r"\.block\.red_1x1\.", ".reduce_1x1."),
    (r"\.local_rep\.0\.", ".conv_kxk."),
    (r"\.local_rep\.1\.", ".conv_1x1."),
    (r"\.global_rep\.(\d+)\.(weight|bias)$", r".layernorm.\2"),
    (r"\.global_rep\.(\d+)\.", r".transformer.layer.\1."),
    (r"\.pre_norm_attn\.0\.", ".layernorm_before."),
    (r"\.pre_norm_attn\.1\.", ".attention."),
    (r"\.pre_norm_ffn\.0\.", ".layernorm_after."),
    (r"\.pre_norm_ffn\.1\.", ".ffn.conv1."),
    (r"\.pre_norm_ffn\.3\.", ".ffn.conv2."),
    (r"\.conv_proj\.", ".conv_projection."),
    (r"\.block\.", "."),
    (r"\.conv\.", ".convolution."),
    (r"\.norm\.", ".normalization."),
)

_RENAMINGS: Mapping[Layout, tuple[tuple[str, str], ...]] = {"huggingface": (), "timm": _TIMM, "cvnets": _CVNETS}


def layout_of(tensors: Mapping[str, Tensor], source: str) -> Layout:
    """Whose names these are; CheckpointError when nobody's."""
    for stem, layout in _STEM.items():
        if stem in tensors:
            return layout
    raise CheckpointError(
        f"{source}: not a MobileViTV2 classifier or segmenter: none of the stems {', '.join(_STEM)} among its "
        f"{len(tensors)} tensors, the first of which is {next(iter(tensors), 'none')!r}."
    )


def prefix_of(name: str) -> str | None:
    """What stands in front of a stem's name ("module.", "" for nothing); None: ``name`` is no stem's."""
    ends = [stem for stem in _STEM if name == stem or name.endswith(f".{stem}")]
    return name.removesuffix(max(ends, key=len)) if ends else None


def to_hf_names(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The same tensors under the names of mvit2.network.mobilevitv2 (those of Hugging Face)."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMINGS[layout]:
            name = re.sub(pattern, replacement, name, count=1)
        renamed[name] = tensor
    return renamed


def without_auxiliary_head(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """``tensors`` (Hugging Face names) without the second head that ml-cvnets trains beside DeepLabV3; how many it had.

    It reads the fourth encoder layer and adds to the loss; no result ever comes from it.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("segmentation_head.aux_head.")}
    return kept, len(tensors) - len(kept)
