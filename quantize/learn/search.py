"""From calibration images to a plan, each step kept only where it wins on held-out images.

1. Ranges: the best of the methods of quantize/learn/ranges.py.
2. Equalisation: the convolutions that make most of the error for their size get a gain per channel. SiLU does not
   commute with a gain, so it becomes x' * sigmoid(gain * x') with x' = x / gain, and the layer after it takes the gain
   back. One outlier channel then no longer sets the step of all others.
3. Learning: the ends of all ranges follow the gradient of the logits' error (LSQ, arXiv 1902.08153).
4. Bias correction: whatever shift of the means is left is taken back (quantize/learn/bias_correction.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvit2.metrics.fidelity import logit_snr
from mvit2.network.blocks import block_of
from mvit2.quantize.calibration import CalibrationSet
from mvit2.quantize.plan import LayerPlan, Mode, Plan, Range, weight_scales

from .bias_correction import correct_biases, forget_biases
from .ranges import measure_ranges
from .simulate import GATE, Layer, Simulation

__all__ = ["RangeSearchResult", "find_ranges", "learning_steps", "make_plan", "modes", "plan_with_float"]

_FLOAT_OUTPUTS = ("classifier", "aspp.pooled", "aspp.context")
Step = Callable[[str], AbstractContextManager[None]]
# A gain costs a second run of the layer and SiLU in two steps: about 0.3 ns per value where it was tried.
_BUDGET = 0.16  # of all values that pass through SiLU between convolutions
_MIN_ERROR_SHARE = 0.15  # of the network's error: what a layer must make alone to be a candidate
_FEWEST_DB = 0.3  # that equalisation must win, for it costs time
_SMALLEST_GAIN = 1 / 64
_LOOKED_AT = 8  # images, to find such layers
_VALIDATION_IMAGES = 32  # images, to choose between candidates
_GAIN_QUANTILE = 0.9  # quantile over images of a channel's largest value
_BATCH, _PART, _RATE = 8, 2, 0.04  # images of a step, and those of them that are in memory together
_SMALL = 128 * 128 * 16  # width 0.5 at 128 px
_FEWEST_STEPS, _MOST_STEPS = 16, 150


def learning_steps(values: int) -> int:
    """How many fit into a minute or two, for a first map of so many values (pixels * channels)."""
    return int(np.clip(_MOST_STEPS * _SMALL // values, _FEWEST_STEPS, _MOST_STEPS))


@dataclass(frozen=True)
class RangeSearchResult:
    """``candidates``: method -> logit SNR in dB on the held-out images; ``method`` is the one in use."""

    method: str
    candidates: Mapping[str, float]


def modes(float_blocks: frozenset[str] = frozenset()) -> Callable[[str], Mode]:
    """The recipe: int8, but for named blocks; outputs of the last layer and of vectors stay float, at no cost."""

    def mode(layer: str) -> Mode:
        if block_of(layer) in float_blocks:
            return "float"
        return "dynamic" if layer.endswith(_FLOAT_OUTPUTS) else "int8"

    return mode


def find_ranges(
    simulation: Simulation,
    calibration: CalibrationSet,
    *,
    steps: int,
    step: Step = lambda title: nullcontext(),
) -> RangeSearchResult:
    """Leaves ``simulation`` in the recipe's modes with the best ranges that were found."""
    with simulation.in_float():
        targets = simulation.logits(calibration.fit)
        reference = simulation.logits(calibration.held_out)
    simulation.set_modes(modes())
    search = _Search(simulation, calibration, reference)
    with step(f"int8: measure ranges on {len(calibration.fit)} images"):
        search.measure()
    with step("int8: equalise outlier channels"):
        search.equalise()
    if steps:
        with step(f"int8: learn ranges ({steps} steps)"):
            search.learn(targets, steps)
    with step("int8: correct biases"):
        correct_biases(simulation, calibration.fit)
    return RangeSearchResult(search.method, {name: round(value, 2) for name, value in search.candidates.items()})


class _Search:
    """The state of ``simulation`` with its name, ``method``, and what every state that was tried reached."""

    def __init__(self, simulation: Simulation, calibration: CalibrationSet, reference: NDArray[np.float32]) -> None:
        self.simulation, self.calibration, self.reference = simulation, calibration, reference
        self.candidates: dict[str, float] = {}
        self.method = ""

    def judge(self, name: str) -> float:
        """In dB, with biases corrected as they will be: ranges that only shift means are not bad ones."""
        correct_biases(self.simulation, self.calibration.fit[:_VALIDATION_IMAGES])
        logits = self.simulation.logits(self.calibration.held_out[:_VALIDATION_IMAGES])
        self.candidates[name] = logit_snr(self.reference[:_VALIDATION_IMAGES], logits)
        forget_biases(self.simulation)
        return self.candidates[name]

    def measure(self) -> None:
        points = self.simulation.points()
        measured = measure_ranges(self.simulation, self.calibration.fit)
        for name, ranges in measured.items():
            self.simulation.set_ranges(points, ranges)
            self.judge(name)
        self.method = max(self.candidates, key=self.candidates.__getitem__)
        self.simulation.set_ranges(points, measured[self.method])

    def equalise(self) -> None:
        looked_at = self.calibration.held_out[:_LOOKED_AT]
        outliers = _dominating(self.simulation, looked_at, self.reference[:_LOOKED_AT])
        if not outliers:
            return
        changed = [point for layer in outliers for point in (layer.output, layer.activated)]
        before, name = [point.range for point in changed], f"{self.method}, equalised"
        for layer in outliers:
            layer.gain = _gain(self.simulation, layer, self.calibration.fit)
        self.simulation.set_ranges(changed, measure_ranges(self.simulation, self.calibration.fit, changed)[self.method])
        if self.judge(name) > self.candidates[self.method] + _FEWEST_DB:
            self.method = name
            return
        for layer in outliers:
            layer.gain = None
        self.simulation.set_ranges(changed, before)

    def learn(self, targets: NDArray[np.float32], steps: int) -> None:
        points, name = self.simulation.points(), f"{self.method}, learned"
        best = [point.range for point in points]
        _learn(self.simulation, self.calibration.fit, targets, steps)
        if self.judge(name) > self.candidates[self.method]:
            self.method, best = name, [point.range for point in points]
        self.simulation.set_ranges(points, best)


def _dominating(simulation: Simulation, pixels: NDArray[np.uint8], reference: NDArray[np.float32]) -> list[Layer]:
    """The layers whose own error is worth a gain, the worst first, as many as the budget of values allows."""
    total = float(np.square(simulation.logits(pixels) - reference).sum())
    sizes = _sizes(simulation, pixels[:1])
    shares: dict[Layer, float] = {}
    for layer in sizes:
        with _only(simulation, layer):
            share = float(np.square(simulation.logits(pixels) - reference).sum()) / total
        if share > _MIN_ERROR_SHARE:
            shares[layer] = share
    budget, found = _BUDGET * sum(sizes.values()), []
    for layer in sorted(shares, key=shares.__getitem__, reverse=True):
        if sizes[layer] <= budget:
            budget -= sizes[layer]
            found.append(layer)
    return found


def _sizes(simulation: Simulation, pixels: NDArray[np.uint8]) -> dict[Layer, int]:
    """Layers that can take a gain -> values in their output."""
    sizes: dict[Layer, int] = {}
    candidates = [layer for layer in simulation.layers if layer.takes_gain]
    for layer in candidates:
        layer.output.observer = lambda x, layer=layer: sizes.__setitem__(layer, x.numel())
    simulation.logits(pixels)
    for layer in candidates:
        layer.output.observer = None
    return sizes


@contextmanager
def _only(simulation: Simulation, layer: Layer) -> Iterator[None]:
    simulation.set_modes(lambda name: "int8" if name == layer.name else "float")
    try:
        yield
    finally:
        simulation.set_modes(modes())


def _gain(simulation: Simulation, layer: Layer, pixels: NDArray[np.uint8]) -> Tensor:
    """[channels], at most 1: how far each channel reaches, before and after SiLU."""
    largest: dict[str, list[Tensor]] = {"output": [], "activated": []}
    for name, seen in largest.items():
        getattr(layer, name).observer = lambda x, seen=seen: seen.append(x.abs().amax((2, 3)))
    simulation.set_modes(lambda name: "float")
    simulation.logits(pixels)
    simulation.set_modes(modes())
    layer.output.observer = layer.activated.observer = None
    reach = [torch.quantile(torch.cat(seen), _GAIN_QUANTILE, dim=0) for seen in largest.values()]
    shares = [torch.clamp(r / r.max(), min=_SMALLEST_GAIN) for r in reach]
    gain = torch.sqrt(shares[0] * shares[1])
    return gain / gain.max()


def _learn(simulation: Simulation, pixels: NDArray[np.uint8], targets: NDArray[np.float32], steps: int) -> None:
    """Adam on the logarithms of the ranges' ends; the same order of images every time."""
    ends = [end for point in simulation.points() for end in (point.below, point.above)]
    for end in ends:
        end.requires_grad_(True)
    optimiser = torch.optim.Adam(ends, lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng, order = np.random.default_rng(0), np.array([], np.int64)
    for _ in range(steps):
        if len(order) < _BATCH:
            order = np.concatenate([order, rng.permutation(len(pixels))])
        batch, order = order[:_BATCH], order[_BATCH:]
        optimiser.zero_grad()
        for part in np.split(batch, range(_PART, len(batch), _PART)):
            error = simulation.run(pixels[part]) - torch.from_numpy(targets[part])
            torch.autograd.backward(error.square().sum() / float(np.square(targets[batch]).sum()))
        optimiser.step()
        schedule.step()
    for end in ends:
        end.requires_grad_(False)


def make_plan(simulation: Simulation) -> Plan:
    """What ``simulation`` is now, as numbers."""
    return Plan(tuple(_layer_plan(layer) for layer in simulation.layers))


def plan_with_float(simulation: Simulation, blocks: frozenset[str], pixels: NDArray[np.uint8]) -> Plan:
    """With ``blocks`` in float and biases corrected for that on ``pixels``; ``simulation`` is left as it was."""
    before = [(layer, layer.mode, layer.correction) for layer in simulation.layers]
    simulation.set_modes(modes(blocks))
    try:
        correct_biases(simulation, pixels)
        return make_plan(simulation)
    finally:
        for layer, mode, correction in before:
            layer.mode, layer.correction = mode, correction


def _layer_plan(layer: Layer) -> LayerPlan:
    weight, bias = layer.weight.numpy(), layer.used_bias.numpy()
    if layer.inverse_gain is not None:
        weight = weight * layer.inverse_gain.numpy()
    gain = layer.gain.numpy() if layer.gain is not None and layer.mode == "int8" else None
    if gain is not None:
        weight, bias = weight / gain[:, None, None, None], bias / gain
    covered = _source(layer)
    plan = LayerPlan(
        layer.name,
        layer.mode,
        np.ascontiguousarray(weight),
        weight_scales(weight),
        bias,
        input=covered,
        output=layer.output.range,
        activated=layer.activated.range if layer.silu else None,
        gain=gain,
        gained=None if gain is None else GATE,
        added=layer.added.range if layer.skip is not None else None,
    )
    return plan if layer.mode == "float" else _steady(plan, covered)


def _source(layer: Layer) -> Range:
    """The range of the layer's input, wherever it is set."""
    before = layer.chain
    return layer.input.range if before is None or not before.writes_int8 else before.last.range


def _steady(plan: LayerPlan, source: Range) -> LayerPlan:
    """Keep scales of dead channels and tensors where the kernels' 32-bit arithmetic can follow.

    A layer multiplies by source * weight / output: XNNPACK wants 2^-32 to 2^8. A bias is counted in source * weight.
    """
    assert plan.output is not None
    least = np.maximum(np.abs(plan.bias) * 2.0**-30, plan.output.scale * 2.0**-24) / source.scale
    scale = np.maximum(plan.weight_scale, least).astype(np.float32)
    coarse = source.scale * float(scale.max()) / 128
    output = plan.output
    if output.scale < coarse:
        factor = coarse / output.scale
        output = Range(output.lo * factor, output.hi * factor)
    return replace(plan, weight_scale=scale, output=output)
