"""The conductor's part for quantised artifacts: calibrate once; write each file, run it, compare it with float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mvit2.bundle.files import record_model
from mvit2.bundle.manifest import Artifact, GraphFacts, Precision
from mvit2.bundle.measurements import Fidelity, Quantisation
from mvit2.errors import CheckFailed
from mvit2.export.artifact import artifact_of
from mvit2.export.convert.tflite_metadata import ModelCard
from mvit2.export.formats import FORMATS, FormatName, format_of
from mvit2.export.listener import Listener
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import output_of
from mvit2.quantize.calibration import CalibrationSet
from mvit2.runtime.engines.backend import Array
from mvit2.runtime.engines.onnx_runtime import clips_sums
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.isolated import scores_apart
from mvit2.runtime.tasks.outputs import PROBABILITIES, Output

from .calibrate import Simulated, calibrate, dynamic_plan, simulate
from .int8_file import Int8File
from .validation import FloatReference, ValidationImages, validation_images

if TYPE_CHECKING:
    from mvit2.checkpoint.load import Checkpoint

__all__ = ["COLLAPSE", "Calibrated", "Quantised", "Quantiser"]

COLLAPSE = 0.6  # top-1 agreement below which a quantised model of a trained network is no model any more


@dataclass(frozen=True)
class Calibrated:
    """The images that int8 ranges are learned on, and those on which the quantised files are compared with float."""

    images: CalibrationSet
    validation: ValidationImages


@dataclass(frozen=True)
class Quantised:
    """``artifacts`` in the order of the request; ``references``: what those of a format were compared with."""

    artifacts: tuple[Artifact, ...] = ()
    references: Mapping[FormatName, FloatReference] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class _Task:
    """One file to be written, and what it is made of."""

    file: Path
    format: FormatName
    precision: Precision
    images: CalibrationSet
    reference: FloatReference
    simulated: Simulated | None  # where any file is int8


@dataclass(frozen=True)
class Quantiser:
    """Writes the quantised artifacts of one bundle.

    Attributes:
        card: what the files say of themselves.
        float_files: format -> the float32 model to start from.
    """

    request: ExportRequest
    checkpoint: Checkpoint
    card: ModelCard
    listener: Listener
    float_files: Mapping[FormatName, Path]

    @property
    def output(self) -> Output:
        return output_of(self.request, self.checkpoint)

    @property
    def wanted(self) -> tuple[tuple[FormatName, Precision], ...]:
        """Those that are made here, and not by a converter."""
        every = ((name, precision) for name in self.float_files for precision in self.request.quantised(name))
        return tuple((name, precision) for name, precision in every if precision not in FORMATS[name].converts)

    def calibrate(self) -> Calibrated | None:
        """The images, before anything is converted; None where nothing is to be quantised. Raises UsageError."""
        if not self.wanted:
            return None
        with self.listener.step("int8: read the calibration images"):
            images = calibrate(self.request, self.card.preprocess, self.listener)
            validation = validation_images(self.request, self.checkpoint, images, self.listener.warn)
        return Calibrated(images, validation)

    def write(self, calibrated: Calibrated | None) -> Quantised:
        """Of None nothing. Raises CheckFailed: collapsed, or --min-agreement or --max-drop is out of reach."""
        if calibrated is None:
            return Quantised()
        simulated = None
        if any(precision == "int8" for _, precision in self.wanted):
            simulated = simulate(self.request, self.checkpoint, calibrated.images, self.listener)
        artifacts: list[Artifact] = []
        references: dict[FormatName, FloatReference] = {}
        for format, precision in self.wanted:
            file = self.float_files[format].with_name(FORMATS[format].file(precision))
            with self.listener.step(f"{file.name}: write, run on {len(calibrated.validation.pixels)} images"):
                if format not in references:
                    references[format] = self._float_reference(format, calibrated.validation)
                task = _Task(file, format, precision, calibrated.images, references[format], simulated)
                quantisation = self._written(task)
            artifacts.append(self._artifact(task, quantisation))
        return Quantised(tuple(artifacts), references)

    def repacked(self, artifact: Artifact, file: Path, graph: GraphFacts | None, quantised: Quantised) -> Artifact:
        """A quantised artifact as ``file``, another format's that was made of it. Raises CheckFailed: collapsed.

        Args:
            graph: what is in ``file``; None: it is looked at.
        """
        home, row = format_of(artifact.file.path), format_of(file)
        assert artifact.quantisation is not None and home is not None and row is not None
        reference = quantised.references[home.name]
        fidelity = reference.fidelity(self._scores(self.runs_as(file), reference.images))
        self._refuse_collapse(file, fidelity)
        (entry, parts), facts = record_model(file.parent, file.name), graph or row.inspected(file)
        quantisation = replace(artifact.quantisation, fidelity=fidelity)
        return replace(artifact, file=entry, files=parts, engine=row.engine, graph=facts, quantisation=quantisation)

    def runs_as(self, file: Path) -> Path:
        """The file itself; of one that this CPU's engine would clip, what it was repacked from: phones do not clip."""
        row = format_of(file)
        if row is None or not row.repacks or not clips_sums(file):
            return file
        return self.float_files[row.home].with_name(f"{file.stem}{FORMATS[row.home].suffix}")

    def _scores(self, file: Path, images: ValidationImages) -> Array:
        return scores_apart(file, self.request.io, self.card.preprocess, images.pixels, self.output)

    def _float_reference(self, format: FormatName, images: ValidationImages) -> FloatReference:
        file = self.float_files[format]
        scores = self._scores(file, images)
        return FloatReference(file, images, self.output.name, scores, images.accuracy(scores))

    def _written(self, task: _Task) -> Quantisation:
        row, source = FORMATS[task.format], task.reference.file
        assert row.write is not None
        write = partial(row.write, source, task.file, self.card)
        if task.simulated is not None and task.precision == "int8":
            scores = partial(self._scores, task.file, task.reference.images)
            found = Int8File(
                self.request, self.checkpoint, self.listener, task.file, write, scores, task.reference, task.images
            ).written(task.simulated)
            search = task.simulated.found
            return Quantisation(search.method, found.float_blocks, search.candidates, found.fidelity)
        if task.precision == "full-int8":
            assert row.write_fully is not None
            method = row.write_fully(source, task.file, self.card, task.images.fit)
        else:
            method = "none"
            write(dynamic_plan(self.request, self.checkpoint))
        return Quantisation(method, (), {}, task.reference.fidelity(self._scores(task.file, task.reference.images)))

    def _artifact(self, task: _Task, quantisation: Quantisation) -> Artifact:
        self._refuse_collapse(task.file, quantisation.fidelity)
        return artifact_of(FORMATS[task.format], task.file, task.precision, open_model(task.file), quantisation)

    def _refuse_collapse(self, file: Path, fidelity: Fidelity) -> None:
        if fidelity.agreement >= COLLAPSE:
            return
        pixels = "" if self.output is PROBABILITIES else ", by pixels,"
        said = (
            f"{file.name} agrees with float32 on {fidelity.agreement:.1%} of {fidelity.images} images{pixels} "
            f"({fidelity.source}), accepted: {COLLAPSE:.0%} or more"
        )
        if self.request.force or self.checkpoint.name == "untrained":
            self.listener.warn(f"{said}.")
            return
        raise CheckFailed(f"{said}; choose another --quantize or --calibration, or --force. No bundle was written.")
