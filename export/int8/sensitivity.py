"""``mvit2 sensitivity``: what each block of the network loses to int8, as a table and as an image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvit2.atomic_write import write_bytes
from mvit2.errors import MissingEngineError, OutputError
from mvit2.export.early_checks import refuse_early
from mvit2.export.listener import Listener
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import load

from .calibrate import calibrate, simulate

if TYPE_CHECKING:
    from mvit2.quantize.learn.sensitivity import BlockLoss

__all__ = ["analyse", "check_plot", "plot"]

_KINDS = (".png", ".svg", ".pdf")


def check_plot(file: Path) -> None:
    """Refuse early, before minutes of work. Raises OutputError."""
    if file.suffix.lower() not in _KINDS:
        raise OutputError(f"--plot {file} is of an unknown kind, accepted: {', '.join(_KINDS)}; name such a file.")
    if not file.absolute().parent.is_dir():
        raise OutputError(f"--plot {file} cannot be written: there is no folder {file.parent}; make it first.")


def analyse(request: ExportRequest, listener: Listener) -> list[BlockLoss]:
    """Raises Mvit2Error as mvit2.export.pipeline.export does."""
    from mvit2.quantize.learn.sensitivity import sensitivity

    refuse_early(request, writes=False)
    with listener.step(f"load weights {request.weights_name}"):
        checkpoint = load(request)
    for note in checkpoint.warnings:
        listener.warn(note)
    with listener.step("int8: read the calibration images"):
        pictures = calibrate(request, checkpoint.preprocess, listener)
    simulation = simulate(request, checkpoint, pictures, listener).simulation
    with listener.step(f"int8: one block at a time, on {len(pictures.held_out)} held-out images"):
        return sensitivity(simulation, pictures.held_out)


def plot(losses: Sequence[BlockLoss], file: Path) -> None:
    """Bars of each block's own noise. Raises OutputError, MissingEngineError."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise MissingEngineError("matplotlib", "export") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.3 * len(losses)), layout="constrained")
    names = [loss.block for loss in losses]
    axes.barh(names, [loss.alone_snr_db for loss in losses], color="#4477aa")
    axes.invert_yaxis()
    axes.set_xlabel("logit SNR in dB when only this block is int8 (less is worse)")
    for row, loss in enumerate(losses):
        axes.text(loss.alone_snr_db, row, f" {loss.alone_agreement:.0%} top-1 agreement", va="center", fontsize=8)
    axes.margins(x=0.2)
    try:
        drawn = io.BytesIO()
        figure.savefig(drawn, format=file.suffix.lower()[1:], dpi=120)
        write_bytes(file, drawn.getvalue())
    except (OSError, ValueError) as error:
        raise OutputError(f"--plot {file} cannot be written ({error}); name a .png, .svg or .pdf file.") from None
    finally:
        pyplot.close(figure)
