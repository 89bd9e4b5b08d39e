"""How others name the tensors of MobileViT: renamings to those of mvit2.network.mobilevit, a table a layout.

Regular expressions, applied in order, each at most once a name. Both others keep query, key and value in one tensor,
``qkv``: it is cut first, so that the tables see three.
"""

from __future__ import annotations

__all__ = ["CVNETS", "CVNETS_SPLITS", "TIMM", "TIMM_SPLITS"]

_LAYER = "mobilevit.encoder.layer."
_PARTS = ("query", "key", "value")

TIMM_SPLITS = ((r"\.attn\.qkv\.", tuple(f".attention.attention.{part}." for part in _PARTS)),)
TIMM: tuple[tuple[str, str], ...] = (
    (r"^stem\.", "mobilevit.conv_stem."),
    (r"^final_conv\.", "mobilevit.conv_1x1_exp."),
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
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"(layer\.[234])\.norm\.", r"\1.layernorm."),
    (r"\.conv_1x1\.", ".conv_1x1.convolution."),
    (r"\.conv_proj\.", ".conv_projection."),
    (r"\.conv_fusion\.", ".fusion."),
    (r"\.conv\.", ".convolution."),
    (r"\.bn\.", ".normalization."),
)
CVNETS_SPLITS = ((r"\.pre_norm_mha\.1\.qkv_proj\.", tuple(f".attention.attention.{part}." for part in _PARTS)),)
CVNETS: tuple[tuple[str, str], ...] = (
    (r"^encoder\.", ""),
    (r"^seg_head\.classifier\.classifier\.", "segmentation_head.classifier."),
    (r"^seg_head\.", "segmentation_head."),
    (r"\.aspp_layer\.", "."),
    (r"\.aspp_pool\.", "."),
    (r"^conv_1\.", "mobilevit.conv_stem."),
    (r"^conv_1x1_exp\.", "mobilevit.conv_1x1_exp."),
    (r"^classifier\.fc\.", "classifier."),
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
    (r"\.local_rep\.conv_3x3\.", ".conv_kxk."),
    (r"\.local_rep\.conv_1x1\.", ".conv_1x1."),
    (r"\.global_rep\.(\d+)\.(weight|bias)$", r".layernorm.\2"),
    (r"\.global_rep\.(\d+)\.", r".transformer.layer.\1."),
    (r"\.pre_norm_mha\.0\.", ".layernorm_before."),
    (r"\.pre_norm_mha\.1\.out_proj\.", ".attention.output.dense."),
    (r"\.pre_norm_ffn\.0\.", ".layernorm_after."),
    (r"\.pre_norm_ffn\.1\.", ".intermediate.dense."),
    (r"\.pre_norm_ffn\.4\.", ".output.dense."),
    (r"\.conv_proj\.", ".conv_projection."),
    (r"\.block\.", "."),
    (r"\.conv\.", ".convolution."),
    (r"\.norm\.", ".normalization."),
)
