"""The whole way from a request to a bundle; the steps in between are in export/steps/."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mvit2.bundle.manifest import Manifest
from mvit2.errors import MissingEngineError
from mvit2.export.convert.tflite_metadata import model_card
from mvit2.export.steps.run import run_steps
from mvit2.export.steps.stages import Build
from mvit2.scratch import scratch_folder
from mvit2.telemetry import no_telemetry

from .atomic import check_target, under_construction
from .early_checks import refuse_early
from .formats import libraries_of
from .listener import Listener, Silent
from .prove import prove_gate, require_usable
from .request import ExportRequest
from .resolve import bundle_name, load, output_of

__all__ = ["ExportResult", "export"]


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
    _require_libraries(request.formats)
    refuse_early(request)
    places = require_usable(request.prove, listener)
    with listener.step(f"load weights {request.weights_name}"):
        checkpoint = load(request)
    for note in checkpoint.warnings:
        listener.warn(note)
    name = bundle_name(request, checkpoint)
    target = Path(request.output).expanduser().absolute() / name
    check_target(target, request.overwrite, say=listener.warn)
    with (
        under_construction(target, request.overwrite, listener.warn) as building,
        scratch_folder() as scratch,
    ):
        card = model_card(name, checkpoint, request.io, request.output_kind)
        output = output_of(request, checkpoint)
        manifest = run_steps(Build(request, checkpoint, card, output, building, scratch, listener))
        if places:
            manifest = prove_gate(building, places, listener)
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


def _require_libraries(formats: Iterable[str]) -> None:
    for module, extra in libraries_of(formats).items():
        if find_spec(module) is None:
            raise MissingEngineError(module, extra)
