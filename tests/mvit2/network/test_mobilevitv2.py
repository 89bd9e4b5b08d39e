"""The network against transformers and timm; it trains; its initialisation is usable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MobileViTV2Config, MobileViTV2ForImageClassification, MobileViTV2Model

from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.tensor_names import layout_of, to_hf_names
from mvit2.checkpoint.tensors import load_weights
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.network.initialise import initialise
from mvit2.network.layers import ACTIVATIONS
from mvit2.network.mobilevitv2 import MobileViTV2, MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ACTIVATION_NAMES, ModelConfig

from ...support.widths import WIDTHS

TOLERANCE = 1e-5  # of the range of the expected values; what float32 leaves is below 2e-6


# ---- transformers ----


@pytest.mark.parametrize("variant", WIDTHS)
@torch.no_grad()
def test_equals_transformers(oracles: ModuleType, variant: str) -> None:
    fields = {"width_multiplier": float(variant), "id2label": oracles.named(40)}
    ours, theirs = oracles.hugging_face(fields)
    for size in (256, 320, 192):
        x = oracles.pictures(2, size)
        expected = theirs(x).logits
        oracles.assert_varied(expected)
        assert oracles.gap(ours(x), expected) < TOLERANCE, size


@torch.no_grad()
def test_oblong_pictures_equal_transformers(oracles: ModuleType) -> None:
    ours, theirs = oracles.hugging_face({"width_multiplier": 0.5, "id2label": oracles.named(40)})
    for size in ((128, 256), (192, 64)):
        x = oracles.pictures(2, size)
        assert oracles.gap(ours(x), theirs(x).logits) < TOLERANCE, size


@pytest.mark.parametrize("expand_output", [True, False])
@pytest.mark.parametrize("stride", [32, 16, 8])
@torch.no_grad()
def test_backbone_equals_transformers(oracles: ModuleType, stride: int, expand_output: bool) -> None:
    config = ModelConfig(width_multiplier=0.5, output_stride=stride)
    ours = MobileViTV2(config, expand_output)
    ours.load_state_dict(oracles.seeded(config).mobilevitv2.state_dict())
    theirs = MobileViTV2Model(MobileViTV2Config(width_multiplier=0.5, output_stride=stride), expand_output)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = oracles.pictures(2, 128)
    seen, expected = ours.eval()(x), theirs.eval()(x, output_hidden_states=True)
    assert seen.last_hidden_state.shape == (2, 256, 128 // stride, 128 // stride)
    assert oracles.gap(seen.last_hidden_state, expected.last_hidden_state) < TOLERANCE
    assert len(seen.hidden_states) == len(expected.hidden_states) == 5
    for number, (mine, other) in enumerate(zip(seen.hidden_states, expected.hidden_states, strict=True)):
        assert oracles.gap(mine, other) < TOLERANCE, number
    if expand_output:
        assert oracles.gap(seen.pooler_output, expected.pooler_output) < TOLERANCE
    else:
        assert seen.pooler_output is None and expected.pooler_output is None


# ---- timm ----


@pytest.mark.parametrize("variant", ["0.5", "1.0", pytest.param("2.0", marks=pytest.mark.heavy)])
@torch.no_grad()
def test_equals_timm(oracles: ModuleType, variant: str) -> None:
    """At every size: where patches do not tile a feature map, timm and Apple stretch it, and so do we."""
    theirs = oracles.timm_network(variant)
    tensors = theirs.state_dict()
    assert layout_of(tensors, "timm") == "timm"
    config = ModelConfig(width_multiplier=float(variant), labels=tuple(oracles.named(40).values()))
    ours = MobileViTV2Classifier(config).eval()
    load_weights(ours, to_hf_names(tensors, "timm"), "timm")
    for size in (256, 224, 288, 160, (224, 320)):
        x = oracles.pictures(2, size)
        expected = theirs(x)
        oracles.assert_varied(expected)
        assert oracles.gap(ours(x), expected) < TOLERANCE, size


@torch.no_grad()
def test_implementations_differ_where_patches_do_not_tile(oracles: ModuleType) -> None:
    """At 7x7, transformers drops the last row and column and folds zeros in; the others stretch the map."""
    ours, theirs = oracles.hugging_face({"width_multiplier": 0.5, "id2label": oracles.named(40)})
    stretching = MobileViTV2Classifier(replace(ours.config, patch_rule="ml-cvnets")).eval()
    stretching.load_state_dict(ours.state_dict())
    for size in (192, 224, 256, 288):
        expected = theirs(x := oracles.pictures(2, size)).logits
        assert oracles.gap(ours(x), expected) < TOLERANCE
        gap = oracles.gap(stretching(x), expected)
        assert gap < TOLERANCE if size % 64 == 0 else gap > 0.01


# ---- the parts ----


def test_activations_are_those_of_their_names() -> None:
    from transformers.activations import ACT2FN

    x = torch.linspace(-8, 8, 101)
    assert tuple(ACTIVATIONS) == ACTIVATION_NAMES
    for name, module in ACTIVATIONS.items():
        assert torch.equal(module()(x), ACT2FN[name](x)), name


@torch.no_grad()
def test_pictures_of_a_batch_do_not_touch_each_other(oracles: ModuleType) -> None:
    model = oracles.seeded(ModelConfig(width_multiplier=0.5))
    x = oracles.pictures(3, 128)
    assert oracles.gap(model(x), torch.cat([model(one[None]) for one in x])) < TOLERANCE


@torch.no_grad()
def test_softmax_survives_large_queries(oracles: ModuleType) -> None:
    """exp() of a float32 overflows above 88."""
    attention = (
        oracles.seeded(ModelConfig(width_multiplier=0.5)).mobilevitv2.encoder.layer[2].transformer.layer[0].attention
    )
    query = 1e4 * torch.randn((2, 8, 6, 1), generator=torch.Generator().manual_seed(0))
    by_position = query.reshape(2, 4, 2, 3, 2).permute(0, 2, 4, 1, 3).reshape(2, 4, 12)
    expected = by_position.softmax(-1).reshape(2, 2, 2, 4, 3).permute(0, 3, 1, 4, 2).reshape(2, 8, 6, 1)
    assert torch.allclose(attention.softmax_over_patches(query), expected)


# ---- training ----

TINY = ModelConfig(width_multiplier=0.5, labels=tuple("abcde"), classifier_dropout_prob=0.2)


def new(seed: int = 0, config: ModelConfig = TINY) -> MobileViTV2Classifier:
    model = MobileViTV2Classifier(config)
    initialise(model, seed)
    return model


def test_training_lowers_the_loss_and_reaches_every_parameter(oracles: ModuleType) -> None:
    model, x, target = new().train(), oracles.pictures(5, 64), torch.arange(5)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        gradients = {name: torch.zeros(1) if p.grad is None else p.grad for name, p in model.named_parameters()}
        assert [name for name, grad in gradients.items() if not 0 < grad.abs().sum() < torch.inf] == []
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1.2 and losses[-1] < losses[0] / 2


def test_gradients_equal_transformers(oracles: ModuleType) -> None:
    ours, theirs = oracles.hugging_face({"width_multiplier": 0.5, "num_labels": 5})
    x, target = oracles.pictures(2, 128).double(), torch.tensor([1, 4])
    for network in (ours.double(), theirs.double()):
        logits = network(x)
        F.cross_entropy(getattr(logits, "logits", logits), target).backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        assert p.grad is not None and expected[name] is not None
        assert float((p.grad - expected[name]).abs().max()) <= 1e-8 * float(expected[name].abs().max()), name


@torch.no_grad()
def test_dropout_and_batch_statistics_act_in_training_alone(oracles: ModuleType) -> None:
    model, x = new().eval(), oracles.pictures(4, 64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert torch.equal(model(x), model(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(model.train()(x), model(x))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {f"{norm}.{statistic}" for norm in norms for statistic in statistics} and len(norms) == 25


# ---- initialisation ----


def state(model: MobileViTV2Classifier) -> Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_initialise_is_deterministic() -> None:
    torch.manual_seed(1)
    first = new(5)
    torch.manual_seed(2)  # the global generator has no part in it
    assert torch.equal(state(first), state(new(5)))
    assert not torch.equal(state(first), state(new(6)))


@pytest.mark.parametrize("training", [True, False])
def test_initialise_changes_nothing_but_the_weights(training: bool) -> None:
    model = MobileViTV2Classifier(TINY).train(training)
    initialise(model, 0)
    assert {module.training for module in model.modules()} == {training}
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("variant", ["0.5", "1.0", pytest.param("2.0", marks=pytest.mark.heavy)])
@torch.no_grad()
def test_initialised_logits_tell_photos_and_classes_apart(oracles: ModuleType, photos: Path, variant: str) -> None:
    checkpoint = load_checkpoint("untrained", variant)
    spec = replace(checkpoint.preprocess, image_size=(128, 128), resize_shortest=144)
    arrays = [to_pixel_values(preprocess(photo, spec), spec) for photo in sorted(photos.glob("*.jpg"))]
    logits = checkpoint.model(torch.cat([torch.from_numpy(array) for array in arrays]))
    assert logits.shape == (5, 1000) and torch.isfinite(logits).all()
    oracles.assert_varied(logits, share=0.02)
    theirs = MobileViTV2ForImageClassification(MobileViTV2Config(width_multiplier=0.5)).eval()
    assert theirs(torch.from_numpy(arrays[0])).logits.abs().max() < 1e-6  # why we do not initialise like this


def parameters(config: ModelConfig) -> dict[str, Any]:
    return {name: tuple(tensor.shape) for name, tensor in MobileViTV2Classifier(config).state_dict().items()}


def test_names_and_shapes_are_those_of_transformers() -> None:
    theirs = MobileViTV2ForImageClassification(MobileViTV2Config(width_multiplier=0.75, num_labels=5)).state_dict()
    ours = parameters(replace(TINY, width_multiplier=0.75))
    assert ours == {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    assert len(ours) == 269
