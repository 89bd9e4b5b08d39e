"""How others name the tensors of MobileViTV2: renamings to those of mvit2.network.mobilevitv2, a table a layout.

Regular expressions, applied in order, each at most once a name.
"""

from __future__ import annotations

__all__ = ["CVNETS", "TIMM"]

_LAYER = "mobilevitv2.encoder.layer."

TIMM: tuple[tuple[str, str], ...] = (
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
CVNETS: tuple[tuple[str, str], ...] = (
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
