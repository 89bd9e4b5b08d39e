"""The command line. Heavy libraries are imported by the command that needs them, after its arguments were read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mvit2.errors import CheckFailed, Mvit2Error
from mvit2.manifest import DEFAULT_SAMPLES, DEFAULT_SEED

from .console import human_bytes, screen
from .options import (
    Bundle,
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
    Opt,
    Output,
    OutputKind,
    Overwrite,
    Quantize,
    Quiet,
    Samples,
    Seed,
    Split,
    Task,
    Threads,
    Variant,
    Version,
    Weights,
    reading_of,
)
from .request import DEFAULT_OPSET

__all__ = ["app", "export_app"]

_HELP = "MobileViTV2 checkpoints to verified ONNX and TFLite bundles for Android and iOS."
app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False)
export_app = typer.Typer(add_completion=False)


@app.callback()
def _root(version: Version = False) -> None:
    pass


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
    from .request import (
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
    from .pipeline import export as run_export

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


@app.command(
    help="Check a bundle on this machine: hashes, preprocessing, and its models against their recorded answers."
)
def check(
    bundle: Bundle,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.runtime import check_bundle

    report = check_bundle(bundle, threads)
    for file, reason in report.skipped:
        screen.warn(f"{file} was not checked: {reason}")
    if not report.differences:
        raise Mvit2Error("nothing was checked: no engine is installed: pip install 'mvit2[ort]' or 'mvit2[litert]'.")
    if report.other_pixels:
        raise CheckFailed(
            f"this machine's preprocessing makes other pixels of {', '.join(report.other_pixels)} than "
            f"those recorded in {bundle}/golden; its scores will differ. Report Pillow's and NumPy's versions.",
            report.differences,
        )
    if not report.passed:
        raise CheckFailed(
            f"{bundle} computes something else than when it was made; do not ship it. Export it again, "
            "or report this machine and its engine's version.",
            report.differences,
        )
    screen.json({"passed": True, **asdict(report)})
    screen.differences(report.differences)
    screen.result(f"{bundle} is intact and computes what it did when made. next: mvit2 predict {bundle} PHOTO.jpg")


@app.command(help="Say what each block of a network loses to int8, on held-out calibration pictures.")
def sensitivity(
    variant: Variant = None,
    weights: Weights = "auto",
    image_size: ImageSize = None,
    calibration: Calibration = None,
    calibration_samples: Samples = DEFAULT_SAMPLES,
    seed: Seed = DEFAULT_SEED,
    learning_steps: Learning = None,
    force: Force = False,
    plot: Annotated[Path | None, Opt(metavar="FILE.png", help="Draw the table, too.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from .request import ExportRequest, parse_image_size

    request = ExportRequest(
        weights=weights,
        variant=variant,
        image_size=parse_image_size(image_size),
        calibration=calibration,
        calibration_samples=calibration_samples,
        seed=seed,
        learning_steps=learning_steps,
        force=force,
    )
    from .sensitivity import analyse, check_plot
    from .sensitivity import plot as draw

    if plot is not None:
        check_plot(plot)
    losses = analyse(request, screen)
    columns = ("block", "alone: SNR", "cosine", "same top-1", "all but it: SNR", "same top-1")
    rows = [
        (
            loss.block,
            f"{loss.alone_snr_db:.1f} dB",
            f"{loss.alone_cosine:.5f}",
            f"{loss.alone_agreement:.1%}",
            f"{loss.without_snr_db:.1f} dB",
            f"{loss.without_agreement:.1%}",
        )
        for loss in losses
    ]
    screen.table("int8 against float, the most sensitive block first", columns, rows)
    if plot is not None:
        draw(losses, plot)
        screen.result(f"drawn: {plot}")
    screen.json({"blocks": [asdict(loss) for loss in losses], "warnings": screen.warnings})
    screen.result("next: mvit2-export --min-agreement 0.99 keeps such blocks float until that share is reached")


@app.command(help="Say what a bundle or a model file is.")
def info(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE|FILE", help="A bundle's folder, a .onnx or a .tflite file.")],
    json: Json = False,
) -> None:
    screen.configure(False, json)
    from .info import describe_bundle, describe_model

    tables, content = describe_model(path) if path.is_file() else describe_bundle(path)
    for title, columns, rows in tables:
        screen.table(title, columns, rows)
    screen.json(content)
    screen.result(f"next: mvit2 check {path}" if path.is_dir() else "next: mvit2 info BUNDLE")


def _shown(path: Path) -> Path:
    """Relative to the current folder where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
