"""``mvit2 sensitivity``: options and table. What is measured, and how, is in export/int8/sensitivity.py."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json, Opt, Quiet, Typed, with_options
from mvit2.export.option import options_of, request_of
from mvit2.export.request import ExportRequest

__all__ = ["sensitivity"]

_OPTIONS = ("variant", "weights", "image_size", "calibration", "calibration_samples", "seed", "learning_steps", "force")


@with_options(ExportRequest, _OPTIONS)
def sensitivity(
    typed: Typed,
    plot: Annotated[Path | None, Opt(metavar="FILE.png", help="Draw the table, too.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    request = request_of(ExportRequest, typed)
    from mvit2.export.int8.sensitivity import analyse, check_plot
    from mvit2.export.int8.sensitivity import plot as draw

    if plot is not None:
        check_plot(plot)
    losses = analyse(request, screen)
    columns = ("block", "alone: SNR", "cosine", "top-1 agreement", "all but it: SNR", "top-1 agreement")
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
    screen.result(f"next: {_again(typed)} --min-agreement 0.99 keeps such blocks float until that share is reached")


def _again(typed: Typed) -> str:
    """The export of the same network with the same calibration, as it is typed."""
    options = options_of(ExportRequest)
    given = {name: value for name, value in typed.items() if value not in (None, options[name].default)}
    words = [
        f"{options[name].flags[0]}{'' if value is True else f' {shlex.quote(str(value))}'}"
        for name, value in given.items()
    ]
    return " ".join(["mvit2 export", *words])
