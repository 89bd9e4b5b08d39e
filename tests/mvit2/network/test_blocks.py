"""The blocks of a network: their names, sizes and costs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mvit2.export.convert.block_costs import network_blocks
from mvit2.export.convert.fold import export_form
from mvit2.network.architectures import MOBILEVIT, find_variant
from mvit2.network.blocks import block_of
from mvit2.network.config import Variant
from mvit2.network.mobilevit_config import SIZES
from mvit2.network.mobilevitv2 import MobileViTV2Classifier, SeparableSelfAttention
from mvit2.network.mobilevitv2_config import VARIANTS, ModelConfig
from mvit2.tasks import CLASSIFY


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("conv_stem", "conv_stem"),
        ("mobilevitv2.conv_stem.convolution", "conv_stem"),
        ("encoder.layer.0.layer.0", "encoder.layer.0.layer.0"),
        ("encoder.layer.1.layer.1.expand_1x1.convolution", "encoder.layer.1.layer.1"),
        ("encoder.layer.2.downsampling_layer.conv_3x3", "encoder.layer.2.downsampling_layer"),
        ("encoder.layer.2.conv_1x1", "encoder.layer.2.conv_1x1"),
        ("encoder.layer.2.transformer.layer.10.ffn.conv1", "encoder.layer.2.transformer.layer.10"),
        ("encoder.layer.2.layernorm", "encoder.layer.2.layernorm"),
        ("mobilevit.encoder.layer.3.fusion.convolution", "encoder.layer.3.fusion"),
        ("encoder.layer.2.transformer.layer.1.attention.output.dense", "encoder.layer.2.transformer.layer.1"),
        ("mobilevit.conv_1x1_exp.normalization", "conv_1x1_exp"),
        ("classifier", "classifier"),
        ("", None),
        ("mobilevitv2.encoder", None),
        ("encoder.layer.2", None),
        ("encoder.layer.2.transformer", None),
        ("encoder.layer.2.conv_1x1_of_a_stranger", None),
        ("head.classifier", None),
    ],
)
def test_block_of_a_module(module: str, block: str | None) -> None:
    assert block_of(module) == block


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=str)
def test_parameters_are_the_published_ones(variant: Variant) -> None:
    model = MobileViTV2Classifier(ModelConfig(width_multiplier=variant.width_multiplier)).eval()
    blocks = network_blocks(model, (64, 64))
    assert sum(block.parameters for block in blocks) == variant.parameters
    named = {block_of(name) for name, _ in model.named_parameters()}
    assert {block.name for block in blocks} == named


@pytest.mark.parametrize("size", SIZES.values(), ids=str)
def test_parameters_of_the_first_version(size: Variant) -> None:
    model = MOBILEVIT.build(CLASSIFY, MOBILEVIT.configure(size)).eval()
    blocks = network_blocks(model, (64, 64))
    assert sum(block.parameters for block in blocks) == size.parameters
    assert {block.name for block in blocks} == {block_of(name) for name, _ in model.named_parameters()}


@pytest.mark.parametrize("size", [(256, 256), (192, 320)], ids=str)
def test_multiply_accumulates_of_the_first_version_are_those_that_torch_counts(size: tuple[int, int]) -> None:
    """All of its products are of matrices: those of its attention, too."""
    model = MOBILEVIT.build(CLASSIFY, MOBILEVIT.configure(find_variant("xx-small"))).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *size))
    blocks = network_blocks(model, size)
    assert sum(block.macs for block in blocks) == counter.get_total_flops() // 2
    first = next(block for block in blocks if block.kind == "transformer layer")
    patches, channels = size[0] * size[1] // 256, 64
    assert first.shape == (patches, 4, channels)
    assert first.macs == 4 * patches * channels * (8 * channels + 2 * patches)


@pytest.mark.parametrize("size", [(256, 256), (128, 192)], ids=str)
def test_multiply_accumulates_are_those_that_torch_counts(size: tuple[int, int]) -> None:
    """torch's own counter counts two operations for each, and every convolution and product of matrices.

    Attention here multiplies without matrices: the sum of keys by their scores, and values by this sum, are a
    multiplication each for every number of the map.
    """
    model = MobileViTV2Classifier(ModelConfig(width_multiplier=0.5)).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *size))
    attention = [m for m in model.modules() if isinstance(m, SeparableSelfAttention)]
    channels, depths, height, width = (64, 96, 128), (2, 4, 3), *size
    maps = [height // stride * (width // stride) for stride in (8, 16, 32)]
    products = [2 * n * c * d for n, c, d in zip(maps, channels, depths, strict=True)]
    assert len(attention) == sum(depths)
    blocks = network_blocks(model, size)
    assert sum(block.macs for block in blocks) == counter.get_total_flops() // 2 + sum(products)
    layers = [block.macs for block in blocks if block.name.startswith("encoder.layer.4.transformer")]
    c, n = channels[2], maps[2]
    assert layers == [n * (c * (2 * c + 1) + c * c + 2 * c * 2 * c + 2 * c)] * depths[2]  # qkv, out, ffn, products


def test_blocks_in_their_order_with_their_maps() -> None:
    model = MobileViTV2Classifier(ModelConfig(width_multiplier=0.5)).eval()
    blocks = {block.name: block for block in network_blocks(model, (256, 128))}
    assert list(blocks)[:3] == ["conv_stem", "encoder.layer.0.layer.0", "encoder.layer.1.layer.0"]
    assert blocks["conv_stem"].shape == (128, 64, 16)
    assert blocks["encoder.layer.2.transformer.layer.1"].shape == (32, 16, 64)
    assert blocks["encoder.layer.4.conv_projection"].shape == (8, 4, 256)
    assert blocks["classifier"].shape == (1, 1, 1000)
    assert {block.kind for block in blocks.values()} >= {"inverted residual", "transformer layer", "1x1 convolution"}
    assert not any(module._forward_hooks for module in model.modules()), "hooks were left in the model"


def test_a_folded_network_costs_the_same() -> None:
    """But for the norms, whose factors and shifts now belong to other layers."""
    model = MobileViTV2Classifier(ModelConfig(width_multiplier=0.5)).eval()
    plain, folded = (network_blocks(m, (64, 64)) for m in (model, export_form(model, single_image=True)))
    assert [(b.name, b.macs) for b in plain] == [(b.name, b.macs) for b in folded]
