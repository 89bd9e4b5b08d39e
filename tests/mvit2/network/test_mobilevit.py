"""MobileViT, the first version, against transformers and timm; it trains; its parts."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import MobileViTConfig as TheirConfig
from transformers import MobileViTModel

from mvit2.checkpoint.tensor_names import architecture_of, to_hf_names
from mvit2.checkpoint.tensors import load_weights
from mvit2.network.architectures import MOBILEVIT
from mvit2.network.initialise import initialise
from mvit2.network.mobilevit import MobileViT, MobileViTClassifier, MobileViTLayer
from mvit2.network.mobilevit_config import SIZES, MobileViTConfig

TOLERANCE = 1e-5  # of the range of the expected values; what float32 leaves is below 1e-6
TILED_OR_NOT = (256, 224, 288, (192, 320))  # patches tile every map at the first and the last alone


def fields(size: str, classes: int) -> dict[str, Any]:
    row = SIZES[size]
    return {
        "hidden_sizes": list(row.hidden_sizes),
        "neck_hidden_sizes": list(row.neck_hidden_sizes),
        "expand_ratio": row.expand_ratio,
        "id2label": {str(i): f"class {i}" for i in range(classes)},
    }


@pytest.mark.parametrize("size", ["xx-small", pytest.param("x-small", marks=pytest.mark.heavy), "small"])
@torch.no_grad()
def test_equals_transformers(oracles: ModuleType, size: str) -> None:
    ours, theirs = oracles.hugging_face(fields(size, 40), "mobilevit")
    assert ours.config.variant_name == size
    for pixels in TILED_OR_NOT:
        x = oracles.pictures(2, pixels)
        expected = theirs(x).logits
        oracles.assert_varied(expected)
        assert oracles.gap(ours(x), expected) < TOLERANCE, pixels


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize(
    "size",
    ["xx-small", pytest.param("x-small", marks=pytest.mark.heavy), pytest.param("small", marks=pytest.mark.heavy)],
)
@torch.no_grad()
def test_segmenters_equal_transformers(oracles: ModuleType, size: str, stride: int) -> None:
    ours, theirs = oracles.hugging_face_segmenter({**fields(size, 21), "output_stride": stride}, "mobilevit")
    for pixels in TILED_OR_NOT if stride == 16 else (192,):
        x = oracles.pictures(2, pixels)
        seen, expected = ours(x), theirs(x).logits
        assert tuple(seen.shape[2:]) == ours.config.map_size(tuple(x.shape[2:]))
        oracles.assert_varied(expected.flatten(2).mean(-1))
        assert oracles.gap(seen, expected) < TOLERANCE, pixels


@pytest.mark.parametrize("expand_output", [True, False])
@torch.no_grad()
def test_backbone_equals_transformers(oracles: ModuleType, expand_output: bool) -> None:
    ours = MobileViT(config := MobileViTConfig.of_size(SIZES["xx-small"]), expand_output)
    held = oracles.seeded(config).mobilevit.state_dict()
    ours.load_state_dict({name: held[name] for name in ours.state_dict()})
    said = {name: value for name, value in fields("xx-small", 2).items() if name != "id2label"}
    theirs = MobileViTModel(TheirConfig(**said), expand_output)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = oracles.pictures(2, 128)
    seen, expected = ours.eval()(x), theirs.eval()(x, output_hidden_states=True)
    assert oracles.gap(seen.last_hidden_state, expected.last_hidden_state) < TOLERANCE
    assert len(seen.hidden_states) == len(expected.hidden_states) == 5
    for number, (mine, other) in enumerate(zip(seen.hidden_states, expected.hidden_states, strict=True)):
        assert oracles.gap(mine, other) < TOLERANCE, number
    if expand_output:
        assert oracles.gap(seen.pooler_output, expected.pooler_output) < TOLERANCE
    else:
        assert seen.pooler_output is None and expected.pooler_output is None


# ---- timm ----


@pytest.mark.parametrize(
    "size",
    ["xx-small", pytest.param("x-small", marks=pytest.mark.heavy), pytest.param("small", marks=pytest.mark.heavy)],
)
@torch.no_grad()
def test_equals_timm(oracles: ModuleType, size: str) -> None:
    """At every size: all implementations of this version stretch a map that patches do not tile in the same way."""
    theirs = oracles.timm_network(size)
    tensors = theirs.state_dict()
    assert architecture_of(tensors, "timm") == (MOBILEVIT, "timm")
    config = replace(MobileViTConfig.of_size(SIZES[size]), labels=tuple(oracles.named(40).values()))
    ours = MobileViTClassifier(config).eval()
    load_weights(ours, to_hf_names(tensors, "timm", MOBILEVIT), "timm")
    for pixels in TILED_OR_NOT:
        x = oracles.pictures(2, pixels)
        expected = theirs(x)
        oracles.assert_varied(expected)
        assert oracles.gap(ours(x), expected) < TOLERANCE, pixels


# ---- the parts ----


@torch.no_grad()
def test_tokens_are_the_pixels_of_patches() -> None:
    layer = MobileViTLayer(MobileViTConfig(), 8, 8, 16, 1, stride=1, dilation=1)
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    tokens = layer.tokens(x)
    assert tokens.shape == (2, 6, 4, 3)
    assert torch.equal(tokens[1, 4], x[1, :, 2:4, 2:4].flatten(1).T)  # the patch in the second row and column
    assert torch.equal(layer.map_of(tokens, (4, 6)), x)


@torch.no_grad()
def test_pictures_of_a_batch_do_not_touch_each_other(oracles: ModuleType) -> None:
    model = oracles.seeded(MobileViTConfig.of_size(SIZES["xx-small"]))
    x = oracles.pictures(3, 96)
    assert oracles.gap(model(x), torch.cat([model(one[None]) for one in x])) < TOLERANCE


# ---- training ----

TINY = replace(MobileViTConfig.of_size(SIZES["xx-small"]), labels=tuple("abcde"))


def test_training_lowers_the_loss_and_reaches_every_parameter(oracles: ModuleType) -> None:
    model = MobileViTClassifier(TINY)
    initialise(model, 0)
    x, target = oracles.pictures(5, 96), torch.arange(5)
    optimiser = torch.optim.AdamW(model.train().parameters(), lr=2e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model(x, target).loss
        loss.backward()
        gradients = {name: torch.zeros(1) if p.grad is None else p.grad for name, p in model.named_parameters()}
        silent = [name for name, grad in gradients.items() if not 0 < grad.abs().sum() < torch.inf]
        assert [name for name in silent if not name.endswith("key.bias")] == []  # a softmax does not see that bias
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_gradients_equal_transformers(oracles: ModuleType) -> None:
    ours, theirs = oracles.hugging_face(fields("xx-small", 5), "mobilevit")
    x, target = oracles.pictures(2, 96).double(), torch.tensor([1, 4])
    for network in (ours.double(), theirs.double()):
        logits = network(x)
        F.cross_entropy(getattr(logits, "logits", logits), target).backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        assert p.grad is not None and expected[name] is not None
        assert float((p.grad - expected[name]).abs().max()) <= 1e-8 * float(expected[name].abs().max()) + 1e-14, name


@torch.no_grad()
def test_initialised_logits_tell_pictures_and_classes_apart(oracles: ModuleType) -> None:
    model = MobileViTClassifier(TINY)
    initialise(model, 5)
    oracles.assert_varied(50 * model.eval()(oracles.pictures(4, 128)))
