"""Segmentation checkpoints in Apple's naming, with and without the auxiliary head; files without a config.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mvit2.checkpoint.load import load_checkpoint
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architectures import MOBILEVITV2
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.tasks import SEGMENT

SAFE = "model.safetensors"
HEAD = "segmentation_head"


@pytest.fixture
def folder(tmp_path: Path, oracles: ModuleType) -> Path:
    oracles.saved_segmenter(tmp_path)
    return tmp_path


# ---- Apple's naming ----


def apple_names(tensors: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
    """(Hugging Face's, Apple's) names of a segmentation network: its modules as ml-cvnets nests them."""
    for name in tensors:
        module, _, leaf = name.rpartition(".")
        if module.startswith(HEAD):
            yield name, f"{_apple_head(module)}.{leaf}"
        else:
            yield name, "encoder." + _apple_layer(module.removeprefix("mobilevitv2.").split("."), leaf)


def _apple_head(module: str) -> str:
    """cvnets/models/segmentation/heads/deeplabv3.py and cvnets/modules/aspp_block.py."""
    *path, kind = module.removeprefix(f"{HEAD}.").split(".")
    if path[0] == "aspp":
        path.insert(1, "aspp_layer")
    if path[-1] == "conv_1x1":
        path.insert(-1, "aspp_pool")
    return ".".join(["seg_head", *path, "block", {"convolution": "conv", "normalization": "norm"}[kind]])


def _apple_layer(path: list[str], leaf: str) -> str:
    """cvnets/models/classification/mobilevit_v2.py and cvnets/modules/mobilevit_block.py."""
    kinds = {"convolution": "block.conv", "normalization": "block.norm"}
    if path[0] == "conv_stem":
        return f"conv_1.{kinds[path[1]]}.{leaf}"
    number, rest = int(path[2]) + 1, path[3:]
    depth = {3: 2, 4: 4, 5: 3}.get(number, 0)
    inner = {"expand_1x1": "exp_1x1", "conv_3x3": "conv_3x3", "reduce_1x1": "red_1x1"}
    units = {
        "layernorm_before": "pre_norm_attn.0",
        "qkv_proj": "pre_norm_attn.1.qkv_proj",
        "out_proj": "pre_norm_attn.1.out_proj",
        "layernorm_after": "pre_norm_ffn.0",
        "conv1": "pre_norm_ffn.1",
        "conv2": "pre_norm_ffn.3",
    }
    parts = {"conv_kxk": "1.local_rep.0", "conv_1x1": "1.local_rep.1", "conv_projection": "1.conv_proj"}
    tail = [kinds[part] for part in rest if part in kinds] + [leaf]
    if rest[0] in ("layer", "downsampling_layer"):
        index = rest[1] if rest[0] == "layer" else "0"
        middle = f"{index}.block.{inner[rest[-2]]}"
    elif rest[0] == "transformer":
        middle = f"1.global_rep.{rest[2]}." + next(units[part] for part in rest[3:] if part in units)
    else:
        middle = f"1.global_rep.{depth}" if rest[0] == "layernorm" else parts[rest[0]]
    return ".".join([f"layer_{number}", middle, *tail])


LANDMARKS = {  # read off the constructors of ml-cvnets and off transformers' convert_mlcvnets_to_pytorch.py
    "encoder.conv_1.block.conv.weight",
    "encoder.layer_2.1.block.exp_1x1.block.norm.running_var",
    "encoder.layer_5.1.global_rep.2.pre_norm_ffn.3.block.conv.weight",
    "encoder.layer_4.1.global_rep.4.bias",
    "seg_head.aspp.aspp_layer.convs.0.block.conv.weight",
    "seg_head.aspp.aspp_layer.convs.3.block.norm.running_mean",
    "seg_head.aspp.aspp_layer.convs.4.aspp_pool.conv_1x1.block.conv.weight",
    "seg_head.aspp.aspp_layer.project.block.norm.weight",
    "seg_head.classifier.block.conv.bias",
}
AUXILIARY = {
    "seg_head.aux_head.0.block.conv.weight": torch.ones(128, 192, 3, 3),
    "seg_head.aux_head.0.block.norm.weight": torch.ones(128),
    "seg_head.aux_head.2.block.conv.weight": torch.ones(3, 128, 1, 1),
    "seg_head.aux_head.2.block.conv.bias": torch.full((3,), float("nan")),  # never looked at
}


def rename_as_apple(folder: Path, *, auxiliary: bool = False) -> None:
    tensors = load_file(folder / SAFE)
    renamed = {apple: tensors[mine] for mine, apple in apple_names(tensors)}
    assert len(renamed) == len(tensors) and set(renamed) >= LANDMARKS
    (folder / SAFE).unlink()
    torch.save({**renamed, **(AUXILIARY if auxiliary else {})}, folder / "checkpoint_ema.pt")


@pytest.mark.parametrize("stride", [32, 16, 8])
@torch.no_grad()
def test_both_namings_give_the_same_logits(stride: int, folder: Path, oracles: ModuleType) -> None:
    """With the same dilations; those differ where ml-cvnets and transformers compute something else."""
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "output_stride": stride}))
    theirs = load_checkpoint(str(folder))
    rename_as_apple(folder)
    apples = load_checkpoint(str(folder))
    assert (apples.layout, apples.sha256, apples.task) == ("cvnets", theirs.sha256, SEGMENT)
    assert apples.config.dilation_rule == ("transformers" if stride == 32 else "ml-cvnets")
    x = oracles.pictures(2, 128)
    gap = oracles.gap(apples.model(x), theirs.model(x))
    assert gap == 0 if stride == 32 else gap > 1e-3
    same = MOBILEVITV2.build(SEGMENT, theirs.config).eval()
    same.load_state_dict(apples.model.state_dict())
    assert torch.equal(same(x), theirs.model(x))


def test_the_auxiliary_head_is_dropped_with_a_note(folder: Path) -> None:
    before = load_checkpoint(str(folder))
    rename_as_apple(folder, auxiliary=True)
    opened = load_checkpoint(str(folder))
    assert opened.sha256 == before.sha256
    note, _ = opened.warnings
    assert note.endswith("its auxiliary head (4 tensors) is left out, it serves training alone.")


def test_apples_pictures_are_stretched(folder: Path) -> None:
    rename_as_apple(folder)
    assert load_checkpoint(str(folder)).preprocess == PreprocessSpec((128, 128), None, (128, 128), "bicubic", "RGB")


# ---- without a config.json ----


def bare(path: Path, classes: int, oracles: ModuleType) -> Path:
    config = ModelConfig(width_multiplier=0.5, aspp_out_channels=24, labels=tuple("x" * classes))
    save_file(oracles.segmenter(config).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("classes", "name", "stride", "rates", "size"),
    [
        (21, "mobilevitv2-0.5-voc", 16, (6, 12, 18), 512),
        (150, "deeplabv3", 8, (12, 24, 36), 512),
        (21, "voc-384", 16, (6, 12, 18), 384),
    ],
)
def test_a_bare_file_of_a_published_recipe(
    classes: int, name: str, stride: int, rates: tuple[int, ...], size: int, tmp_path: Path, oracles: ModuleType
) -> None:
    opened = load_checkpoint(str(bare(tmp_path / f"{name}.safetensors", classes, oracles)))
    config = opened.config
    assert (config.output_stride, config.atrous_rates, config.image_size) == (stride, rates, (size, size))
    assert (config.aspp_out_channels, config.num_labels, config.width_multiplier) == (24, classes, 0.5)
    assumed, _, unnamed = opened.warnings
    assert f"output stride {stride} and atrous rates {list(rates)} are taken from Apple's recipe" in assumed
    assert "does not name its classes" in unnamed


def test_a_bare_file_in_apples_naming(folder: Path, oracles: ModuleType) -> None:
    bare(folder / SAFE, 21, oracles)
    rename_as_apple(folder)
    opened = load_checkpoint(str(folder / "checkpoint_ema.pt"))
    assert (opened.config.dilation_rule, opened.config.output_stride, opened.layout) == ("ml-cvnets", 16, "cvnets")
    assert opened.preprocess == PreprocessSpec((512, 512), None, (512, 512), "bicubic", "RGB")
