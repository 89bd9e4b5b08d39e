"""The export form computes what the network computes; the artifact contract's input is the explicit preprocessing."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.tensors import fingerprint
from mvit2.errors import ConversionError
from mvit2.export.convert.contract import PixelContract
from mvit2.export.convert.fold import export_form
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.layers import ConvLayer
from mvit2.network.mobilevitv2 import GlobalNorm, SeparableSelfAttention
from mvit2.network.mobilevitv2_config import ModelConfig

from ...support.widths import WIDTHS

SMALL = ModelConfig(width_multiplier=0.5, labels=tuple("abcdefg"))
SPEC = PreprocessSpec((64, 64), 72)


class Ranks(TorchDispatchMode):
    """The rank of every tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made: Iterable[Any] = result if isinstance(result, (list, tuple)) else [result]
        self.seen |= {one.ndim for one in made if isinstance(one, Tensor)}
        return result


# ---- the same numbers ----


def in_double(model: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = copy.deepcopy(model).double()(x.double())
    return result


@pytest.mark.parametrize("variant", WIDTHS)
@torch.no_grad()
def test_export_form_equals_the_network(oracles: ModuleType, variant: str) -> None:
    """Judged in float64, and in float32, where another order of rounding is all that may differ."""
    plain = oracles.seeded(ModelConfig(width_multiplier=float(variant), labels=tuple("abcdefg")))
    x = oracles.pictures(3, 96)
    expected = in_double(plain, x)
    oracles.assert_varied(expected)
    single, many = export_form(plain, single_image=True), export_form(plain, single_image=False)
    assert oracles.gap(in_double(many, x), expected) < 5e-6
    assert oracles.gap(many(x), expected) < 1e-5
    assert oracles.gap(torch.cat([single(one[None]) for one in x]), expected) < 1e-5


@pytest.mark.parametrize(
    "changed",
    [
        {"output_stride": 8},
        {"patch_size": 1},
        {"patch_size": 4, "conv_kernel_size": 5},
        {"hidden_act": "gelu", "num_channels": 1},
        {"layer_norm_eps": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [128, (112, 160)])
@torch.no_grad()
def test_other_configurations_and_sizes(oracles: ModuleType, changed: dict[str, Any], size: Any) -> None:
    """In float64: BatchNorm's and GroupNorm's parts are folded, not approximated (the fold rounds once to float32)."""
    plain = oracles.seeded(replace(SMALL, **changed))
    x = oracles.pictures(1, size, plain.config.num_channels)
    expected = in_double(plain, x)
    for single_image in (True, False):
        assert oracles.gap(in_double(export_form(plain, single_image=single_image), x), expected) < 2e-6


@torch.no_grad()
def test_the_trained_checkpoint(oracles: ModuleType, photos: Path) -> None:
    """It has channels that died in training: variances near 0."""
    checkpoint = load_checkpoint("demo", "0.5")
    folded = export_form(checkpoint.model, single_image=True)
    for photo in sorted(photos.glob("*.jpg")):
        pixels = preprocess(photo, checkpoint.preprocess)
        x = torch.from_numpy(to_pixel_values(pixels, checkpoint.preprocess))
        assert oracles.gap(folded(x), checkpoint.model(x)) < 1e-5


# ---- the form ----


def test_nothing_is_left_to_fold(oracles: ModuleType) -> None:
    folded = export_form(oracles.seeded(SMALL), single_image=True)
    kinds = {type(module) for module in folded.modules()}
    assert nn.BatchNorm2d not in kinds and {ConvLayer, GlobalNorm, SeparableSelfAttention} <= kinds
    assert all(not list(module.parameters()) for module in folded.modules() if isinstance(module, GlobalNorm))
    assert not any(module.training for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.float32}


@pytest.mark.parametrize("training", [True, False])
def test_the_network_itself_stays_as_it_was(oracles: ModuleType, training: bool) -> None:
    plain, x = oracles.seeded(SMALL), oracles.pictures(2, 64)
    expected = plain(x)
    before, names = fingerprint(plain.state_dict()), [name for name, _ in plain.named_modules()]
    folded = export_form(plain.train(training), single_image=True)
    PixelContract(folded, replace(SPEC, channel_order="BGR"))
    assert fingerprint(plain.state_dict()) == before and [name for name, _ in plain.named_modules()] == names
    assert {module.training for module in plain.modules()} == {training}
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert torch.equal(plain.eval()(x), expected)


@pytest.mark.parametrize("size", [(128, 128), (112, 160)])
@torch.no_grad()
def test_a_single_image_makes_no_tensor_of_rank_5(oracles: ModuleType, size: tuple[int, int]) -> None:
    ranks = {}
    for single_image in (True, False):
        network = PixelContract(export_form(oracles.seeded(SMALL), single_image=single_image), SPEC)
        with Ranks() as watch:
            network(torch.zeros((1, *size, 3), dtype=torch.uint8))
        ranks[single_image] = watch.seen
    assert max(ranks[True]) == 4 and max(ranks[False]) == 5


# ---- the artifact contract ----


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("scale", [1 / 255, 1 / 128, 1.0])
@torch.no_grad()
def test_pixel_contract_equals_the_explicit_path(oracles: ModuleType, photos: Path, order: Any, scale: float) -> None:
    spec = replace(SPEC, channel_order=order, scale=scale)
    model = oracles.seeded(SMALL)
    contract = PixelContract(export_form(model, single_image=False), spec)
    pixels = np.stack([preprocess(photo, spec) for photo in sorted(photos.glob("*.jpg"))])
    scores = contract(torch.from_numpy(pixels))
    expected = model(torch.from_numpy(to_pixel_values(pixels, spec))).softmax(-1)
    assert scores.shape == (5, 7) and scores.dtype == torch.float32
    assert torch.allclose(scores.sum(1), torch.ones(5))
    assert oracles.gap(scores, expected) < 1e-5
    swapped = PixelContract(export_form(model, single_image=False), spec)(torch.from_numpy(pixels[..., ::-1].copy()))
    assert oracles.gap(swapped, expected) > 0.01  # else the order could not be seen


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_need_three_channels(oracles: ModuleType, channels: int) -> None:
    network = export_form(oracles.seeded(replace(SMALL, num_channels=channels)), single_image=True)
    with pytest.raises(ConversionError) as caught:
        PixelContract(network, SPEC)
    assert str(caught.value) == f"images have 3 channels, this network takes {channels}: use --io tensor."


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize(
    "normal", [IMAGENET, {"mean": (0.5,) * 3, "std": (0.5,) * 3}, {"std": (0.2, 0.3, 0.4)}], ids=str
)
@torch.no_grad()
def test_mean_and_standard_deviation_are_in_the_graph(oracles: ModuleType, order: Any, normal: dict[str, Any]) -> None:
    """Along the edges, too, where the stem reads padding: zeros after normalisation, not before."""
    spec = replace(SPEC, channel_order=order, **normal)
    plain = oracles.seeded(SMALL)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    by_hand = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
    values = by_hand[..., :: -1 if order == "BGR" else 1].transpose(0, 3, 1, 2)
    assert np.abs(to_pixel_values(pixels, spec) - values).max() < 1e-6
    expected = in_double(plain, torch.from_numpy(values.copy())).softmax(-1)
    contract = PixelContract(export_form(plain, single_image=False), spec)
    assert (contract(torch.from_numpy(pixels)) - expected).abs().max() < 1e-5
