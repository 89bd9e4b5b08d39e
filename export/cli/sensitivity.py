"""``mvit2 sensitivity``: options and table. What is measured, and how, is in export/int8/sensitivity.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from mvit2.bundle.manifest import DEFAULT_SAMPLES, DEFAULT_SEED

from .app import app
from .console import screen
from .options import (
    Calibration,
    Force,
    ImageSize,
    Json,
    Learning,
    Opt,
    Quiet,
    Samples,
    Seed,
    Variant,
    Weights,
)

__all__ = ["sensitivity"]


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
    from mvit2.export.request import ExportRequest, parse_image_size

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
    from mvit2.export.int8.sensitivity import analyse, check_plot
    from mvit2.export.int8.sensitivity import plot as draw

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
