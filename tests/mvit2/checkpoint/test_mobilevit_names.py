"""MobileViT in the three namings: tables, fused tensors, and what a file without a config.json tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import MobileViTConfig as TheirConfig
from transformers import MobileViTForImageClassification, MobileViTForSemanticSegmentation

from mvit2.checkpoint.from_module import checkpoint_of
from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.tensor_names import architecture_of, to_hf_names
from mvit2.errors import CheckpointError
from mvit2.network.architectures import MOBILEVIT
from mvit2.network.mobilevit_config import SIZES, MobileViTConfig

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

# Names of mobilevit checkpoints of ml-cvnets; right of them what transformers' conversion script
# (models/mobilevit/convert_mlcvnets_to_pytorch.py, rename_key) makes of them.
APPLE = """
conv_1.block.conv.weight                            mobilevit.conv_stem.convolution.weight
layer_1.0.block.exp_1x1.block.conv.weight           mobilevit.encoder.layer.0.layer.0.expand_1x1.convolution.weight
layer_2.2.block.conv_3x3.block.norm.bias            mobilevit.encoder.layer.1.layer.2.conv_3x3.normalization.bias
layer_4.0.block.red_1x1.block.conv.weight \
    mobilevit.encoder.layer.3.downsampling_layer.reduce_1x1.convolution.weight
layer_3.1.local_rep.conv_3x3.block.conv.weight      mobilevit.encoder.layer.2.conv_kxk.convolution.weight
layer_3.1.local_rep.conv_1x1.block.conv.weight      mobilevit.encoder.layer.2.conv_1x1.convolution.weight
layer_3.1.global_rep.0.pre_norm_mha.0.weight \
    mobilevit.encoder.layer.2.transformer.layer.0.layernorm_before.weight
layer_4.1.global_rep.3.pre_norm_mha.1.out_proj.bias \
    mobilevit.encoder.layer.3.transformer.layer.3.attention.output.dense.bias
layer_5.1.global_rep.2.pre_norm_ffn.0.bias \
    mobilevit.encoder.layer.4.transformer.layer.2.layernorm_after.bias
layer_5.1.global_rep.0.pre_norm_ffn.1.weight \
    mobilevit.encoder.layer.4.transformer.layer.0.intermediate.dense.weight
layer_5.1.global_rep.0.pre_norm_ffn.4.weight \
    mobilevit.encoder.layer.4.transformer.layer.0.output.dense.weight
layer_3.1.global_rep.2.weight                       mobilevit.encoder.layer.2.layernorm.weight
layer_5.1.conv_proj.block.norm.running_var \
    mobilevit.encoder.layer.4.conv_projection.normalization.running_var
layer_5.1.fusion.block.conv.weight                  mobilevit.encoder.layer.4.fusion.convolution.weight
conv_1x1_exp.block.norm.running_mean                mobilevit.conv_1x1_exp.normalization.running_mean
classifier.fc.weight                                classifier.weight
""".replace("\\\n", "")


@pytest.mark.parametrize(("apple", "expected"), [tuple(line.split()) for line in APPLE.strip().splitlines()])
def test_apples_names(apple: str, expected: str) -> None:
    assert list(to_hf_names({apple: torch.zeros(3)}, "cvnets", MOBILEVIT)) == [expected]


def convolution(name: str, *, norm: bool = True, bias: bool = False) -> Iterator[str]:
    yield f"{name}.block.conv.weight"
    yield from [f"{name}.block.conv.bias"] * bias
    yield from (f"{name}.block.norm.{part}" for part in NORM if norm)


def inverted(name: str) -> Iterator[str]:
    for part in ("exp_1x1", "conv_3x3", "red_1x1"):
        yield from convolution(f"{name}.block.{part}")


def backbone() -> Iterator[str]:
    """Of ml-cvnets' MobileViT, module by module."""
    yield from convolution("conv_1")
    yield from inverted("layer_1.0")
    for index in range(3):
        yield from inverted(f"layer_2.{index}")
    for stage, depth in ((3, 2), (4, 4), (5, 3)):
        layer = f"layer_{stage}.1"
        yield from inverted(f"layer_{stage}.0")
        yield from convolution(f"{layer}.local_rep.conv_3x3")
        yield from convolution(f"{layer}.local_rep.conv_1x1", norm=False)
        units = ("pre_norm_mha.0", "pre_norm_mha.1.qkv_proj", "pre_norm_mha.1.out_proj")
        for unit in (*units, "pre_norm_ffn.0", "pre_norm_ffn.1", "pre_norm_ffn.4"):
            for index in range(depth):
                yield from (f"{layer}.global_rep.{index}.{unit}.{part}" for part in ("weight", "bias"))
        yield from (f"{layer}.global_rep.{depth}.{part}" for part in ("weight", "bias"))
        yield from convolution(f"{layer}.conv_proj")
        yield from convolution(f"{layer}.fusion")


def classifier() -> Iterator[str]:
    yield from backbone()
    yield from convolution("conv_1x1_exp")
    yield from ("classifier.fc.weight", "classifier.fc.bias")


def segmenter() -> Iterator[str]:
    yield from (f"encoder.{name}" for name in backbone())
    for index in range(4):
        yield from convolution(f"seg_head.aspp.aspp_layer.convs.{index}")
    yield from convolution("seg_head.aspp.aspp_layer.convs.4.aspp_pool.conv_1x1")
    yield from convolution("seg_head.aspp.aspp_layer.project")
    yield from convolution("seg_head.classifier.classifier", norm=False, bias=True)


@pytest.mark.parametrize(
    ("names", "theirs", "counts"),
    [
        (classifier, MobileViTForImageClassification, (311, 347)),
        (segmenter, MobileViTForSemanticSegmentation, (341, 377)),
    ],
)
def test_apples_networks_are_those_of_transformers(names: Any, theirs: Any, counts: tuple[int, int]) -> None:
    given = {name: torch.zeros(6) for name in names()}
    assert architecture_of(given, "x") == (MOBILEVIT, "cvnets")
    renamed = to_hf_names(given, "cvnets", MOBILEVIT)
    with torch.device("meta"):
        assert set(renamed) == set(theirs(TheirConfig()).state_dict())
    assert (len(given), len(renamed)) == counts


@pytest.mark.parametrize(("layout", "name"), [("timm", "attn.qkv"), ("cvnets", "pre_norm_mha.1.qkv_proj")])
def test_a_fused_tensor_is_cut(layout: Any, name: str) -> None:
    prefix = "stages.2.1.transformer.1." if layout == "timm" else "layer_3.1.global_rep.1."
    cut = to_hf_names({f"{prefix}{name}.weight": torch.arange(12.0).reshape(6, 2)}, layout, MOBILEVIT)
    place = "mobilevit.encoder.layer.2.transformer.layer.1.attention.attention."
    assert {name: tensor.flatten().tolist() for name, tensor in cut.items()} == {
        f"{place}query.weight": [0, 1, 2, 3],
        f"{place}key.weight": [4, 5, 6, 7],
        f"{place}value.weight": [8, 9, 10, 11],
    }


# ---- without a config.json ----


def as_timm(tensors: dict[str, Tensor], theirs: torch.nn.Module) -> dict[str, Tensor]:
    """``tensors`` under timm's names: those of its own network that become ours."""
    named = {}
    for name, tensor in theirs.state_dict().items():
        parts = to_hf_names({name: tensor}, "timm", MOBILEVIT)
        named[name] = torch.cat([tensors[part] for part in parts]) if len(parts) > 1 else tensors[next(iter(parts))]
    return named


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", ["huggingface", "timm"])
def test_a_bare_file(size: str, layout: str, oracles: ModuleType, tmp_path: Path) -> None:
    config = replace(MobileViTConfig.of_size(SIZES[size]), labels=tuple("abcde"))
    tensors = MOBILEVIT.builders["classify"](config).state_dict()
    if layout == "timm":
        build = getattr(oracles.timm_mobilevit(), oracles.TIMM_NAMES[size])
        tensors = as_timm(tensors, build(num_classes=5))
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, tmp_path / "birds.safetensors")
    opened = load_checkpoint(str(tmp_path / "birds.safetensors"))
    assert (opened.architecture, opened.layout, opened.variant, opened.name) == (MOBILEVIT, layout, size, "birds")
    expected = replace(config, labels=opened.config.labels, hidden_dropout_prob=opened.config.hidden_dropout_prob)
    assert opened.config == expected
    assert any(
        "num_attention_heads 4, patch_size 2 are taken as of the published networks" in n for n in opened.warnings
    )
    with pytest.raises(CheckpointError, match=rf"holds size {size}, --variant says 1\.0"):
        load_checkpoint(str(tmp_path / "birds.safetensors"), "1.0")


@pytest.mark.parametrize(
    ("channels", "stride", "rates"), [(256, 16, (6, 12, 18)), (512, 8, (12, 24, 36)), (64, None, None)]
)
def test_a_bare_segmenter(channels: int, stride: int | None, rates: Any, tmp_path: Path) -> None:
    """The head's channels tell which of two recipes it was trained by."""
    config = replace(MobileViTConfig.of_size(SIZES["xx-small"]), labels=("x",) * 21, aspp_out_channels=channels)
    file = tmp_path / "mobilevit_xxs-voc.safetensors"
    save_file(MOBILEVIT.builders["segment"](config).state_dict(), file)
    if stride is None:
        with pytest.raises(CheckpointError, match=r"no published network has 21 classes and a head of 64 channels"):
            load_checkpoint(str(file))
        return
    opened = load_checkpoint(str(file))
    assert (opened.variant, opened.name, opened.task.name) == ("xx-small", "voc", "segment")
    found = opened.config
    assert (found.output_stride, found.atrous_rates, found.aspp_out_channels) == (stride, rates, channels)
    assert found.image_size == (512, 512)


@pytest.mark.parametrize(
    "lost", ["mobilevit.encoder.layer.3.conv_1x1.convolution.weight", "mobilevit.conv_1x1_exp.convolution.weight"]
)
def test_a_file_that_lacks_a_layer_is_refused(lost: str, tmp_path: Path) -> None:
    config = replace(MobileViTConfig.of_size(SIZES["xx-small"]), labels=tuple("ab"))
    tensors = MOBILEVIT.builders["classify"](config).state_dict()
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(tmp_path / "x.safetensors"))
    assert lost in str(caught.value) and "\n" not in str(caught.value)


# ---- modules in memory ----


@pytest.mark.parametrize("whose", ["transformers", "timm"])
def test_a_module_in_memory(whose: str, oracles: ModuleType) -> None:
    """It is compared with ours where it is opened, so a wrong order of query, key and value could not pass."""
    if whose == "timm":
        module = oracles.timm_network("xx-small", classes=5)
    else:
        said = {name: list(getattr(SIZES["xx-small"], name)) for name in ("hidden_sizes", "neck_hidden_sizes")}
        _, module = oracles.hugging_face({**said, "expand_ratio": 2.0, "id2label": oracles.named(5)}, "mobilevit")
    opened = checkpoint_of(module)
    assert (opened.architecture, opened.variant, opened.config.num_labels) == (MOBILEVIT, "xx-small", 5)
    assert opened.preprocess.channel_order == ("RGB" if whose == "timm" else "BGR")
