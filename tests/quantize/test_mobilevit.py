"""int8 of the first MobileViT: attention between patches stays float, what stands around it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.export.convert.fold import export_form
from mvit2.image.preprocess import to_pixel_values
from mvit2.quantize.learn.simulate import Layer, Simulation

EDGE = 64
LAYER = "encoder.layer.2.transformer.layer.0"


@pytest.fixture(scope="module", params=["classify", "segment"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return load_checkpoint("untrained", "xx-small", task=request.param)


@pytest.fixture(scope="module")
def simulation(checkpoint: Checkpoint) -> Simulation:
    form = export_form(checkpoint.model, single_image=False, image_size=(EDGE, EDGE))
    return Simulation(form, checkpoint.preprocess, as_image=True)


def called(layers: Sequence[Layer], name: str) -> Layer:
    (found,) = (layer for layer in layers if layer.name == name)
    return found


def test_without_rounding_it_is_the_network(checkpoint: Checkpoint, simulation: Simulation) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, EDGE, EDGE, 3), np.uint8, endpoint=True)
    with torch.no_grad():
        values = torch.from_numpy(to_pixel_values(pixels, checkpoint.preprocess))
        expected = checkpoint.model(values).movedim(1, -1).numpy()
    np.testing.assert_allclose(simulation.logits(pixels), expected, atol=1e-4 * float(np.ptp(expected)))


def test_its_layers_are_those_of_the_network(checkpoint: Checkpoint, simulation: Simulation) -> None:
    form = export_form(checkpoint.model, single_image=False, image_size=(EDGE, EDGE))
    weighted = [m for m in form.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    shapes = [tuple(layer.weight.shape[:2]) for layer in simulation.layers]
    assert shapes == [tuple(m.weight.shape[:2]) for m in weighted]
    assert sum(layer.channels_last for layer in simulation.layers if ".transformer." in layer.name) == 9 * 6


@pytest.mark.parametrize(
    ("layer", "reads", "silu"),
    [
        ("conv_stem", None, True),
        ("encoder.layer.1.layer.1.expand_1x1", "encoder.layer.1.layer.0.reduce_1x1", True),
        ("encoder.layer.2.conv_1x1", "encoder.layer.2.conv_kxk", False),
        (f"{LAYER}.attention.attention.query", None, False),
        (f"{LAYER}.attention.attention.key", None, False),
        (f"{LAYER}.attention.attention.value", None, False),
        (f"{LAYER}.attention.output.dense", None, False),
        (f"{LAYER}.intermediate.dense", None, True),
        (f"{LAYER}.output.dense", f"{LAYER}.intermediate.dense", False),
        ("encoder.layer.2.conv_projection", None, True),
        ("encoder.layer.2.fusion", None, True),
        ("encoder.layer.3.downsampling_layer.expand_1x1", "encoder.layer.2.fusion", True),
    ],
)
def test_what_a_layer_reads(layer: str, reads: str | None, silu: bool, simulation: Simulation) -> None:
    """None: what is computed in float, or joined in float, and so has to be made int8 first."""
    found = called(simulation.layers, layer)
    assert (found.chain and found.chain.name, found.silu) == (reads, silu)


@pytest.mark.parametrize(
    ("layer", "takes"),
    [
        ("conv_stem", False),  # its map is added to that of the first block, too
        ("encoder.layer.0.layer.0.expand_1x1", True),
        ("encoder.layer.2.conv_kxk", True),
        ("encoder.layer.2.conv_1x1", False),  # no SiLU
        (f"{LAYER}.intermediate.dense", False),  # no convolution
        ("encoder.layer.2.conv_projection", False),  # joined in float
        ("encoder.layer.3.fusion", True),
    ],
)
def test_who_can_be_given_a_gain(layer: str, takes: bool, simulation: Simulation) -> None:
    """Whose output one layer alone reads: that one takes the gain back."""
    assert called(simulation.layers, layer).takes_gain == takes


@pytest.mark.parametrize("layer", ["conv_1x1_exp", "segmentation_head.aspp.convs.0", "segmentation_head.aspp.convs.3"])
def test_a_head_reads_the_last_fusion(layer: str, simulation: Simulation) -> None:
    chains = [found.chain for found in simulation.layers if found.name == layer]
    assert all(chain is not None and chain.name == "encoder.layer.4.fusion" for chain in chains)
    assert bool(chains) == (layer.startswith("segmentation") == (simulation.layers[-1].name != "classifier"))
