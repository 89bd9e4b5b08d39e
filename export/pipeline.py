"""The whole way: checkpoint -> torch -> ONNX -> simplified ONNX -> TFLite -> compared -> bundle."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mvit2.atomic_write import write_text
from mvit2.bundle.manifest import (
    LABELS,
    SCHEMA_VERSION,
    Artifact,
    GraphFacts,
    Manifest,
    Precision,
    record,
    write_manifest,
)
from mvit2.bundle.measurements import Calibration
from mvit2.errors import CheckFailed, MissingEngineError
from mvit2.export.convert.onnx_facts import onnx_facts
from mvit2.export.convert.tflite_metadata import ModelCard, model_card, write_with_metadata
from mvit2.export.int8.quantiser import Quantised, Quantiser
from mvit2.image.palette import class_colors
from mvit2.network.blocks import Block, beyond_float16
from mvit2.runtime.engines.backend import Array, Backend
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.isolated import scores_apart
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.tasks.outputs import Output
from mvit2.runtime.verify.golden import write_golden
from mvit2.telemetry import no_telemetry
from mvit2.tflite_file import read_tflite
from mvit2.versions import installed

from .atomic import check_target, under_construction
from .formats import FORMATS, LIBRARIES, FormatName
from .gates import gate
from .listener import Listener, Silent
from .parity_inputs import parity_inputs, same_answer, varied_inputs
from .prove import prove_gate, require_usable
from .request import ExportRequest
from .resolve import bundle_name, load, output_of
from .stages import Converted, ExportForm, Reference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto
    from torch import Tensor

    from mvit2.checkpoint.load import Checkpoint

__all__ = ["ExportResult", "export", "within_float16"]

_TOOLS = (  # that had a hand in the result
    *("mvit2", "torch", "onnx", "onnxsim", "onnxruntime", "onnx2tf", "tensorflow", "ai-edge-litert"),
    *("numpy", "pillow"),
)


@dataclass(frozen=True)
class ExportResult:
    bundle: Path
    manifest: Manifest


def export(request: ExportRequest, listener: Listener | None = None) -> ExportResult:
    """Make a bundle. Nothing is left behind unless every check passed.

    Raises:
        Mvit2Error: any of mvit2.errors; CheckFailed carries the table of differences.
    """
    listener = listener or Silent()
    no_telemetry()  # onnxsim and onnx2tf import ONNX Runtime as well
    _require_libraries()
    places = require_usable(request.prove, listener)
    with listener.step(f"load weights {request.weights_name}"):
        checkpoint = load(request)
    for note in checkpoint.warnings:
        listener.warn(note)
    name = bundle_name(request, checkpoint)
    target = Path(request.output).expanduser().absolute() / name
    check_target(target, request.overwrite)
    with under_construction(target) as building, tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
        card = model_card(name, checkpoint, request.io, request.output_kind)
        output = output_of(request, checkpoint)
        manifest = _Build(
            request, checkpoint, within_float16(checkpoint), card, output, building, Path(scratch), listener
        ).run()
        if places:
            manifest = prove_gate(building, places, listener)
        if request.report:
            _report(building, name, listener)
    return ExportResult(target, manifest)


def within_float16(checkpoint: Checkpoint) -> Checkpoint:
    """The same, scaled where the squares in its norms would be infinite in half precision; float32 keeps every bit."""
    import torch

    from mvit2.export.convert.half_precision import scale_streams
    from mvit2.image.preprocess import to_pixel_values

    model, spec = copy.deepcopy(checkpoint.model), checkpoint.preprocess
    scale_streams(model, torch.from_numpy(to_pixel_values(parity_inputs(spec).pixels, spec)))
    return replace(checkpoint, model=model)


def _report(bundle: Path, name: str, listener: Listener) -> None:
    """The last step; whatever goes wrong in it does not cost the bundle."""
    try:
        with listener.step("report"):
            from mvit2.export.report.gather import brief
            from mvit2.export.report.html import write_report

            write_report(bundle, brief(bundle))
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        listener.warn(f"no report was written ({said}); the bundle is whole, and mvit2 report {name} makes one.")


def _require_libraries() -> None:
    from importlib.util import find_spec

    for module in ("torch", "safetensors", *LIBRARIES):
        if find_spec(module) is None:
            raise MissingEngineError(module, "export")


@dataclass(frozen=True)
class _Build:
    """One run. It holds what is asked for and does not change; each step returns what it made.

    Attributes:
        checkpoint: as it was given; what every stage is compared with.
        fitted: the same, its values brought within float16; what is converted.
        card: what the files say of themselves.
        output: what the models put out.
        folder, scratch: the bundle, and what does not go into it.
    """

    request: ExportRequest
    checkpoint: Checkpoint
    fitted: Checkpoint
    card: ModelCard
    output: Output
    folder: Path
    scratch: Path
    listener: Listener

    def run(self) -> Manifest:
        quantiser = self._quantiser()
        calibrated = quantiser.calibrate()  # a wrong folder is refused before anything is converted
        with self.listener.step("torch: the model and its export form"):
            reference = self._reference()
            form = self._export_form(reference)
        made = Converted(differences=(reference.difference, form.difference))
        with self.listener.step(f"ONNX: export (opset {self.request.opset}), simplify"):
            model, exported = self._onnx(form, reference)
        made += exported
        made += self._onnx_artifact(model, reference)
        if "tflite" in self.request.formats:
            made += self._tflite_artifacts(model, reference)
        gate(made.differences, made.artifacts)  # before minutes of calibration
        quantised = quantiser.write(calibrated)
        ort, quantised_ort = self._ort_artifacts(quantiser, quantised, reference)
        made += ort
        made += self._quantised_artifacts(quantiser, (*quantised.artifacts, *quantised_ort), reference)
        gate(made.differences, made.artifacts)
        with self.listener.step("bundle: labels, golden vectors, manifest"):
            return self._manifest(form, reference, made, None if calibrated is None else calibrated.images.record)

    @property
    def onnx(self) -> Path:
        """Where ONNX files go, which the others are made from."""
        return self._home("onnx")

    def _home(self, format: FormatName) -> Path:
        """Where its files go: they are part of the bundle only where they were asked for."""
        return self.folder if format in self.request.formats else self.scratch

    def _quantiser(self) -> Quantiser:
        homes = {name: self._home(name) for name in self.request.converted}
        files = {name: home / FORMATS[name].file("float32") for name, home in homes.items()}
        return Quantiser(self.request, self.fitted, self.card, self.listener, files)

    def _reference(self) -> Reference:
        import torch

        from mvit2.export.convert.contract import answer_of
        from mvit2.image.preprocess import to_pixel_values

        spec, output = self.card.preprocess, self.output
        images = varied_inputs(spec, self._own_images(), self._answers)
        values = torch.from_numpy(to_pixel_values(images.pixels, spec))
        answer = answer_of(self.checkpoint.task, self.request.output_kind, spec.image_size)
        with torch.no_grad():
            exact = answer(copy.deepcopy(self.checkpoint.model).double()(values.double()))
            plain = answer(self.checkpoint.model(values).double())
        scores, float32 = (self._stored(found) for found in (exact, plain))
        difference = output.compare("torch, float32", scores, float32, output.tolerances["float32"])
        same = None if self.checkpoint.name == "untrained" else same_answer(images, self._answers)
        if same is not None:
            self.listener.warn(same)
        return Reference(images, output, scores, difference, same)

    def _own_images(self) -> Path | None:
        """The user's folder, from which images are chosen that the network tells apart."""
        named = (self.request.calibration, self.request.evaluation)
        return next((Path(folder) for folder in named if folder is not None and Path(folder).is_dir()), None)

    def _answers(self, pixels: NDArray[np.uint8]) -> list[tuple[int, ...]]:
        """Of each image the class, or the classes of its pixels."""
        import torch

        from mvit2.image.preprocess import to_pixel_values

        found = []
        with torch.no_grad():
            for image in pixels:
                logits = self.checkpoint.model(torch.from_numpy(to_pixel_values(image, self.card.preprocess)))
                found.append(tuple(logits[0].argmax(0).unique().tolist()))
        return found

    def _export_form(self, reference: Reference) -> ExportForm:
        import torch

        from mvit2.export.convert.block_costs import network_blocks
        from mvit2.export.convert.contract import PixelContract, TensorContract, answer_of
        from mvit2.export.convert.fold import export_form
        from mvit2.export.convert.half_precision import largest_values
        from mvit2.image.preprocess import to_pixel_values

        spec, as_image, pixels = self.card.preprocess, self.request.io == "image", reference.images.pixels
        size = spec.image_size
        form = export_form(self.fitted.model, single_image=not self.request.dynamic_batch, image_size=size)
        answer = answer_of(self.checkpoint.task, self.request.output_kind, size)
        network = (PixelContract(form, spec, answer) if as_image else TensorContract(form, answer)).eval()
        inputs = torch.from_numpy(pixels if as_image else to_pixel_values(pixels, spec))
        with torch.no_grad(), largest_values(form) as largest:
            outputs = torch.cat([network(x[None]) for x in inputs])
        blocks = network_blocks(self.fitted.model, size)
        blocks = tuple(replace(block, largest=largest[block.name]) for block in blocks)
        self._check_half_precision(blocks)
        scores = outputs.numpy() if as_image else self.output.of_network(outputs.numpy())
        difference = reference.compare("torch, export form", scores.astype(self.output.dtype), "float32")
        return ExportForm(network, torch.zeros_like(inputs[:1]), blocks, difference)

    def _check_half_precision(self, blocks: tuple[Block, ...]) -> None:
        """Raises CheckFailed where float16 was asked for and cannot hold the network's values."""
        said = beyond_float16(blocks)
        if said is None:
            return
        if "float16" in self.request.quantised("tflite"):
            raise CheckFailed(f"{said}: leave out --quantize float16. No bundle was written.")
        self.listener.warn(f"{said}; the files are for CPUs: GPUs and NPUs that compute in float16 will be wrong.")

    def _onnx(self, form: ExportForm, reference: Reference) -> tuple[ModelProto, Converted]:
        """The simplified model, and how far it is from torch as exported."""
        from mvit2.export.convert.to_onnx import metadata_props, simplify, to_onnx

        request = self.request
        exported = to_onnx(
            form.network,
            form.example,
            names=request.tensor_names,
            opset=request.opset,
            dynamic_batch=request.dynamic_batch,
        )
        simplified = simplify(exported, metadata_props({**self.card.facts, "tools": installed(_TOOLS)}))
        raw = self.scratch / "exported.onnx"
        raw.write_bytes(exported.SerializeToString())
        return simplified, self._stage("ONNX as exported", raw, reference)

    def _onnx_artifact(self, model: ModelProto, reference: Reference) -> Converted:
        """Compare the simplified model; it is part of the bundle only where ONNX was asked for."""
        from mvit2.export.convert.onnx_input import with_dequantised_input

        file = self.onnx / "model_float32.onnx"
        file.write_bytes(with_dequantised_input(model).SerializeToString(deterministic=True))
        if "onnx" in self.request.formats:
            return self._artifact(file, "float32", onnx_facts(file), reference)
        return self._stage("simplified ONNX", file, reference)

    def _tflite_artifacts(self, model: ModelProto, reference: Reference) -> Converted:
        from mvit2.export.convert.to_tflite import to_tflite

        kept = {"float32", *self.request.quantised("tflite")}
        with self.listener.step("TFLite: convert"):
            converted = to_tflite(model, self.card.preprocess.scale, self.scratch)
        made = Converted()
        with self.listener.step("TFLite: inspect, compare with torch"):
            for precision, source in ((p, f) for p, f in converted.items() if p in kept):
                file = self.folder / f"model_{precision}.tflite"
                write_with_metadata(read_tflite(source), file, self.card)
                made += self._artifact(file, precision, inspect_tflite(file), reference)
        return made

    def _ort_artifacts(
        self, quantiser: Quantiser, quantised: Quantised, reference: Reference
    ) -> tuple[Converted, tuple[Artifact, ...]]:
        """The float32 ONNX model once more as .ort; and the quantised ones, which nobody has run on the images yet."""
        from mvit2.export.convert.to_ort import OPERATORS, to_ort

        if "ort" not in self.request.formats:
            return Converted(), ()
        onnx = [artifact for artifact in quantised.artifacts if artifact.engine == "onnxruntime"]
        with self.listener.step("ORT: convert, compare"):
            names = ["model_float32.onnx", *(artifact.file.path for artifact in onnx)]
            graphs = to_ort([self.onnx / name for name in names], self.folder)
            float32 = self._artifact(
                self.folder / "model_float32.ort", "float32", graphs["model_float32.ort"], reference
            )
            made = tuple(quantiser.as_ort(artifact, self.folder, graphs, quantised) for artifact in onnx)
        return float32 + Converted(files=(OPERATORS,)), made

    def _quantised_artifacts(
        self, quantiser: Quantiser, quantised: Sequence[Artifact], reference: Reference
    ) -> Converted:
        """Those that are part of the bundle, run on the parity images for its golden vectors."""
        kept = [a for a in quantised if (self.folder / a.file.path).is_file()]
        scores = {}
        for artifact in kept:
            file = quantiser.runs_as(self.folder / artifact.file.path)
            scores[artifact.file.path] = scores_apart(
                file, self.request.io, self.card.preprocess, reference.images.pixels, self.output
            )
        return Converted(tuple(kept), scores)

    def _scores(self, backend: Backend, reference: Reference) -> Array:
        return scores_of(backend, self.request.io, self.card.preprocess, reference.images.pixels, self.output)

    def _stored(self, output: Tensor) -> Array:
        return output.numpy().astype(self.output.dtype)

    def _stage(self, stage: str, file: Path, reference: Reference) -> Converted:
        """A model file that is no artifact, compared with the reference."""
        return Converted(differences=(reference.compare(stage, self._scores(open_model(file), reference), "float32"),))

    def _artifact(self, file: Path, precision: Precision, graph: GraphFacts, reference: Reference) -> Converted:
        backend = open_model(file)
        scores = self._scores(backend, reference)
        parity = reference.compare(file.name, scores, precision)
        entry = record(self.folder, file.name)
        artifact = Artifact(entry, backend.engine, precision, backend.input, (backend.output,), graph, parity)
        return Converted((artifact,), {file.name: scores}, (parity,))

    def _manifest(
        self, form: ExportForm, reference: Reference, made: Converted, calibration: Calibration | None
    ) -> Manifest:
        checkpoint, request, labels = self.checkpoint, self.request, self.checkpoint.config.labels
        write_text(self.folder / LABELS, "".join(f"{label}\n" for label in labels))
        golden = write_golden(self.folder, replace(reference.images, scores=made.scores), made.artifacts, self.output)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=self.card.name,
            task=checkpoint.task.manifest,
            architecture=checkpoint.architecture.name,
            variant=checkpoint.variant,
            io=request.io,
            weights=self.card.weights,
            preprocess=self.card.preprocess,
            classes=checkpoint.config.num_labels,
            artifacts=made.artifacts,
            files=tuple(record(self.folder, file) for file in (LABELS, *made.files, *golden)),
            parity=made.differences,
            blocks=form.blocks,
            calibration=calibration,
            tools=installed(_TOOLS),
            output_kind=request.output_kind,
            colors=class_colors(labels) if checkpoint.task.colored else (),
            assumptions=(*checkpoint.assumptions, *([reference.same] if reference.same else [])),
            reduce_labels=checkpoint.reduce_labels,
            rules={"patches": checkpoint.config.patch_rule, "dilation": checkpoint.config.dilation_rule},
        )
        write_manifest(self.folder, manifest)
        return manifest
