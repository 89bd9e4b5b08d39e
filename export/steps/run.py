"""The steps from a checkpoint to a bundle's files, in their order."""

from __future__ import annotations

from dataclasses import replace

from mvit2.bundle.manifest import Manifest
from mvit2.export.formats import in_order
from mvit2.export.int8.quantiser import Quantiser

from .export_form import export_form_of, within_float16
from .gates import gate
from .manifest import finish
from .model_files import ModelFiles
from .reference import reference_of
from .stages import Build, Converted

__all__ = ["run_steps"]


def run_steps(build: Build) -> Manifest:
    """Fill ``build.folder``. Raises Mvit2Error: any of mvit2.errors; CheckFailed carries the table of differences."""
    request, listener = build.request, build.listener
    quantiser = Quantiser(request, build.checkpoint, build.card, listener, build.float_files)
    calibrated = quantiser.calibrate()  # a wrong folder is refused before anything is converted
    with listener.step("torch: the model and its export form"):
        reference = reference_of(build)
        fitted = within_float16(build.checkpoint, reference.images.pixels)
        form = export_form_of(build, fitted, reference)
    made = Converted(differences=(reference.difference, form.difference))
    files, rows = ModelFiles(build, form, reference), in_order(request.formats)
    for row in rows:
        if not row.repacks:
            made += files.converted(row)
    gate(made.differences, made.artifacts)  # before minutes of calibration
    quantiser = replace(quantiser, checkpoint=fitted)
    quantised = quantiser.write(calibrated)
    written = quantised.artifacts
    for row in rows:
        if row.repacks:
            floats, again = files.repacked(row, quantiser, quantised)
            made, written = made + floats, (*written, *again)
    made += files.quantised(quantiser, written)
    gate(made.differences, made.artifacts)
    with listener.step("bundle: labels, golden vectors, manifest"):
        return finish(build, form, reference, made, None if calibrated is None else calibrated.images.record)
