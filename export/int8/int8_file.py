"""One int8 file: written, run, and written again with more blocks in float until it reaches the request's target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.files import bytes_of_model
from mvit2.bundle.manifest import IO
from mvit2.bundle.measurements import Fidelity
from mvit2.errors import CheckFailed
from mvit2.export.listener import Listener
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import output_of
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.quantize.calibration import CalibrationSet
from mvit2.quantize.plan import Plan
from mvit2.runtime.engines.backend import Array
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.timing import interleaved, paired_ratio

from .calibrate import Simulated
from .validation import FloatReference

if TYPE_CHECKING:
    from mvit2.checkpoint.load import Checkpoint

__all__ = ["Attempt", "Int8File"]

_RUNS = 20  # of each model, to compare their time


@dataclass(frozen=True)
class Attempt:
    """The file as it was written and run, with ``float_blocks`` of the network in float."""

    float_blocks: tuple[str, ...]
    fidelity: Fidelity


@dataclass(frozen=True)
class Int8File:
    """How one int8 file is made.

    Attributes:
        file: where it goes.
        write: make it compute as a plan says.
        scores: run it on the validation images -> [N, ...].
        reference: the float32 file of the same format.
        images: on which biases are corrected, and blocks are ordered by what they lose.
    """

    request: ExportRequest
    checkpoint: Checkpoint
    listener: Listener
    file: Path
    write: Callable[[Plan], None]
    scores: Callable[[], Array]
    reference: FloatReference
    images: CalibrationSet

    def written(self, simulated: Simulated) -> Attempt:
        """Raises CheckFailed where the target is out of reach."""
        first = self._attempt(simulated, ())
        return first if self._reached(first.fidelity) else self._fall_back(simulated, first)

    def _attempt(self, simulated: Simulated, blocks: tuple[str, ...]) -> Attempt:
        self.write(simulated.plan_with_float(blocks, self.images) if blocks else simulated.plan)
        return Attempt(blocks, self.reference.fidelity(self.scores()))

    def _reached(self, fidelity: Fidelity) -> bool:
        request = self.request
        if request.min_agreement is not None and fidelity.agreement < request.min_agreement:
            return False
        if request.max_drop is None or fidelity.accuracy is None or fidelity.float_accuracy is None:
            return True
        return fidelity.accuracy.points_below(fidelity.float_accuracy) <= request.max_drop

    def _fall_back(self, simulated: Simulated, first: Attempt) -> Attempt:
        """Blocks become float, the most sensitive first, until the written file reaches the target."""
        from mvit2.quantize.learn.sensitivity import sensitivity

        attempt, trade = first, [self._trade(first)]
        order = [loss.block for loss in sensitivity(simulated.simulation, self.images.held_out)]
        foretold = self._foretold(simulated, order)
        for count in range(1, len(order)):
            if count < min(foretold, len(order) - 1) and not _is_power_of_two(count):
                continue  # the table shows the way there in few steps
            attempt = self._attempt(simulated, tuple(order[:count]))
            trade.append(self._trade(attempt))
            if self._reached(attempt.fidelity):
                break
        columns = ("blocks in float", self.checkpoint.task.same, self.checkpoint.task.metric, "size", "time / float32")
        self.listener.table(f"{self.file.name}: what the target costs", columns, trade)
        if not self._reached(attempt.fidelity):
            raise CheckFailed(
                f"{self.file.name} does not reach the target with all but one of its {len(order)} blocks in float; "
                "lower --min-agreement, raise --max-drop, or give more --calibration images. No bundle was written."
            )
        return attempt

    def _foretold(self, simulated: Simulated, order: list[str]) -> int:
        """How many blocks of ``order`` must be float for the simulation to reach the target."""
        from mvit2.quantize.learn.sensitivity import fewest_float_blocks

        output, size = output_of(self.request, self.checkpoint), self.checkpoint.preprocess.image_size

        def good(logits: NDArray[np.float32]) -> bool:
            return self._reached(self.reference.fidelity(output.of_logits(logits, size)))

        return fewest_float_blocks(simulated.simulation, order, good, self.reference.images.pixels)

    def _trade(self, attempt: Attempt) -> tuple[str, ...]:
        fidelity, size = attempt.fidelity, f"{bytes_of_model(self.file) / 1e6:.1f} MB"
        first = "-" if fidelity.accuracy is None else f"{fidelity.accuracy.share:.1%}"
        image = self.reference.images.pixels[:1]
        time = _relative_time(self.file, self.reference.file, self.request.io, self.checkpoint.preprocess, image)
        return str(len(attempt.float_blocks)), f"{fidelity.agreement:.1%}", first, size, f"{time:.2f}"


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _relative_time(file: Path, reference: Path, io: IO, spec: PreprocessSpec, pixels: NDArray[np.uint8]) -> float:
    """Of one inference on one thread, ``file`` against ``reference``."""
    models = {path: open_model(path, threads=1) for path in (file, reference)}
    work = {path.name: partial(scores_of, model, io, spec, pixels) for path, model in models.items()}
    seconds = interleaved(work, runs=_RUNS)
    return paired_ratio(seconds[file.name], seconds[reference.name])
