"""What int8 starts from: the images to calibrate on, and the simulated network with its ranges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvit2.errors import ConversionError
from mvit2.export.listener import Listener
from mvit2.export.request import ExportRequest
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.quantize.calibration import BUNDLED_ONLY, CalibrationSet, bundled_crops, calibration_images
from mvit2.quantize.plan import Plan

if TYPE_CHECKING:
    from mvit2.checkpoint.load import Checkpoint
    from mvit2.quantize.learn.search import RangeSearchResult
    from mvit2.quantize.learn.simulate import Simulation

__all__ = ["Simulated", "calibrate", "dynamic_plan", "simulate"]

_ACTIVATIONS = ("silu", "swish")


@dataclass(frozen=True)
class Simulated:
    """The network with the best int8 ranges that were found; ``plan`` is the one without blocks in float."""

    simulation: Simulation
    found: RangeSearchResult
    plan: Plan

    def plan_with_float(self, blocks: tuple[str, ...], images: CalibrationSet) -> Plan:
        """The same ranges, but ``blocks`` of the network in float and the biases corrected for that."""
        from mvit2.quantize.learn.search import plan_with_float

        return plan_with_float(self.simulation, frozenset(blocks), images.fit)


def calibrate(request: ExportRequest, spec: PreprocessSpec, listener: Listener) -> CalibrationSet:
    """The images that ``request`` names. Raises UsageError."""
    if request.calibration is None:
        listener.warn(BUNDLED_ONLY)
        return bundled_crops(spec, request.seed)
    return calibration_images(
        Path(request.calibration),
        spec,
        samples=request.calibration_samples,
        seed=request.seed,
        force=request.force,
        warn=listener.warn,
    )


def simulate(request: ExportRequest, checkpoint: Checkpoint, images: CalibrationSet, listener: Listener) -> Simulated:
    """The network with the best int8 ranges that the images give. Raises ConversionError."""
    from mvit2.quantize.learn.search import find_ranges, learning_steps, make_plan

    simulation, steps = _plain_simulation(request, checkpoint), request.learning_steps
    if steps is None:
        height, width = checkpoint.preprocess.image_size
        steps = learning_steps(height * width * checkpoint.config.stem_channels)
    found = find_ranges(simulation, images, steps=steps, step=listener.step)
    return Simulated(simulation, found, make_plan(simulation))


def dynamic_plan(request: ExportRequest, checkpoint: Checkpoint) -> Plan:
    """int8 weights, no ranges. Raises ConversionError."""
    from mvit2.quantize.learn.search import make_plan

    simulation = _plain_simulation(request, checkpoint)
    simulation.set_modes(lambda name: "dynamic")
    return make_plan(simulation)


def _plain_simulation(request: ExportRequest, checkpoint: Checkpoint) -> Simulation:
    """The network without ranges yet. Raises ConversionError: its activation is none that int8 knows."""
    from mvit2.export.convert.fold import export_form
    from mvit2.quantize.learn.simulate import Simulation

    if checkpoint.config.hidden_act not in _ACTIVATIONS:
        raise ConversionError(
            f"int8 knows networks with {' or '.join(_ACTIVATIONS)}, this one has {checkpoint.config.hidden_act}: "
            "add --quantize none or float16."
        )
    form = export_form(checkpoint.model, single_image=False, image_size=checkpoint.preprocess.image_size)
    return Simulation(form, checkpoint.preprocess, as_image=request.io == "image")
