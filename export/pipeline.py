"""The whole way: checkpoint -> torch -> ONNX -> simplified ONNX -> TFLite -> compared -> bundle."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mvit2.errors import CheckFailed, ConversionError, MissingEngineError
from mvit2.flatbuffer import read_tflite
from mvit2.manifest import (
    LABELS,
    SCHEMA_VERSION,
    Artifact,
    Difference,
    GraphFacts,
    Manifest,
    Precision,
    WeightsIdentity,
    record,
    write_manifest,
)
from mvit2.preprocess_spec import PreprocessSpec
from mvit2.runtime.apart import scores_apart
from mvit2.runtime.backend import no_telemetry, open_model
from mvit2.runtime.classifier import scores_of
from mvit2.runtime.golden import write_golden
from mvit2.runtime.inspect import inspect_tflite
from mvit2.runtime.parity import TOLERANCES, compare
from mvit2.versions import installed

from .inputs import parity_inputs
from .listener import Listener, Silent
from .metadata import model_card, write_with_metadata
from .output import check_target, under_construction
from .quantisation import Quantiser
from .request import ExportRequest

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from mvit2.checkpoint import Checkpoint

__all__ = ["ExportResult", "Listener", "Silent", "export", "load"]

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
    with under_construction(target) as building:
        manifest = _Build(request, checkpoint, building, listener).run(name)
        if request.report:
            _report(building, name, listener)
    return ExportResult(target, manifest)


def _report(bundle: Path, name: str, listener: Listener) -> None:
    """The last step; whatever goes wrong in it does not cost the bundle."""
    try:
        with listener.step("report"):
            from .report import brief
            from .report_page import write_report

            write_report(bundle, brief(bundle))
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        listener.warn(f"no report was written ({said}); the bundle is whole, and mvit2 report {name} makes one.")


def _require_libraries() -> None:
    from importlib.util import find_spec

    for module in ("torch", "safetensors", "onnx", "onnxsim", "onnxruntime", "onnx2tf", "ai_edge_litert"):
        if find_spec(module) is None:
            raise MissingEngineError(module, "export")


def load(request: ExportRequest) -> Checkpoint:
    """The checkpoint with the image size that ``request`` asks for. Raises as mvit2.checkpoint.load_checkpoint does."""
    from mvit2.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(request.weights, request.variant, request.labels, task="classify")
    if checkpoint.config.num_channels != 3:
        channels = checkpoint.config.num_channels
        raise ConversionError(f"{checkpoint.origin} takes {channels} channels; a bundle takes RGB pictures.")
    spec = checkpoint.preprocess
    if request.image_size is not None:
        spec = spec.with_image_size(*request.image_size)
    for edge in spec.image_size:
        request.check_edge(edge)
    return replace(checkpoint, preprocess=spec)


def bundle_name(request: ExportRequest, checkpoint: Checkpoint) -> str:
    """The identity of the weights and whatever changes the models' interface, so that no build takes the wrong one."""
    height, width = checkpoint.preprocess.image_size
    size = f"-{height}px" if height == width else f"-{height}x{width}px"
    parts = [f"mobilevitv2-{checkpoint.variant}-{checkpoint.name}"]
    parts += [size] if request.image_size not in (None, checkpoint.config.image_size) else []
    parts += ["-tensor"] if request.io == "tensor" else []
    parts += ["-dynamic"] if request.dynamic_batch else []
    return "".join(parts)


class _Build:
    """One run: the steps share the parity inputs with torch's answer to them, and the list of differences."""

    def __init__(self, request: ExportRequest, checkpoint: Checkpoint, folder: Path, listener: Listener) -> None:
        self.request, self.checkpoint, self.folder, self.listener = request, checkpoint, folder, listener
        self.spec: PreprocessSpec = checkpoint.preprocess
        self.differences: list[Difference] = []
        self.artifacts: list[Artifact] = []
        self.scores: dict[str, np.ndarray] = {}  # of each artifact, on the parity inputs

    def run(self, name: str) -> Manifest:
        self.card = model_card(name, self.checkpoint, self.request.io)
        files = {f: self.folder / f"model_float32.{f}" for f in reversed(self.request.formats)}
        self.quantiser = Quantiser(self.request, self.checkpoint, self.card, self.listener, files)
        self.quantiser.read()  # a wrong folder is refused before anything is converted
        with self.listener.step("torch: the model and its export form"):
            self._reference()
            network, example = self._export_form()
        with self.listener.step(f"ONNX: export (opset {self.request.opset}), simplify"):
            model = self._onnx(network, example)
        with tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
            self._onnx_artifact(model, Path(scratch))
            if "tflite" in self.request.formats:
                self._tflite_artifacts(model, Path(scratch))
        self._gate()  # before minutes of calibration
        self._quantised_artifacts()
        self._gate()
        with self.listener.step("bundle: labels, golden vectors, manifest"):
            return self._manifest(name)

    def _reference(self) -> None:
        """What the plain torch model says of the parity inputs, computed in float64 so that only the stages round."""
        import copy

        import torch

        from mvit2.image import to_pixel_values

        from .network import network_blocks

        self.golden = parity_inputs(self.spec)
        values = torch.from_numpy(to_pixel_values(self.golden.pixels, self.spec))
        with torch.no_grad():
            exact = copy.deepcopy(self.checkpoint.model).double()(values.double()).softmax(-1)
            plain = self.checkpoint.model(values).double().softmax(-1)
        self.reference = exact.float().numpy()
        self._compare("torch, float32", plain.float().numpy(), "float32")
        self.blocks = network_blocks(self.checkpoint.model, self.spec.image_size)

    def _export_form(self) -> tuple[nn.Module, Tensor]:
        import torch

        from mvit2.image import to_pixel_values

        from .fold import PixelContract, export_form

        as_image = self.request.io == "image"
        form = export_form(self.checkpoint.model, single_image=not self.request.dynamic_batch)
        network = PixelContract(form, self.spec).eval() if as_image else form
        inputs = torch.from_numpy(self.golden.pixels if as_image else to_pixel_values(self.golden.pixels, self.spec))
        with torch.no_grad():
            outputs = torch.cat([network(x[None]) for x in inputs])
        scores = outputs if as_image else outputs.double().softmax(-1).float()
        self._compare("torch, export form", scores.numpy(), "float32")
        return network, torch.zeros_like(inputs[:1])

    def _onnx(self, network: nn.Module, example: Tensor) -> ModelProto:
        from .to_onnx import metadata_props, simplify, to_onnx

        request = self.request
        exported = to_onnx(
            network, example, names=request.tensor_names, opset=request.opset, dynamic_batch=request.dynamic_batch
        )
        simplified = simplify(exported, metadata_props({**self.card.facts, "tools": installed(_TOOLS)}))
        with tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
            raw = Path(scratch) / "exported.onnx"
            raw.write_bytes(exported.SerializeToString())
            self._compare("ONNX as exported", self._scores(raw), "float32")
        return simplified

    def _onnx_artifact(self, model: ModelProto, scratch: Path) -> None:
        """Compare the simplified model; it is part of the bundle only where ONNX was asked for."""
        from .to_onnx import inspect_onnx

        wanted = "onnx" in self.request.formats
        file = (self.folder if wanted else scratch) / "model_float32.onnx"
        file.write_bytes(model.SerializeToString(deterministic=True))
        if wanted:
            self._artifact(file, "float32", inspect_onnx(model))
        else:
            self._compare("simplified ONNX", self._scores(file), "float32")

    def _tflite_artifacts(self, model: ModelProto, scratch: Path) -> None:
        from .to_tflite import to_tflite

        kept = {"float32", *self.request.quantised("tflite")}
        with self.listener.step("TFLite: convert"):
            converted = to_tflite(model, self.spec.scale, scratch)
        with self.listener.step("TFLite: inspect, compare with torch"):
            for precision, source in ((p, f) for p, f in converted.items() if p in kept):
                file = self.folder / f"model_{precision}.tflite"
                write_with_metadata(read_tflite(source), file, self.card)
                self._artifact(file, precision, inspect_tflite(file))

    def _quantised_artifacts(self) -> None:
        for artifact in self.quantiser.write(self.folder):
            file = artifact.file.path
            self.scores[file] = scores_apart(self.folder / file, self.request.io, self.spec, self.golden.pixels)
            self.artifacts.append(artifact)

    def _scores(self, file: Path) -> np.ndarray:
        return scores_of(open_model(file), self.request.io, self.spec, self.golden.pixels)

    def _compare(self, stage: str, scores: np.ndarray, precision: Precision) -> Difference:
        difference = compare(stage, self.reference, scores, TOLERANCES[precision])
        self.differences.append(difference)
        return difference

    def _artifact(self, file: Path, precision: Precision, graph: GraphFacts) -> None:
        backend = open_model(file)
        scores = scores_of(backend, self.request.io, self.spec, self.golden.pixels)
        parity = self._compare(file.name, scores, precision)
        self.scores[file.name] = scores
        entry = record(self.folder, file.name)
        self.artifacts.append(Artifact(entry, backend.engine, precision, backend.input, backend.output, graph, parity))

    def _gate(self) -> None:
        """Raises CheckFailed: a stage differs from torch, or the graph holds what phones refuse."""
        failed = [d.stage for d in self.differences if not d.passed]
        if failed:
            raise CheckFailed(f"parity failed at: {', '.join(failed)}. No bundle was written.", tuple(self.differences))
        for artifact in self.artifacts:
            graph, file = artifact.graph, artifact.file.path
            beyond = ", ".join(graph.flex_or_custom) or "none"
            if artifact.engine == "litert" and (graph.flex_or_custom or graph.max_rank > 4):
                raise CheckFailed(
                    f"{file} holds tensors of rank {graph.max_rank} (accepted: up to 4) and the operators {beyond} "
                    "beyond TFLite's own (accepted: none). No bundle was written."
                )

    def _manifest(self, name: str) -> Manifest:
        checkpoint, request = self.checkpoint, self.request
        (self.folder / LABELS).write_text("".join(f"{label}\n" for label in checkpoint.config.labels), encoding="utf-8")
        files = [LABELS, *write_golden(self.folder, replace(self.golden, scores=self.scores), self.artifacts)]
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=name,
            task="image-classification",
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
        )
        write_manifest(self.folder, manifest)
        return manifest
