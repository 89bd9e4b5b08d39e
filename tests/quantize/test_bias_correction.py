"""Bias correction: the means of an int8 network lie where the float network has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mvit2.checkpoint.load import load_checkpoint
from mvit2.export.convert.fold import export_form
from mvit2.metrics.fidelity import logit_snr
from mvit2.quantize.calibration import CalibrationSet, bundled_crops
from mvit2.quantize.learn.bias_correction import correct_biases, forget_biases
from mvit2.quantize.learn.ranges import measure_ranges
from mvit2.quantize.learn.search import make_plan, modes
from mvit2.quantize.learn.simulate import Simulation
from mvit2.quantize.plan import Range


@pytest.fixture(scope="module")
def pictures() -> CalibrationSet:
    return bundled_crops(load_checkpoint("demo", "0.5").preprocess)


def simulated() -> Simulation:
    checkpoint = load_checkpoint("demo", "0.5")
    made = Simulation(
        export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size),
        checkpoint.preprocess,
        as_image=True,
    )
    made.set_modes(modes())
    return made


@pytest.fixture(scope="module")
def ranges(pictures: CalibrationSet) -> Sequence[Range]:
    """Measured once: of the same network and pictures they are the same."""
    return measure_ranges(simulated(), pictures.fit)["percentile 99.97"]


@pytest.fixture
def simulation(ranges: Sequence[Range]) -> Simulation:
    made = simulated()
    made.set_ranges(made.points(), ranges)
    return made


def means_of(simulation: Simulation, pixels: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
    """Of every convolution: the mean over pictures and places of each channel, before rounding."""
    seen: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in simulation.layers if not layer.channels_last}
    for layer in simulation.layers:
        if layer.name in seen:
            layer.output.observer = lambda x, to=seen[layer.name]: to.append(x.mean((0, 2, 3)) * len(x))
    simulation.logits(pixels)
    for layer in simulation.layers:
        layer.output.observer = None
    return {name: sum(found, torch.zeros(())) / len(pixels) for name, found in seen.items()}


def test_it_wins_where_steps_are_wide(simulation: Simulation, pictures: CalibrationSet) -> None:
    simulation.set_ranges(simulation.points(), measure_ranges(simulation, pictures.fit)["min-max"])
    with simulation.in_float():
        reference = simulation.logits(pictures.held_out)
    before = logit_snr(reference, simulation.logits(pictures.held_out))
    correct_biases(simulation, pictures.fit)
    after = logit_snr(reference, simulation.logits(pictures.held_out))
    assert after > before + 1, (before, after)


def test_means_are_those_of_the_float_network(simulation: Simulation, pictures: CalibrationSet) -> None:
    with simulation.in_float():
        wanted = means_of(simulation, pictures.fit)

    def distance() -> float:
        found = means_of(simulation, pictures.fit)
        return sum(float((found[name] - mean).square().sum()) for name, mean in wanted.items())

    uncorrected = distance()
    correct_biases(simulation, pictures.fit)
    assert distance() < 0.2 * uncorrected


def test_the_float_network_keeps_its_biases(simulation: Simulation, pictures: CalibrationSet) -> None:
    with simulation.in_float():
        before = simulation.logits(pictures.held_out)
    correct_biases(simulation, pictures.fit)
    with simulation.in_float():
        np.testing.assert_array_equal(simulation.logits(pictures.held_out), before)


def test_plans_hold_what_was_added_until_it_is_forgotten(simulation: Simulation, pictures: CalibrationSet) -> None:
    plain = make_plan(simulation)
    correct_biases(simulation, pictures.fit[:8])
    corrected = make_plan(simulation)
    for layer, before, after in zip(simulation.layers, plain.layers, corrected.layers, strict=True):
        assert layer.correction is not None
        np.testing.assert_allclose(after.bias - before.bias, layer.correction.numpy(), atol=1e-5)
    forget_biases(simulation)
    for before, after in zip(plain.layers, make_plan(simulation).layers, strict=True):
        np.testing.assert_array_equal(after.bias, before.bias)


# ---- what learning ranges rests on ----


@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 1.5), (-0.28, 2.0), (-3.0, 0.5)])
def test_gradients_of_a_range_are_those_of_the_definition(lo: float, hi: float) -> None:
    """LSQ with both ends: clipped values pull at their end, the others at the step by their rounding error."""
    from mvit2.quantize.learn.fake_quant import _FakeQuantise

    x = torch.linspace(-4, 4, 997).reshape(1, -1, 1, 1).requires_grad_(True)
    ends = [torch.tensor(value, requires_grad=True) for value in (lo, hi)]
    weight = torch.linspace(0.3, 1.7, 997).reshape(1, -1, 1, 1)
    (_FakeQuantise.apply(x, *ends) * weight).sum().backward()

    covered, values, grad = Range(lo, hi), x.detach(), weight
    rounded = torch.fake_quantize_per_tensor_affine(values, covered.scale, covered.zero_point, -128, 127)
    inside = (values > lo) & (values < hi)
    step = ((rounded - values) * grad)[inside].sum() / (hi - lo)
    assert x.grad is not None and ends[0].grad is not None and ends[1].grad is not None
    torch.testing.assert_close(x.grad, torch.where(inside, grad, 0))
    torch.testing.assert_close(ends[0].grad, grad[values <= lo].sum() - step, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ends[1].grad, grad[values >= hi].sum() + step, rtol=1e-3, atol=1e-3)
