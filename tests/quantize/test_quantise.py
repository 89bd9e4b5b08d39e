"""int8 plans: learned in torch, written into TFLite, run by LiteRT."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.errors import ConversionError
from mvit2.export.convert.fold import export_form
from mvit2.export.steps.export_form import within_float16
from mvit2.export.steps.parity_inputs import parity_inputs
from mvit2.metrics.fidelity import agreement, centred_logits, logit_snr
from mvit2.network.blocks import block_of
from mvit2.quantize.calibration import CalibrationSet, bundled_crops
from mvit2.quantize.learn.ranges import METHODS, measure_ranges
from mvit2.quantize.learn.search import find_ranges, learning_steps, make_plan, modes
from mvit2.quantize.learn.sensitivity import BlockLoss, fewest_float_blocks, sensitivity
from mvit2.quantize.learn.simulate import Simulation
from mvit2.quantize.plan import Plan, Range, weight_scales
from mvit2.quantize.write.tflite import quantise_tflite
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.isolated import scores_apart
from mvit2.tflite_file import read_tflite, write_tflite


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """What the exported files compute: scaled to stay within float16."""
    given = load_checkpoint("demo", "0.5")
    return within_float16(given, parity_inputs(given.preprocess).pixels)


@pytest.fixture(scope="module")
def pictures(checkpoint: Checkpoint) -> CalibrationSet:
    return bundled_crops(checkpoint.preprocess)


@pytest.fixture(scope="module")
def simulation(checkpoint: Checkpoint, pictures: CalibrationSet) -> Simulation:
    made = Simulation(
        export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size),
        checkpoint.preprocess,
        as_image=True,
    )
    find_ranges(made, pictures, steps=4)
    return made


@pytest.fixture(scope="module")
def unlearned(checkpoint: Checkpoint, pictures: CalibrationSet) -> Simulation:
    """With the extremes of a few pictures for ranges, where it does not matter which; learned ones take long."""
    made = Simulation(
        export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size),
        checkpoint.preprocess,
        as_image=True,
    )
    made.set_modes(modes())
    made.set_ranges(made.points(), measure_ranges(made, pictures.fit[:2])["min-max"])
    return made


@pytest.fixture(scope="module")
def losses(simulation: Simulation, pictures: CalibrationSet) -> list[BlockLoss]:
    """Two runs of the simulation for each of 26 blocks."""
    return sensitivity(simulation, pictures.held_out)


@pytest.fixture(scope="module")
def float_file(demo_bundle: Path) -> Path:
    return demo_bundle / "model_float32.tflite"


def written(plan: Plan, float_file: Path, target: Path) -> Path:
    model = read_tflite(float_file)
    quantise_tflite(model, plan)
    write_tflite(model, target)
    return target


# ---- ranges and scales ----


@pytest.mark.parametrize(
    ("lo", "hi", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, -128),
        (-255.0, 0.0, 1.0, 127),
        (-128.0, 127.0, 1.0, 0),
        (3.0, 255.0, 1.0, -128),  # zero is always covered
        (-255.0, -3.0, 1.0, 127),
    ],
)
def test_ranges_hold_zero_exactly(lo: float, hi: float, scale: float, zero_point: int) -> None:
    assert (Range(lo, hi).scale, Range(lo, hi).zero_point) == (pytest.approx(scale), zero_point)


@pytest.mark.parametrize(("lo", "hi"), [(float("nan"), 1.0), (0.0, float("inf"))])
def test_a_range_that_is_no_number_is_the_models_fault(lo: float, hi: float) -> None:
    with pytest.raises(ConversionError, match="accepted: finite numbers; the float model is broken"):
        Range(lo, hi)


def test_dead_channels_keep_a_usable_scale() -> None:
    weight = np.stack([np.ones((4, 1, 1)), np.zeros((4, 1, 1)), np.full((4, 1, 1), 1e-20)]).astype(np.float32)
    assert weight_scales(weight).min() >= 1e-6 < 1e-3 * weight_scales(weight).max() * 1.01


@pytest.mark.heavy
def test_fake_rounding_is_torchs(simulation: Simulation) -> None:
    from mvit2.quantize.learn.fake_quant import rounded

    x, covered = torch.linspace(-3, 3, 1001), Range(-1.7, 2.2)
    expected = torch.fake_quantize_per_tensor_affine(x, covered.scale, covered.zero_point, -128, 127)
    torch.testing.assert_close(rounded(x, covered), expected, atol=1e-6, rtol=0)


# ---- the simulation ----


def test_without_rounding_it_is_the_network(checkpoint: Checkpoint, pictures: CalibrationSet) -> None:
    made = Simulation(
        export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size),
        checkpoint.preprocess,
        as_image=True,
    )
    from mvit2.image.preprocess import to_pixel_values

    with torch.no_grad():
        values = torch.from_numpy(to_pixel_values(pictures.held_out, checkpoint.preprocess))
        expected = checkpoint.model(values).numpy()
    np.testing.assert_allclose(made.logits(pictures.held_out), expected, atol=1e-4)


@pytest.mark.heavy
def test_its_layers_are_those_of_the_network(checkpoint: Checkpoint, simulation: Simulation) -> None:
    from torch import nn

    form = export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size)
    weighted = [m for m in form.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [tuple(layer.weight.shape[:2]) for layer in simulation.layers] == [
        tuple(m.weight.shape[:2]) for m in weighted
    ]


@pytest.mark.heavy
def test_it_foretells_the_file(
    simulation: Simulation, float_file: Path, pictures: CalibrationSet, tmp_path: Path
) -> None:
    """Rounding errors of a chain are chaotic, so the two differ by about as much as each differs from float."""
    file = written(make_plan(simulation), float_file, tmp_path / "int8.tflite")
    spec, pixels = simulation.spec, pictures.held_out
    exact = centred_logits(scores_apart(float_file, "image", spec, pixels))
    real = centred_logits(scores_apart(file, "image", spec, pixels))
    foretold = simulation.logits(pixels)
    assert abs(logit_snr(exact, real) - logit_snr(exact, foretold)) < 3
    assert logit_snr(real, foretold) > logit_snr(exact, real) - 1


@pytest.mark.heavy
def test_one_layer_is_exact(simulation: Simulation, float_file: Path, pictures: CalibrationSet, tmp_path: Path) -> None:
    """With the rest in float nothing is chaotic: the file computes what the simulation said."""
    block = "encoder.layer.3.downsampling_layer"
    blocks = {block_of(layer.name) for layer in simulation.layers}
    simulation.set_modes(modes(frozenset(blocks - {block})))
    foretold = simulation.logits(pictures.held_out)
    file = written(make_plan(simulation), float_file, tmp_path / "one.tflite")
    simulation.set_modes(modes())
    real = centred_logits(scores_apart(file, "image", simulation.spec, pictures.held_out))
    assert logit_snr(foretold, real) > 35


# ---- the search ----


def test_methods_order_as_their_names_say(unlearned: Simulation, pictures: CalibrationSet) -> None:
    ranges = measure_ranges(unlearned, pictures.fit[:8])
    assert list(ranges) == list(METHODS)
    widths = {name: sum(r.hi - r.lo for r in found) for name, found in ranges.items()}
    assert widths["percentile 99.97"] <= widths["percentile 99.99"] <= widths["min-max"]
    assert widths["least squares"] <= widths["min-max"]


@pytest.mark.heavy
def test_learning_wins_on_held_out_pictures(checkpoint: Checkpoint, pictures: CalibrationSet) -> None:
    made = Simulation(
        export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size),
        checkpoint.preprocess,
        as_image=True,
    )
    found = find_ranges(made, pictures, steps=30)
    learned = next(value for name, value in found.candidates.items() if name.endswith("learned"))
    assert learned > found.candidates["min-max"] + 2
    assert found.candidates[found.method] == max(found.candidates.values())


@pytest.mark.parametrize(("values", "steps"), [(1, 150), (128 * 128 * 16, 150), (256 * 256 * 32, 18), (10**9, 16)])
def test_large_networks_learn_for_fewer_steps(values: int, steps: int) -> None:
    assert learning_steps(values) == steps


@pytest.mark.heavy
def test_equalisation_changes_nothing_but_rounding(checkpoint: Checkpoint, float_file: Path, tmp_path: Path) -> None:
    """Gains on every convolution with SiLU: in high resolution (ranges aside) the function stays the same."""
    made = Simulation(
        export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size),
        checkpoint.preprocess,
        as_image=True,
    )
    pictures = bundled_crops(checkpoint.preprocess)
    exact = made.logits(pictures.held_out)
    made.set_modes(modes())
    for point, found in zip(made.points(), measure_ranges(made, pictures.fit)["percentile 99.99"], strict=True):
        point.set_range(found)
    rng = np.random.default_rng(0)
    for layer in made.layers:
        if layer.silu and not layer.channels_last:
            layer.gain = torch.from_numpy(rng.uniform(0.3, 1, len(layer.weight)).astype(np.float32))
    for point, found in zip(made.points(), measure_ranges(made, pictures.fit)["percentile 99.99"], strict=True):
        point.set_range(found)
    file = written(make_plan(made), float_file, tmp_path / "gains.tflite")
    real = centred_logits(scores_apart(file, "image", checkpoint.preprocess, pictures.held_out))
    assert logit_snr(exact, real) > 10  # a gain that is not taken back leaves less than 3
    facts = inspect_tflite(file)
    assert (facts.xnnpack_partitions, facts.not_delegated) == (1, ())


# ---- sensitivity ----


@pytest.mark.heavy
def test_float_blocks_cost_nothing(losses: list[BlockLoss], simulation: Simulation, pictures: CalibrationSet) -> None:
    assert {loss.block for loss in losses} == {block_of(layer.name) for layer in simulation.layers}
    assert [loss.alone_snr_db for loss in losses] == sorted(loss.alone_snr_db for loss in losses)
    whole = simulation.logits(pictures.held_out)
    simulation.set_modes(lambda name: "float")
    together = logit_snr(simulation.logits(pictures.held_out), whole)
    simulation.set_modes(modes())
    assert all(loss.alone_snr_db > together for loss in losses)


@pytest.mark.heavy
@pytest.mark.parametrize("target", [0.0, 0.95, 1.0])
def test_as_few_blocks_as_needed(
    target: float, losses: list[BlockLoss], simulation: Simulation, pictures: CalibrationSet
) -> None:
    order = [loss.block for loss in losses]
    simulation.set_modes(lambda name: "float")
    exact = simulation.logits(pictures.held_out)
    count = fewest_float_blocks(simulation, order, lambda logits: agreement(exact, logits) >= target, pictures.held_out)
    assert (count == 0) == (target == 0) or target == 0.95
    simulation.set_modes(modes(frozenset(order[:count])))
    assert agreement(exact, simulation.logits(pictures.held_out)) >= target
    simulation.set_modes(modes())


# ---- what may not break a file ----


@pytest.mark.heavy
@pytest.mark.parametrize("bias", [0.0, 3.0])
@pytest.mark.parametrize("dead", ["encoder.layer.0.layer.0.conv_3x3", "encoder.layer.2.transformer.layer.0.attention"])
def test_dead_branches_run(
    bias: float, dead: str, checkpoint: Checkpoint, pictures: CalibrationSet, float_file: Path, tmp_path: Path
) -> None:
    """Every weight of a layer zero, with a bias and without one: XNNPACK takes the file and its scores are numbers."""
    model = copy.deepcopy(checkpoint.model)
    for name, module in export_form(model, single_image=False).named_modules():
        if dead in name and isinstance(module, torch.nn.Conv2d):
            assert module.weight is not None
    form = export_form(model, single_image=False)
    for name, module in form.named_modules():
        if dead in name and isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()
            module.bias.fill_(bias)
    made = Simulation(form, checkpoint.preprocess, as_image=True)
    find_ranges(made, replace(pictures, fit=pictures.fit[:8], held_out=pictures.held_out[:4]), steps=0)
    file = written(make_plan(made), float_file, tmp_path / "dead.tflite")
    scores = scores_apart(file, "image", checkpoint.preprocess, pictures.held_out[:2])
    assert np.isfinite(scores).all() and scores.sum(-1) == pytest.approx([1, 1], abs=1e-5)
    assert inspect_tflite(file).xnnpack_partitions == 1


def test_a_model_that_holds_nan_is_refused(checkpoint: Checkpoint, pictures: CalibrationSet) -> None:
    form = export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size)
    form.mobilevitv2.conv_stem.convolution.weight[0, 0, 0, 0] = float("nan")
    made = Simulation(form, checkpoint.preprocess, as_image=True)
    with pytest.raises(ConversionError, match="accepted: finite numbers; the float model is broken"):
        find_ranges(made, pictures, steps=0)


@pytest.mark.parametrize("drop", [1, 60])
def test_another_networks_plan_is_refused(drop: int, unlearned: Simulation, float_file: Path, tmp_path: Path) -> None:
    plan = make_plan(unlearned)
    with pytest.raises(ConversionError, match="the graph holds 83 layers, the network"):
        written(Plan(plan.layers[drop:]), float_file, tmp_path / "wrong.tflite")


def test_an_aborting_process_is_one_line(checkpoint: Checkpoint, pictures: CalibrationSet, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"\0" * 64)
    with pytest.raises(
        ConversionError, match=r"^running broken\.tflite failed: its process (exited|was killed)"
    ) as caught:
        scores_apart(tmp_path / "broken.tflite", "image", checkpoint.preprocess, pictures.held_out[:1])
    assert "\n" not in str(caught.value)
