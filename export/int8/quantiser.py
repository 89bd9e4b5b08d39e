"""The conductor's part for quantised artifacts: calibrate once; write each file, run it, compare it with float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import IO, Artifact, Engine, GraphFacts, Precision, record
from mvit2.bundle.measurements import Calibration, Fidelity, Quantisation
from mvit2.errors import CheckFailed
from mvit2.export.convert.onnx_facts import onnx_facts
from mvit2.export.convert.tflite_metadata import ModelCard, write_with_metadata
from mvit2.export.request import ExportRequest, Format
from mvit2.export.resolve import output_of
from mvit2.quantize.plan import Plan
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.engines.onnx_runtime import clips_sums
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.isolated import scores_apart
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.tasks.outputs import PROBABILITIES
from mvit2.runtime.timing import interleaved, paired_ratio
from mvit2.tflite_file import read_tflite

from .calibrate import calibrate, plain_simulation, simulate
from .fidelity import nearness
from .validation import AnyAccuracy, judges

__all__ = ["COLLAPSE", "Quantiser"]

COLLAPSE = 0.6  # top-1 agreement below which a quantised model of a trained network is no model any more
_RUNS = 20  # of each model, to compare their time
_ENGINES: Mapping[Format, Engine] = {"tflite": "litert", "onnx": "onnxruntime"}


class Quantiser:
    """Writes the quantised artifacts of one bundle.

    Args:
        card: what the files say of themselves.
        float_files: format -> the float32 model to start from.
    """

    def __init__(
        self,
        request: ExportRequest,
        checkpoint: Any,
        card: ModelCard,
        listener: Any,
        float_files: Mapping[Format, Path],
    ) -> None:
        self.request, self.checkpoint, self.card, self.listener = request, checkpoint, card, listener
        self.spec, self.float_files, self.output = card.preprocess, float_files, output_of(request, checkpoint)
        self.calibration: Calibration | None = None
        self.corrected_for: tuple[str, ...] | None = ()  # the float blocks for which the simulation's biases are right
        self.float_outputs: dict[Format, NDArray[Any]] = {}
        self.float_accuracies: dict[Format, AnyAccuracy | None] = {}
        self.wanted = [(f, q) for f in float_files for q in request.quantised(f) if q != "float16"]

    def read(self) -> None:
        """The pictures, before anything is converted. Raises UsageError."""
        if self.wanted:
            with self.listener.step("int8: read the calibration pictures"):
                self.set = calibrate(self.request, self.spec, self.listener)
                self.calibration = self.set.record
                self.judges = judges(self.request, self.checkpoint, self.set, self.listener.warn)

    def write(self) -> list[Artifact]:
        """After ``read``. Raises CheckFailed: collapsed, or --min-agreement or --max-drop is out of reach."""
        if any(precision == "int8" for _, precision in self.wanted):
            self.simulation, self.found = simulate(self.request, self.checkpoint, self.set, self.listener)
        artifacts = []
        for format, precision in self.wanted:
            file = self.float_files[format].with_name(f"model_{precision.replace('-', '_')}.{format}")
            artifacts.append(self._artifact(file, format, precision))
        return artifacts

    def as_ort(self, artifact: Artifact, folder: Path, graphs: Mapping[str, GraphFacts]) -> Artifact:
        """An ONNX artifact as the .ort file in ``folder`` that was made of it. Raises CheckFailed: collapsed."""
        assert artifact.quantisation is not None
        file = folder / Path(artifact.file.path).with_suffix(".ort")
        scores = self._scores(self.runs_as(file))
        fidelity = self._fidelity("onnx", scores)
        self._refuse_collapse(file, fidelity)
        quantisation = replace(artifact.quantisation, fidelity=fidelity)
        return replace(artifact, file=record(folder, file.name), graph=graphs[file.name], quantisation=quantisation)

    def runs_as(self, file: Path) -> Path:
        """The file itself; of an .ort the ONNX model on a CPU that would clip its sums, since phones do not."""
        return self.float_files["onnx"].with_name(f"{file.stem}.onnx") if clips_sums(file) else file

    def _scores(self, file: Path) -> NDArray[Any]:
        return scores_apart(file, self.request.io, self.spec, self.judges.pixels, self.output)

    def _float_scores(self, format: Format) -> NDArray[Any]:
        if format not in self.float_outputs:
            self.float_outputs[format] = self._scores(self.float_files[format])
        return self.float_outputs[format]

    def _artifact(self, file: Path, format: Format, precision: Precision) -> Artifact:
        with self.listener.step(f"{file.name}: write, run on {len(self.judges.pixels)} pictures"):
            blocks: tuple[str, ...] = ()
            fidelity = self._written(file, format, precision, blocks)
            if precision == "int8" and not self._reached(fidelity):
                blocks, fidelity = self._fall_back(file, format, fidelity)
        from mvit2.quantize.write.tflite_ranges import DEFAULT_METHOD

        self._refuse_collapse(file, fidelity)
        backend = open_model(file)
        graph = inspect_tflite(file) if format == "tflite" else onnx_facts(file)
        method = self.found.method if precision == "int8" else "none" if precision == "dynamic" else DEFAULT_METHOD
        candidates = self.found.candidates if precision == "int8" else {}
        quantisation = Quantisation(method, blocks, candidates, fidelity)
        entry = record(file.parent, file.name)
        return Artifact(entry, _ENGINES[format], precision, backend.input, backend.output, graph, None, quantisation)

    def _written(self, file: Path, format: Format, precision: Precision, blocks: tuple[str, ...]) -> Fidelity:
        self._write(file, format, precision, blocks)
        return self._fidelity(format, self._scores(file))

    def _write(self, file: Path, format: Format, precision: Precision, blocks: tuple[str, ...]) -> None:
        source = self.float_files[format]
        if format == "onnx":
            import onnx

            from mvit2.quantize.write.onnx_qdq import quantise_onnx

            model = quantise_onnx(onnx.load(source), self._plan(precision, blocks), self.spec.scale)
            file.write_bytes(model.SerializeToString(deterministic=True))
            return
        model = read_tflite(source)
        if precision == "full-int8":
            from mvit2.quantize.write.tflite_full_int8 import quantise_fully
            from mvit2.quantize.write.tflite_ranges import tensor_ranges

            quantise_fully(model, tensor_ranges(source, self.set.fit))
        else:
            from mvit2.quantize.write.tflite import quantise_tflite

            quantise_tflite(model, self._plan(precision, blocks))
        write_with_metadata(model, file, self.card)

    def _plan(self, precision: Precision, blocks: tuple[str, ...]) -> Plan:
        from mvit2.quantize.learn.bias_correction import correct_biases
        from mvit2.quantize.learn.search import make_plan, modes

        if precision == "dynamic":  # needs no ranges
            simulation = plain_simulation(self.request, self.checkpoint)
            simulation.set_modes(lambda name: "dynamic")
            return make_plan(simulation)
        if blocks != self.corrected_for:
            self.simulation.set_modes(modes(frozenset(blocks)))
            correct_biases(self.simulation, self.set.fit)
            self.corrected_for = blocks
        return make_plan(self.simulation)

    def _fidelity(self, format: Format, scores: NDArray[Any]) -> Fidelity:
        """``scores`` beside those of the format's float32 file."""
        reference, judges = self._float_scores(format), self.judges
        if format not in self.float_accuracies:  # of masks it takes a second for a hundred pictures
            self.float_accuracies[format] = judges.accuracy(reference)
        both = self.float_accuracies[format], judges.accuracy(scores)
        return Fidelity(judges.source, len(scores), *nearness(self.output.name, reference, scores), *both)

    def _reached(self, fidelity: Fidelity) -> bool:
        request = self.request
        if request.min_agreement is not None and fidelity.agreement < request.min_agreement:
            return False
        if request.max_drop is None or fidelity.accuracy is None or fidelity.float_accuracy is None:
            return True
        return fidelity.accuracy.points_below(fidelity.float_accuracy) <= request.max_drop

    def _fall_back(self, file: Path, format: Format, fidelity: Fidelity) -> tuple[tuple[str, ...], Fidelity]:
        """Blocks become float, the most sensitive first, until the written file reaches the target."""
        from mvit2.quantize.learn.sensitivity import fewest_float_blocks, sensitivity

        trade = [self._trade(file, format, 0, fidelity)]
        order = [loss.block for loss in sensitivity(self.simulation, self.set.held_out)]

        def good(logits: NDArray[np.float32]) -> bool:
            return self._reached(self._fidelity(format, self.output.of_logits(logits, self.spec.image_size)))

        foretold = fewest_float_blocks(self.simulation, order, good, self.judges.pixels)
        self.corrected_for = None  # other blocks than those of the last correction
        for count in range(1, len(order)):
            if count < min(foretold, len(order) - 1) and not _is_power_of_two(count):
                continue  # the table shows the way there in few steps
            blocks = tuple(order[:count])
            fidelity = self._written(file, format, "int8", blocks)
            trade.append(self._trade(file, format, count, fidelity))
            if self._reached(fidelity):
                break
        columns = ("blocks in float", self.checkpoint.task.same, self.checkpoint.task.metric, "size", "time / float32")
        self.listener.table(f"{file.name}: what the target costs", columns, trade)
        if not self._reached(fidelity):
            raise CheckFailed(
                f"{file.name} does not reach the target with all but one of its {len(order)} blocks in float; lower "
                "--min-agreement, raise --max-drop, or give more --calibration pictures. No bundle was written."
            )
        return blocks, fidelity

    def _trade(self, file: Path, format: Format, blocks: int, fidelity: Fidelity) -> tuple[str, ...]:
        first = "-" if fidelity.accuracy is None else f"{fidelity.accuracy.share:.1%}"
        time = _relative_time(file, self.float_files[format], self.request.io, self.spec, self.judges.pixels[:1])
        return str(blocks), f"{fidelity.agreement:.1%}", first, f"{file.stat().st_size / 1e6:.1f} MB", f"{time:.2f}"

    def _refuse_collapse(self, file: Path, fidelity: Fidelity) -> None:
        if fidelity.agreement >= COLLAPSE:
            return
        pixels = "" if self.output is PROBABILITIES else ", by pixels,"
        said = (
            f"{file.name} agrees with float32 on {fidelity.agreement:.1%} of {fidelity.images} pictures{pixels} "
            f"({fidelity.source}), accepted: {COLLAPSE:.0%} or more"
        )
        if self.request.force or self.checkpoint.name == "untrained":
            self.listener.warn(f"{said}.")
            return
        raise CheckFailed(f"{said}; choose another --quantize or --calibration, or --force. No bundle was written.")


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _relative_time(file: Path, reference: Path, io: IO, spec: Any, pixels: NDArray[np.uint8]) -> float:
    """Of one inference on one thread, ``file`` against ``reference``."""
    models = {path: open_model(path, threads=1) for path in (file, reference)}
    work = {path.name: partial(scores_of, model, io, spec, pixels) for path, model in models.items()}
    seconds = interleaved(work, runs=_RUNS)
    return paired_ratio(seconds[file.name], seconds[reference.name])
