"""The whole way: checkpoint -> torch -> ONNX -> simplified ONNX -> TFLite -> compared -> bundle."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mvit2.bundle.manifest import (
    LABELS,
    SCHEMA_VERSION,
    Artifact,
    GraphFacts,
    Manifest,
    Precision,
    WeightsIdentity,
    record,
    write_manifest,
)
from mvit2.difference import Difference
from mvit2.errors import MissingEngineError
from mvit2.export.convert.onnx_facts import onnx_facts
from mvit2.export.convert.tflite_metadata import model_card, write_with_metadata
from mvit2.export.int8.quantiser import Quantiser
from mvit2.image.palette import class_colors
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.engines.onnx_runtime import no_telemetry
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.isolated import scores_apart
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.verify.golden import write_golden
from mvit2.tasks import SEGMENT
from mvit2.tflite_file import read_tflite
from mvit2.versions import installed

from .atomic import check_target, under_construction
from .gates import gate
from .listener import Listener, Silent
from .parity_inputs import parity_inputs
from .request import ExportRequest
from .resolve import bundle_name, load, output_of

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from mvit2.checkpoint.load import Checkpoint

__all__ = ["ExportResult", "export"]

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
    with listener.step(f"load weights {request.weights}"):
        checkpoint = load(request)
    for note in checkpoint.warnings:
        listener.warn(note)
    name = bundle_name(request, checkpoint)
    target = request.output.expanduser().absolute() / name
    check_target(target, request.overwrite)
    with under_construction(target) as building, tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
        manifest = _Build(request, checkpoint, (building, Path(scratch)), listener).run(name)
        if request.report:
            _report(building, name, listener)
    return ExportResult(target, manifest)


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

    for module in ("torch", "safetensors", "onnx", "onnxsim", "onnxruntime", "onnx2tf", "ai_edge_litert"):
        if find_spec(module) is None:
            raise MissingEngineError(module, "export")


class _Build:
    """One run: the steps share the parity inputs with torch's answer to them, and the list of differences."""

    def __init__(
        self, request: ExportRequest, checkpoint: Checkpoint, folders: tuple[Path, Path], listener: Listener
    ) -> None:
        self.request, self.checkpoint, self.listener = request, checkpoint, listener
        self.folder, self.scratch = folders  # the bundle, and what does not go into it
        self.onnx = self.folder if "onnx" in request.formats else self.scratch  # where its files go
        self.spec: PreprocessSpec = checkpoint.preprocess
        self.output = output_of(request, checkpoint)
        self.differences: list[Difference] = []
        self.artifacts: list[Artifact] = []
        self.scores: dict[str, np.ndarray] = {}  # of each artifact, on the parity inputs
        self.files = [LABELS]  # of the bundle, beside artifacts and golden vectors

    def run(self, name: str) -> Manifest:
        self.card = model_card(name, self.checkpoint, self.request.io, self.request.output_kind)
        homes = {"tflite": self.folder, "onnx": self.onnx}
        files = {f: homes[f] / f"model_float32.{f}" for f in homes if f in self.request.converted}
        self.quantiser = Quantiser(self.request, self.checkpoint, self.card, self.listener, files)
        self.quantiser.read()  # a wrong folder is refused before anything is converted
        with self.listener.step("torch: the model and its export form"):
            self._reference()
            network, example = self._export_form()
        with self.listener.step(f"ONNX: export (opset {self.request.opset}), simplify"):
            model = self._onnx(network, example)
        self._onnx_artifact(model)
        if "tflite" in self.request.formats:
            self._tflite_artifacts(model)
        gate(self.differences, self.artifacts)  # before minutes of calibration
        self._quantised_artifacts()
        gate(self.differences, self.artifacts)
        with self.listener.step("bundle: labels, golden vectors, manifest"):
            return self._manifest(name)

    def _reference(self) -> None:
        """What the plain torch model says of the parity inputs, computed in float64 so that only the stages round."""
        import copy

        import torch

        from mvit2.export.convert.block_costs import network_blocks
        from mvit2.export.convert.contract import answer_of
        from mvit2.image.preprocess import to_pixel_values

        self.golden = parity_inputs(self.spec)
        values = torch.from_numpy(to_pixel_values(self.golden.pixels, self.spec))
        answer = answer_of(self.checkpoint.task, self.request.output_kind, self.spec.image_size)
        with torch.no_grad():
            exact = answer(copy.deepcopy(self.checkpoint.model).double()(values.double()))
            plain = answer(self.checkpoint.model(values).double())
        self.reference = self._stored(exact)
        self._compare("torch, float32", self._stored(plain), "float32")
        self.blocks = network_blocks(self.checkpoint.model, self.spec.image_size)

    def _export_form(self) -> tuple[nn.Module, Tensor]:
        import torch

        from mvit2.export.convert.contract import PixelContract, TensorContract, answer_of
        from mvit2.export.convert.fold import export_form
        from mvit2.image.preprocess import to_pixel_values

        as_image, size = self.request.io == "image", self.spec.image_size
        form = export_form(self.checkpoint.model, single_image=not self.request.dynamic_batch, image_size=size)
        answer = answer_of(self.checkpoint.task, self.request.output_kind, size)
        network = (PixelContract(form, self.spec, answer) if as_image else TensorContract(form, answer)).eval()
        inputs = torch.from_numpy(self.golden.pixels if as_image else to_pixel_values(self.golden.pixels, self.spec))
        with torch.no_grad():
            outputs = torch.cat([network(x[None]) for x in inputs])
        scores = outputs.numpy() if as_image else self.output.of_network(outputs.numpy())
        self._compare("torch, export form", scores.astype(self.output.dtype), "float32")
        return network, torch.zeros_like(inputs[:1])

    def _onnx(self, network: nn.Module, example: Tensor) -> ModelProto:
        from mvit2.export.convert.to_onnx import metadata_props, simplify, to_onnx

        request = self.request
        exported = to_onnx(
            network, example, names=request.tensor_names, opset=request.opset, dynamic_batch=request.dynamic_batch
        )
        simplified = simplify(exported, metadata_props({**self.card.facts, "tools": installed(_TOOLS)}))
        raw = self.scratch / "exported.onnx"
        raw.write_bytes(exported.SerializeToString())
        self._compare("ONNX as exported", self._scores(raw), "float32")
        return simplified

    def _onnx_artifact(self, model: ModelProto) -> None:
        """Compare the simplified model; it is part of the bundle only where ONNX was asked for."""
        file = self.onnx / "model_float32.onnx"
        file.write_bytes(model.SerializeToString(deterministic=True))
        if "onnx" in self.request.formats:
            self._artifact(file, "float32", onnx_facts(file))
        else:
            self._compare("simplified ONNX", self._scores(file), "float32")

    def _tflite_artifacts(self, model: ModelProto) -> None:
        from mvit2.export.convert.to_tflite import to_tflite

        kept = {"float32", *self.request.quantised("tflite")}
        with self.listener.step("TFLite: convert"):
            converted = to_tflite(model, self.spec.scale, self.scratch)
        with self.listener.step("TFLite: inspect, compare with torch"):
            for precision, source in ((p, f) for p, f in converted.items() if p in kept):
                file = self.folder / f"model_{precision}.tflite"
                write_with_metadata(read_tflite(source), file, self.card)
                self._artifact(file, precision, inspect_tflite(file))

    def _quantised_artifacts(self) -> None:
        made = self.quantiser.write()
        kept = [a for a in made if a.engine == "litert" or "onnx" in self.request.formats]
        if "ort" in self.request.formats:
            kept += self._ort_artifacts([a for a in made if a.engine == "onnxruntime"])
        for artifact in kept:
            file = self.quantiser.runs_as(self.folder / artifact.file.path)
            self.scores[artifact.file.path] = scores_apart(
                file, self.request.io, self.spec, self.golden.pixels, self.output
            )
            self.artifacts.append(artifact)

    def _ort_artifacts(self, quantised: list[Artifact]) -> list[Artifact]:
        """The float32 ONNX model and the ``quantised`` ones once more, as .ort; returns the latter."""
        from mvit2.export.convert.to_ort import OPERATORS, to_ort

        with self.listener.step("ORT: convert, compare"):
            names = ["model_float32.onnx", *(artifact.file.path for artifact in quantised)]
            graphs = to_ort([self.onnx / name for name in names], self.folder)
            self.files.append(OPERATORS)
            self._artifact(self.folder / "model_float32.ort", "float32", graphs["model_float32.ort"])
            return [self.quantiser.as_ort(artifact, self.folder, graphs) for artifact in quantised]

    def _scores(self, file: Path) -> np.ndarray:
        return scores_of(open_model(file), self.request.io, self.spec, self.golden.pixels, self.output)

    def _stored(self, output: Tensor) -> np.ndarray:
        return output.numpy().astype(self.output.dtype)

    def _compare(self, stage: str, scores: np.ndarray, precision: Precision) -> Difference:
        difference = self.output.compare(stage, self.reference, scores, self.output.tolerances[precision])
        self.differences.append(difference)
        return difference

    def _artifact(self, file: Path, precision: Precision, graph: GraphFacts) -> None:
        backend = open_model(file)
        scores = scores_of(backend, self.request.io, self.spec, self.golden.pixels, self.output)
        parity = self._compare(file.name, scores, precision)
        self.scores[file.name] = scores
        entry = record(self.folder, file.name)
        self.artifacts.append(Artifact(entry, backend.engine, precision, backend.input, backend.output, graph, parity))

    def _manifest(self, name: str) -> Manifest:
        checkpoint, request = self.checkpoint, self.request
        (self.folder / LABELS).write_text("".join(f"{label}\n" for label in checkpoint.config.labels), encoding="utf-8")
        golden = replace(self.golden, scores=self.scores)
        files = [*self.files, *write_golden(self.folder, golden, self.artifacts, self.output)]
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=name,
            task=checkpoint.task.manifest,
            variant=checkpoint.variant,
            io=request.io,
            weights=WeightsIdentity(checkpoint.name, checkpoint.origin, checkpoint.layout, checkpoint.sha256),
            preprocess=self.spec,
            classes=checkpoint.config.num_labels,
            artifacts=tuple(self.artifacts),
            files=tuple(record(self.folder, file) for file in files),
            parity=tuple(self.differences),
            blocks=self.blocks,
            calibration=self.quantiser.calibration,
            tools=installed(_TOOLS),
            output_kind=request.output_kind,
            colors=class_colors(checkpoint.config.labels) if checkpoint.task is SEGMENT else (),
        )
        write_manifest(self.folder, manifest)
        return manifest
