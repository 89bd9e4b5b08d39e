"""``mvit2 export``, which is ``mvit2-export``: options, and what is said of the bundle. export/pipeline.py makes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mvit2.bundle.manifest import DEFAULT_SAMPLES, DEFAULT_SEED
from mvit2.export.request import DEFAULT_OPSET
from mvit2.units import human_bytes

from .app import app, export_app
from .console import screen
from .options import (
    Calibration,
    DynamicBatch,
    Evaluation,
    Force,
    Formats,
    Ignore,
    ImageSize,
    Io,
    Json,
    Labels,
    Learning,
    MaxDrop,
    MinAgreement,
    NoReport,
    Opset,
    Output,
    OutputKind,
    Overwrite,
    Quantize,
    Quiet,
    Samples,
    Seed,
    Split,
    Task,
    Variant,
    Version,
    Weights,
    reading_of,
)

__all__ = ["export"]


@export_app.command(help="Export a checkpoint to a bundle: model files, labels, golden vectors, manifest.")
@app.command("export", help="Export a checkpoint to a bundle (the same as mvit2-export).")
def export(
    variant: Variant = None,
    weights: Weights = "auto",
    task: Task = None,
    format: Formats = None,
    output: Output = Path(),
    overwrite: Overwrite = False,
    image_size: ImageSize = None,
    io: Io = "image",
    output_kind: OutputKind = "scores",
    opset: Opset = DEFAULT_OPSET,
    dynamic_batch: DynamicBatch = False,
    labels: Labels = None,
    quantize: Quantize = None,
    calibration: Calibration = None,
    calibration_samples: Samples = DEFAULT_SAMPLES,
    seed: Seed = DEFAULT_SEED,
    learning_steps: Learning = None,
    evaluation: Evaluation = None,
    split: Split = None,
    ignore: Ignore = None,
    min_agreement: MinAgreement = None,
    max_drop: MaxDrop = None,
    force: Force = False,
    no_report: NoReport = False,
    quiet: Quiet = False,
    json: Json = False,
    version: Version = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.export.request import (
        ExportRequest,
        parse_formats,
        parse_image_size,
        parse_io,
        parse_output_kind,
        parse_quantize,
    )

    request = ExportRequest(
        weights=weights,
        variant=variant,
        formats=parse_formats(format or ["all"]),
        output=output,
        overwrite=overwrite,
        image_size=parse_image_size(image_size),
        opset=opset,
        io=parse_io(io),
        task=task,
        output_kind=parse_output_kind(output_kind),
        dynamic_batch=dynamic_batch,
        labels=labels,
        quantize=parse_quantize(quantize),
        calibration=calibration,
        calibration_samples=calibration_samples,
        seed=seed,
        learning_steps=learning_steps,
        evaluation=evaluation,
        reading=reading_of(None, split, ignore),
        min_agreement=min_agreement,
        max_drop=max_drop,
        force=force,
        report=not no_report,
    )
    from mvit2.export.pipeline import export as run_export

    result = run_export(request, screen)
    bundle, manifest = _shown(result.bundle), result.manifest
    screen.differences(manifest.parity)
    screen.fidelity(manifest)
    rows = [(f"{bundle}/{a.file.path}", human_bytes(a.file.bytes)) for a in manifest.artifacts]
    rows.append((f"{bundle}/ labels, golden vectors, manifest", human_bytes(sum(f.bytes for f in manifest.files))))
    rows += [(f"{bundle}/{page.name}", human_bytes(page.stat().st_size)) for page in result.bundle.glob("report.html")]
    screen.table("written", ("file", "size"), rows)
    for warning in screen.warnings[:]:
        screen.result(f"remember: {warning}")
    screen.result(f"next: mvit2 predict {bundle} PHOTO.jpg   or   mvit2 check {bundle}")
    screen.json({"bundle": str(result.bundle), "warnings": screen.warnings, "manifest": asdict(manifest)})


def _shown(path: Path) -> Path:
    """Relative to the current folder where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
