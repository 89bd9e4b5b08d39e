"""Checkpoints without a config.json: the three namings, what is told from shapes and from the name; --variant."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.checkpoint.locate import locate
from mvit2.errors import CheckpointError, UsageError
from mvit2.image.preprocess_spec import PreprocessSpec


@pytest.fixture(scope="session")
def demo() -> Checkpoint:
    return load_checkpoint("demo", "0.5")


_TIMM = (
    (r"^mobilevitv2\.conv_stem\.", "stem."),
    (r"^classifier\.", "head.fc."),
    (r"^mobilevitv2\.encoder\.layer\.(\d)\.layer\.", r"stages.\1."),
    (r"^mobilevitv2\.encoder\.layer\.(\d)\.downsampling_layer\.", r"stages.\1.0."),
    (r"^mobilevitv2\.encoder\.layer\.(\d)\.", r"stages.\1.1."),
    (r"expand_1x1", "conv1_1x1"),
    (r"conv_3x3", "conv2_kxk"),
    (r"reduce_1x1", "conv3_1x1"),
    (r"transformer\.layer", "transformer"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"layernorm", "norm"),
    (r"attention\.(\w+)\.convolution", r"attn.\1"),
    (r"ffn\.conv(\d)\.convolution", r"mlp.fc\1"),
    (r"conv_1x1\.convolution", "conv_1x1"),
    (r"conv_projection", "conv_proj"),
    (r"convolution", "conv"),
    (r"normalization", "bn"),
)
_CVNETS = (
    (r"^mobilevitv2\.conv_stem\.", "conv_1.block."),
    (r"^classifier\.", "classifier.1."),
    (r"(expand|reduce)_1x1\.", lambda m: f"block.{m[1][:3]}_1x1.block."),
    (r"conv_3x3\.", "block.conv_3x3.block."),
    (r"\.layer\.(\d)\.(layer|downsampling_layer)\.", lambda m: f".layer.{m[1]}.{'' if m[2] == 'layer' else '0.'}"),
    (r"^(mobilevitv2\.encoder\.layer\.\d)\.(?=conv_|transformer|layernorm)", r"\1.1."),
    (r"^mobilevitv2\.encoder\.layer\.(\d)", lambda m: f"layer_{int(m[1]) + 1}"),
    (r"conv_kxk\.", "local_rep.0.block."),
    (r"conv_1x1\.convolution", "local_rep.1.block.conv"),
    (r"\.transformer\.layer\.", ".global_rep."),
    (r"layernorm_before", "pre_norm_attn.0"),
    (r"attention\.(\w+)\.", r"pre_norm_attn.1.\1.block."),
    (r"layernorm_after", "pre_norm_ffn.0"),
    (r"ffn\.conv([12])\.", lambda m: f"pre_norm_ffn.{'13'[int(m[1]) - 1]}.block."),
    (r"^(layer_(\d)\.1)\.layernorm", lambda m: f"{m[1]}.global_rep.{(2, 4, 3)[int(m[2]) - 3]}"),
    (r"conv_projection\.", "conv_proj.block."),
    (r"convolution", "conv"),
    (r"normalization", "norm"),
)
NAMINGS: dict[str, tuple[Any, ...]] = {"huggingface": (), "timm": _TIMM, "cvnets": _CVNETS}
LANDMARKS = {  # from the published checkpoints: timm mobilevitv2_050.cvnets_in1k and Apple's mobilevitv2-0.5.pt
    "huggingface": "mobilevitv2.encoder.layer.4.transformer.layer.2.ffn.conv2.convolution.weight",
    "timm": "stages.4.1.transformer.2.mlp.fc2.weight",
    "cvnets": "layer_5.1.global_rep.2.pre_norm_ffn.3.block.conv.weight",
}


def renamed(demo: Checkpoint, layout: str) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in demo.model.state_dict().items():
        for pattern, replacement in NAMINGS[layout]:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor.clone()
    assert LANDMARKS[layout] in tensors
    return tensors


@pytest.mark.parametrize(
    ("layout", "stem", "name", "spec"),
    [
        ("huggingface", "birds", "birds", PreprocessSpec((256, 256), 288, None, "bilinear", "BGR")),
        ("timm", "mobilevitv2_050.cvnets_in1k", "cvnets_in1k", PreprocessSpec((256, 256), 288, None, "bicubic", "RGB")),
        ("cvnets", "mobilevitv2-0.5", "custom", PreprocessSpec((256, 256), 288, None, "bicubic", "RGB")),
        ("timm", "mobilevitv2_050_384_in1k", "384_in1k", PreprocessSpec((384, 384), 384, None, "bicubic", "RGB")),
        ("huggingface", "a-512", "a-512", PreprocessSpec((512, 512), 544, None, "bilinear", "BGR")),
        ("timm", "run1384", "run1384", PreprocessSpec((256, 256), 288, None, "bicubic", "RGB")),
    ],
)
def test_a_bare_file(layout: str, stem: str, name: str, spec: PreprocessSpec, demo: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / f"{stem}.safetensors"
    save_file(renamed(demo, layout), file)
    opened = load_checkpoint(str(file), "0.5")
    assert (opened.layout, opened.name, opened.origin, opened.variant) == (layout, name, file.name, "0.5")
    assert opened.sha256 == demo.sha256
    assert (opened.preprocess, opened.config.image_size) == (spec, spec.image_size)
    assert opened.config.labels == tuple(f"LABEL_{i}" for i in range(20))
    assert [note for note in opened.warnings if "does not name its classes" in note and "--labels FILE" in note]


@pytest.mark.parametrize("layout", NAMINGS)
def test_a_config_beside_other_names_is_honoured(layout: str, demo: Checkpoint, tmp_path: Path) -> None:
    source = locate("demo", "0.5")
    assert source.config is not None
    shutil.copy(source.config, tmp_path / "config.json")
    torch.save(renamed(demo, layout), tmp_path / "pytorch_model.bin")
    opened = load_checkpoint(str(tmp_path))
    rule = "transformers" if layout == "huggingface" else "ml-cvnets"  # what its trainer computed
    config = replace(demo.config, patch_rule=rule)
    assert (opened.sha256, opened.config, opened.layout) == (demo.sha256, config, layout)


@pytest.mark.parametrize(
    ("variant", "error", "wrong"),
    [
        ("1.0", CheckpointError, r"holds width 0\.5, --variant says 1\.0: correct it or leave it out"),
        ("2", CheckpointError, r"holds width 0\.5, --variant says 2\.0"),
        ("0.6", UsageError, r"unknown variant '0\.6': did you mean 0\.5 or 0\.75"),
        ("half", UsageError, r"unknown variant 'half'"),
    ],
)
def test_another_variant(variant: str, error: type[Exception], wrong: str) -> None:
    source = locate("demo", "0.5")
    assert source.weights is not None
    for weights in (source.weights, source.weights.parent):
        with pytest.raises(error, match=wrong):
            load_checkpoint(str(weights), variant)
    assert load_checkpoint(str(source.weights), ".50").variant == load_checkpoint(str(source.weights)).variant == "0.5"
