"""What ``mvit2 evaluate`` shows of a segmentation network: its tables, and the masks of the worst disagreements."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .console import screen
from .evaluate_classes import plain, show_pairs

if TYPE_CHECKING:
    from mvit2.runtime.evaluate.plan import Plan
    from mvit2.runtime.tasks.segment.metrics import MaskDisagreement, MaskEvaluation, MaskFigures

__all__ = ["save", "show"]

_CLASSES_SHOWN = 10


def show(found: MaskEvaluation) -> None:
    from mvit2.metrics.confusion import mean_iou

    names = [figures.artifact for figures in found.artifacts]
    columns = ("artifact", "mIoU (95 %)", "pixel accuracy", "pixel agreement", "SNR")
    beside = f"; the last two columns: against {found.reference}" if found.reference and len(names) > 1 else ""
    title = f"{found.images} images with masks, {found.pixels} labelled pixels{beside}"
    screen.table(title, columns, map(_artifact_row, found.artifacts))
    show_pairs("pixel agreement", found.agreement)
    classes = sorted(found.classes, key=lambda c: (mean_iou(c.iou.values()), c.index))[:_CLASSES_SHOWN]
    screen.table(
        f"IoU of the worst {len(classes)} of {len(found.classes)} classes",
        ("class", "of the pixels", *names, "most confused with"),
        (
            (c.label, f"{c.pixels / found.pixels:.2%}", *map(_share, c.iou.values()), c.mistaken_for or "-")
            for c in classes
        ),
    )
    if found.unseen:
        screen.result(
            f"{found.unseen:.1%} of the labelled pixels count nowhere: the preprocessing's centre crop keeps them from "
            "the network"
        )


def _artifact_row(figures: MaskFigures) -> tuple[str, ...]:
    snr = "-" if figures.snr_db is None else f"{figures.snr_db:.1f} dB"
    interval = "" if figures.interval is None else " ({:.1f} to {:.1f})".format(*(100 * x for x in figures.interval))
    shares = map(_share, (figures.pixel_accuracy, figures.agreement))
    return figures.artifact, f"{figures.mean_iou:.1%}{interval}", *shares, snr


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def save(folder: Path, plan: Plan, worst: Sequence[MaskDisagreement]) -> None:
    """Of each image: a copy, its true mask, and the masks of both artifacts in the classes' colours.

    Such as 01_street-5__picture.jpg, 01_street-5__truth.png, 01_street-5__float32.png, 01_street-5__int8_0.871.png.
    """
    from mvit2.runtime.tasks.picture import File
    from mvit2.runtime.tasks.segment.segmenter import Segmenter

    files = {
        name: (path, truth.path)
        for name, path, truth in zip(plan.names, plan.pictures, plan.truth, strict=True)
        if isinstance(truth, File)
    }
    opened = {
        artifact.file.path: Segmenter.open(plan.bundle, artifact.file.path, threads=1) for artifact in plan.artifacts
    }
    reference = plan.artifacts[plan.reference or 0].file.path
    for place, found in enumerate(worst, 1):
        picture, truth = files[found.picture]
        start = f"{place:02}_{plain(picture.stem) or 'picture'}_"
        shutil.copyfile(picture, folder / f"{start}_picture{picture.suffix.lower()}")
        shutil.copyfile(truth, folder / f"{start}_truth.png")
        answers = ((reference, "float32"), (found.artifact, f"{found.precision}_{found.agreement:.3f}"))
        for artifact, name in answers:
            opened[artifact].predict(picture).color_mask().save(folder / f"{start}_{name}.png")
