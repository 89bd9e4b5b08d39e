"""Torch modules in memory as checkpoints: what they are taken for, what stays as it is, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mvit2.checkpoint.from_module import checkpoint_of
from mvit2.checkpoint.load import load_checkpoint
from mvit2.errors import CheckpointError, Mvit2Error, UsageError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architectures import MOBILEVITV2
from mvit2.network.initialise import initialise
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig

TINY = {"width_multiplier": 0.125, "base_attn_unit_dims": [16] * 3, "n_attn_blocks": [1, 1, 1], "image_size": 64}
LABELS = {0: "ant", 1: "bee", 2: "cat"}
HEAD = {"output_stride": 16, "aspp_out_channels": 24, "atrous_rates": [2, 4, 6]}
SPEC = PreprocessSpec((64, 64), 72, channel_order="BGR")
PREPROCESSOR = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}, "resample": 2}


def transformers_module(kind: str = "ImageClassification", **fields: Any) -> Any:
    """With lively weights, as somebody who trains has it."""
    import transformers

    torch.manual_seed(7)
    model_class = getattr(transformers, f"MobileViTV2For{kind}")
    model = model_class(model_class.config_class(**{"id2label": LABELS, **TINY, **fields}))
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if name.endswith("_var") else torch.randn(value.shape) * 0.3)
    return model


def our_module() -> nn.Module:
    model = MobileViTV2Classifier(
        ModelConfig(width_multiplier=0.125, base_attn_unit_dims=(16,) * 3, n_attn_blocks=(1, 1, 1))
    )
    initialise(model, 1)
    return model


@pytest.mark.parametrize(
    ("kind", "fields"), [("ImageClassification", {}), ("SemanticSegmentation", HEAD)], ids=["classify", "segment"]
)
def test_a_module_is_what_its_folder_is(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    module = transformers_module(kind, **fields)
    module.save_pretrained(tmp_path / "mobilevitv2-0.125-insects")
    saved = load_checkpoint(str(tmp_path / "mobilevitv2-0.125-insects"))
    held = checkpoint_of(module, name="mobilevitv2-0.125-insects")
    assert saved.config.labels == ("ant", "bee", "cat") and saved.name == "insects"
    for name in ("config", "preprocess", "variant", "name", "origin", "layout", "sha256", "task"):
        assert getattr(held, name) == getattr(saved, name), name
    ours, theirs = held.model.state_dict(), saved.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_module_stays_as_it_is() -> None:
    module = transformers_module().half().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    held = checkpoint_of(module, preprocess=SPEC)
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert all(each.training for each in module.modules()) and not held.model.training
    with torch.no_grad():  # no tensor is shared
        for tensor in held.model.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_our_own_module() -> None:
    module = our_module()
    held = checkpoint_of(module, preprocess=SPEC)
    assert (held.name, held.variant, held.layout, held.preprocess) == ("custom", "0.125", "huggingface", SPEC)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(held.model(pixels), module.eval()(pixels))


def test_timm_module(oracles: ModuleType) -> None:
    """timm names its tensors otherwise, and no classes."""
    module = oracles.timm_network("0.5")
    held = checkpoint_of(module, name="mine")
    assert (held.layout, held.variant, held.config.num_labels, held.name) == ("timm", "0.5", 40, "mine")
    assert held.preprocess == MOBILEVITV2.default_preprocess(held.config.image_size, "timm")
    assert any("does not name its classes" in note for note in held.warnings)


@pytest.mark.parametrize(
    "given",
    [SPEC, PREPROCESSOR, PREPROCESSOR | {"resample": Image.Resampling.BILINEAR, "crop_size": (64, 64)}],
    ids=["spec", "content of a file", "of a processor in memory"],
)
def test_the_preprocessing_that_is_given(given: Any) -> None:
    held = checkpoint_of(transformers_module(), preprocess=given)
    assert held.preprocess == SPEC and held.warnings == ()


def test_without_a_preprocessing_there_is_a_warning() -> None:
    held = checkpoint_of(transformers_module())
    (warning,) = held.warnings
    assert held.preprocess == MOBILEVITV2.default_preprocess((64, 64), "huggingface")
    assert "MobileViTV2ForImageClassification in memory" in warning
    assert "preprocessing is ASSUMED" in warning and "BGR, edge 96 -> crop 64x64, bilinear" in warning


class _Doubled(MobileViTV2Classifier):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return super().forward(pixel_values) * 2


def _doubled() -> nn.Module:
    model = our_module()
    model.__class__ = _Doubled
    return model


def _poisoned() -> nn.Module:
    model = our_module()
    next(iter(model.state_dict().values())).fill_(float("nan"))
    return model


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (
            lambda: nn.Linear(2, 3),
            {},
            CheckpointError,
            "the Linear in memory: not a MobileViTV2 or MobileViT classifier",
        ),
        (_doubled, {}, CheckpointError, "the _Doubled in memory computes something else"),
        (_poisoned, {}, CheckpointError, "with NaN or Inf"),
        (
            lambda: nn.Sequential(our_module()),
            {},
            CheckpointError,
            "not a MobileViTV2 or MobileViT classifier or segmenter",
        ),
        (our_module, {"task": "segment"}, CheckpointError, "holds an image classifier"),
        (our_module, {"task": "segmnt"}, UsageError, "Did you mean 'segment'?"),
        (our_module, {"variant": "2.0"}, CheckpointError, "holds width 0.125, --variant says 2.0"),
        (our_module, {"preprocess": {"size": 3, "colour": 1}}, CheckpointError, "preprocess: colour = 1"),
        (lambda: transformers_module(problem_type="regression"), {}, CheckpointError, "problem_type is 'regression'"),
    ],
)
def test_refused(make: Callable[[], nn.Module], options: dict[str, Any], error: type[Mvit2Error], message: str) -> None:
    with pytest.raises(error) as refused:
        checkpoint_of(make(), **{"preprocess": SPEC, **options})
    assert message in str(refused.value)


def test_labels_replace_the_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    held = checkpoint_of(transformers_module(), preprocess=SPEC, labels=tmp_path / "names.txt")
    assert held.config == replace(held.config, labels=("one", "two", "three"))
