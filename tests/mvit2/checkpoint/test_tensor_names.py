"""Whose tensors these are, and which names they get (timm's own network is in test_model.py)."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from mvit2.checkpoint.tensor_names import layout_of, to_hf_names
from mvit2.errors import CheckpointError
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig


@pytest.fixture(scope="module")
def model(oracles: ModuleType) -> MobileViTV2Classifier:
    network: MobileViTV2Classifier = oracles.seeded(ModelConfig(width_multiplier=0.5, labels=tuple("abcde")))
    return network


# ---- Apple's names ----

# Names of mobilevitv2 checkpoints of ml-cvnets; right of them what transformers' conversion script
# (models/mobilevitv2/convert_mlcvnets_to_pytorch.py, create_rename_keys) makes of them.
APPLE = """
conv_1.block.conv.weight                            conv_stem.convolution.weight
conv_1.block.norm.weight                            conv_stem.normalization.weight
conv_1.block.norm.bias                              conv_stem.normalization.bias
conv_1.block.norm.running_mean                      conv_stem.normalization.running_mean
conv_1.block.norm.running_var                       conv_stem.normalization.running_var
conv_1.block.norm.num_batches_tracked               conv_stem.normalization.num_batches_tracked
layer_1.0.block.exp_1x1.block.conv.weight           encoder.layer.0.layer.0.expand_1x1.convolution.weight
layer_1.0.block.exp_1x1.block.norm.bias             encoder.layer.0.layer.0.expand_1x1.normalization.bias
layer_1.0.block.conv_3x3.block.conv.weight          encoder.layer.0.layer.0.conv_3x3.convolution.weight
layer_1.0.block.conv_3x3.block.norm.running_var     encoder.layer.0.layer.0.conv_3x3.normalization.running_var
layer_1.0.block.red_1x1.block.conv.weight           encoder.layer.0.layer.0.reduce_1x1.convolution.weight
layer_1.0.block.red_1x1.block.norm.weight           encoder.layer.0.layer.0.reduce_1x1.normalization.weight
layer_2.0.block.conv_3x3.block.norm.running_mean    encoder.layer.1.layer.0.conv_3x3.normalization.running_mean
layer_2.1.block.exp_1x1.block.norm.weight           encoder.layer.1.layer.1.expand_1x1.normalization.weight
layer_2.1.block.red_1x1.block.conv.weight           encoder.layer.1.layer.1.reduce_1x1.convolution.weight
layer_3.0.block.exp_1x1.block.conv.weight           encoder.layer.2.downsampling_layer.expand_1x1.convolution.weight
layer_3.0.block.conv_3x3.block.norm.bias            encoder.layer.2.downsampling_layer.conv_3x3.normalization.bias
layer_4.0.block.conv_3x3.block.conv.weight          encoder.layer.3.downsampling_layer.conv_3x3.convolution.weight
layer_5.0.block.red_1x1.block.norm.running_var \
    encoder.layer.4.downsampling_layer.reduce_1x1.normalization.running_var
layer_3.1.local_rep.0.block.conv.weight             encoder.layer.2.conv_kxk.convolution.weight
layer_3.1.local_rep.0.block.norm.running_mean       encoder.layer.2.conv_kxk.normalization.running_mean
layer_4.1.local_rep.1.block.conv.weight             encoder.layer.3.conv_1x1.convolution.weight
layer_3.1.global_rep.0.pre_norm_attn.0.weight       encoder.layer.2.transformer.layer.0.layernorm_before.weight
layer_3.1.global_rep.1.pre_norm_attn.0.bias         encoder.layer.2.transformer.layer.1.layernorm_before.bias
layer_4.1.global_rep.3.pre_norm_attn.1.qkv_proj.block.conv.weight \
    encoder.layer.3.transformer.layer.3.attention.qkv_proj.convolution.weight
layer_4.1.global_rep.2.pre_norm_attn.1.qkv_proj.block.conv.bias \
    encoder.layer.3.transformer.layer.2.attention.qkv_proj.convolution.bias
layer_5.1.global_rep.0.pre_norm_attn.1.out_proj.block.conv.weight \
    encoder.layer.4.transformer.layer.0.attention.out_proj.convolution.weight
layer_5.1.global_rep.1.pre_norm_attn.1.out_proj.block.conv.bias \
    encoder.layer.4.transformer.layer.1.attention.out_proj.convolution.bias
layer_5.1.global_rep.2.pre_norm_ffn.0.weight        encoder.layer.4.transformer.layer.2.layernorm_after.weight
layer_3.1.global_rep.1.pre_norm_ffn.1.block.conv.weight encoder.layer.2.transformer.layer.1.ffn.conv1.convolution.weight
layer_4.1.global_rep.1.pre_norm_ffn.1.block.conv.bias encoder.layer.3.transformer.layer.1.ffn.conv1.convolution.bias
layer_4.1.global_rep.0.pre_norm_ffn.3.block.conv.weight encoder.layer.3.transformer.layer.0.ffn.conv2.convolution.weight
layer_5.1.global_rep.2.pre_norm_ffn.3.block.conv.bias encoder.layer.4.transformer.layer.2.ffn.conv2.convolution.bias
layer_3.1.global_rep.2.weight                       encoder.layer.2.layernorm.weight
layer_4.1.global_rep.4.bias                         encoder.layer.3.layernorm.bias
layer_5.1.global_rep.3.weight                       encoder.layer.4.layernorm.weight
layer_3.1.conv_proj.block.conv.weight               encoder.layer.2.conv_projection.convolution.weight
layer_5.1.conv_proj.block.norm.running_var          encoder.layer.4.conv_projection.normalization.running_var
classifier.1.weight                                 classifier.weight
classifier.1.bias                                   classifier.bias
""".replace("\\\n", "")
PAIRS = [tuple(line.split()) for line in APPLE.strip().splitlines()]


def apple_names() -> Iterator[tuple[str, str]]:
    """(ours, Apple's) for every tensor, from the structure of ml-cvnets' MobileViTv2, module by module."""
    ours = "mobilevitv2.encoder.layer."
    yield from block("mobilevitv2.conv_stem", "conv_1", norm=True)
    for layer, depth in ((0, 1), (1, 2)):
        for index in range(depth):
            yield from inverted(f"{ours}{layer}.layer.{index}", f"layer_{layer + 1}.{index}")
    for layer, depth in ((2, 2), (3, 4), (4, 3)):
        mine, apple = f"{ours}{layer}", f"layer_{layer + 1}"
        yield from inverted(f"{mine}.downsampling_layer", f"{apple}.0")
        yield from block(f"{mine}.conv_kxk", f"{apple}.1.local_rep.0", norm=True)
        yield from block(f"{mine}.conv_1x1", f"{apple}.1.local_rep.1")
        for index in range(depth):
            yield from attention_unit(f"{mine}.transformer.layer.{index}", f"{apple}.1.global_rep.{index}")
        yield from affine(f"{mine}.layernorm", f"{apple}.1.global_rep.{depth}")
        yield from block(f"{mine}.conv_projection", f"{apple}.1.conv_proj", norm=True)
    yield from affine("classifier", "classifier.1")


def block(mine: str, apple: str, *, norm: bool = False, bias: bool = False) -> Iterator[tuple[str, str]]:
    yield f"{mine}.convolution.weight", f"{apple}.block.conv.weight"
    if bias:
        yield f"{mine}.convolution.bias", f"{apple}.block.conv.bias"
    if norm:
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{mine}.normalization.{part}", f"{apple}.block.norm.{part}"


def affine(mine: str, apple: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{mine}.{part}", f"{apple}.{part}") for part in ("weight", "bias"))


def inverted(mine: str, apple: str) -> Iterator[tuple[str, str]]:
    for part, name in (("expand_1x1", "exp_1x1"), ("conv_3x3", "conv_3x3"), ("reduce_1x1", "red_1x1")):
        yield from block(f"{mine}.{part}", f"{apple}.block.{name}", norm=True)


def attention_unit(mine: str, apple: str) -> Iterator[tuple[str, str]]:
    yield from affine(f"{mine}.layernorm_before", f"{apple}.pre_norm_attn.0")
    for part in ("qkv_proj", "out_proj"):
        yield from block(f"{mine}.attention.{part}", f"{apple}.pre_norm_attn.1.{part}", bias=True)
    yield from affine(f"{mine}.layernorm_after", f"{apple}.pre_norm_ffn.0")
    for part, index in (("conv1", 1), ("conv2", 3)):
        yield from block(f"{mine}.ffn.{part}", f"{apple}.pre_norm_ffn.{index}", bias=True)


@pytest.mark.parametrize(("apple", "expected"), PAIRS)
def test_apples_names(apple: str, expected: str) -> None:
    prefix = "" if expected.startswith("classifier") else "mobilevitv2."
    assert list(to_hf_names({apple: torch.zeros(1)}, "cvnets")) == [prefix + expected]
    assert (prefix + expected, apple) in set(apple_names())


def test_every_tensor_of_apples_checkpoints_finds_its_place(model: MobileViTV2Classifier) -> None:
    wanted = model.state_dict()
    table = dict(apple_names())
    assert set(table) == set(wanted) and len(set(table.values())) == len(table) == 269
    apples = {apple: wanted[mine] for mine, apple in table.items()}
    assert layout_of(apples, "x") == "cvnets"
    renamed = to_hf_names(apples, "cvnets")
    assert len(renamed) == 269 and all(renamed[name] is tensor for name, tensor in wanted.items())


# ---- layouts ----


@pytest.mark.parametrize(
    ("stem", "layout"),
    [
        ("mobilevitv2.conv_stem.convolution.weight", "huggingface"),
        ("mobilevit.conv_stem.convolution.weight", "huggingface"),
        ("stem.conv.weight", "timm"),
        ("conv_1.block.conv.weight", "cvnets"),
    ],
)
def test_layout_of(stem: str, layout: str) -> None:
    assert layout_of({"other": torch.zeros(1), stem: torch.zeros(1)}, "x") == layout


@pytest.mark.parametrize("names", [["mobilevitv3.conv_stem.convolution.weight", "b"], ["features.0.0.weight"], []])
def test_unknown_layouts(names: list[str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        layout_of(dict.fromkeys(names, torch.zeros(1)), "file.bin")
    message = str(caught.value)
    assert message.startswith("file.bin: not a MobileViTV2 or MobileViT classifier") and "\n" not in message
    assert f"its {len(names)} tensors" in message and repr((names or ["none"])[0]) in message


def test_our_own_names_stay(model: MobileViTV2Classifier) -> None:
    renamed = to_hf_names(tensors := model.state_dict(), "huggingface")
    assert all(renamed[name] is tensor for name, tensor in tensors.items()) and len(renamed) == 269
