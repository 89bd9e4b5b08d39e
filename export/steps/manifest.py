"""The last step: labels, golden vectors, and the manifest that lists everything."""

from __future__ import annotations

from dataclasses import replace

from mvit2.atomic_write import write_text
from mvit2.bundle.manifest import LABELS, SCHEMA_VERSION, Manifest, record, write_manifest
from mvit2.bundle.measurements import Calibration
from mvit2.export.formats import TOOLS
from mvit2.image.palette import class_colors
from mvit2.runtime.verify.golden import write_golden
from mvit2.versions import installed

from .stages import Build, Converted, ExportForm, Reference

__all__ = ["finish"]


def finish(
    build: Build, form: ExportForm, reference: Reference, made: Converted, calibration: Calibration | None
) -> Manifest:
    """Write what is missing in ``build.folder``. ``calibration``: on which images int8 ranges were learned."""
    checkpoint, request, card, folder = build.checkpoint, build.request, build.card, build.folder
    labels = checkpoint.config.labels
    write_text(folder / LABELS, "".join(f"{label}\n" for label in labels))
    golden = write_golden(folder, replace(reference.images, scores=made.scores), made.artifacts, build.output)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=card.name,
        task=checkpoint.task.manifest,
        architecture=checkpoint.architecture.name,
        variant=checkpoint.variant,
        io=request.io,
        weights=card.weights,
        preprocess=card.preprocess,
        classes=checkpoint.config.num_labels,
        artifacts=made.artifacts,
        files=tuple(record(folder, file) for file in (LABELS, *made.files, *golden)),
        parity=made.differences,
        blocks=form.blocks,
        calibration=calibration,
        tools=installed(TOOLS),
        output_kind=request.output_kind,
        colors=class_colors(labels) if checkpoint.task.colored else (),
        assumptions=(*checkpoint.assumptions, *([reference.same] if reference.same else [])),
        reduce_labels=checkpoint.reduce_labels,
        rules=checkpoint.config.rules,
        options=request.typed,
    )
    write_manifest(folder, manifest)
    return manifest
