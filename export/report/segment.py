"""A segmentation network's part of a report: IoU of every class, and images under their classes' colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvit2.bundle.manifest import Artifact, Precision
from mvit2.bundle.measurements import Fidelity, MaskAccuracy
from mvit2.errors import BundleError
from mvit2.image.decode import load_mask
from mvit2.metrics.confusion import mean_iou
from mvit2.runtime.tasks.segment.metrics import MaskEvaluation

from .overlays import Album
from .task import Accuracy, Evaluated, Highlight, Metric, Pictured, ReportTask, Source

__all__ = ["SEGMENTATION", "SegmenterRow"]

_WORST_CLASSES = 40
_MOST_WORST = 6  # images, each with an image for every view

# ---- accuracy ----


@dataclass(frozen=True)
class SegmenterRow:
    """One artifact on images with masks. None: not compared; of ``iou``: a class that does not occur."""

    artifact: str
    precision: Precision
    images: int
    mean_iou: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]
    agreement: float | None = None  # share of pixels with float32's class
    snr_db: float | None = None

    def __post_init__(self) -> None:
        shares = (self.mean_iou, self.pixel_accuracy, *(value for value in self.iou if value is not None))
        if not (all(0 <= share <= 1 for share in shares) and self.images > 0):
            raise BundleError(
                f"the accuracy of {self.artifact} on {self.images} images is mIoU {self.mean_iou}, pixels "
                f"{self.pixel_accuracy}, accepted: shares of 0 to 1; export the bundle again."
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("mean_iou", "mean IoU", self.mean_iou),
            Metric("pixel_accuracy", "pixel accuracy", self.pixel_accuracy),
        )

    @property
    def highlight(self) -> Highlight:
        return Highlight(f"{self.mean_iou:.1%}", "mean IoU", f"{self.pixel_accuracy:.1%} of pixels are right")


def _of_evaluation(evaluated: Evaluated) -> Accuracy:
    found = evaluated.evaluation
    assert isinstance(found, MaskEvaluation)
    rows = (
        SegmenterRow(
            *(a.artifact, a.precision, found.images),
            *(a.mean_iou, a.pixel_accuracy, a.iou),
            *(a.agreement, a.snr_db),
        )
        for a in found.artifacts
    )
    return Accuracy(evaluated.source, tuple(rows), found)


def _of_export(artifact: Artifact, figures: object, fidelity: Fidelity | None) -> SegmenterRow | None:
    if not isinstance(figures, MaskAccuracy):
        return None
    near = (None, None) if fidelity is None else (fidelity.agreement, fidelity.snr_db)
    found = (figures.images, figures.mean_iou, figures.pixel_accuracy, figures.iou)
    return SegmenterRow(artifact.file.path, artifact.precision, *found, *near)


@dataclass(frozen=True)
class _Class:
    """A row of the table of classes: IoU by each artifact. The last two only where the report evaluated."""

    index: int
    label: str
    iou: tuple[float | None, ...]
    share: float | None  # of the labelled pixels
    mistaken_for: str | None


def _details(labels: Sequence[str], accuracy: Accuracy) -> dict[str, Any]:
    """The classes that occur, the worst over all artifacts first."""
    rows = [row for row in accuracy.rows if isinstance(row, SegmenterRow)]
    evaluation = accuracy.evaluation
    known = {c.index: c for c in evaluation.classes} if isinstance(evaluation, MaskEvaluation) else {}
    pixels = max(1, sum(c.pixels for c in known.values()))
    classes = []
    for index, (label, *iou) in enumerate(zip(labels, *(row.iou for row in rows), strict=False)):
        if any(value is not None for value in iou):
            found = known.get(index)
            share, mistaken = (found.pixels / pixels, found.mistaken_for) if found else (None, None)
            classes.append(_Class(index, label, tuple(iou), share, mistaken))
    classes.sort(key=lambda c: mean_iou(c.iou))
    return {"classes": classes[:_WORST_CLASSES], "left_out_classes": len(classes[_WORST_CLASSES:])}


# ---- images ----


def _examples(source: Source, pictures: Mapping[str, Path]) -> Pictured:
    album = Album(source)
    scenes = (album.scene(name, path) for name, path in pictures.items()) if album.segmenters else ()
    return Pictured(tuple(scenes), album.images)


def _worst(source: Source, evaluated: Evaluated) -> Pictured:
    """The truth, float32, and the artifact that is furthest from it."""
    found = evaluated.evaluation
    assert isinstance(found, MaskEvaluation)
    album, scenes = Album(source), []
    for worst in [d for d in found.worst if d.agreement < 1][:_MOST_WORST]:
        right = {worst.artifact: worst.answer}
        right |= {found.reference: worst.reference} if found.reference else {}
        picture, truth = evaluated.files[worst.picture], load_mask(evaluated.files[worst.mask], evaluated.reduced)
        scenes.append(album.scene(worst.picture, picture, right, truth))
    return Pictured(tuple(scenes), album.images)


SEGMENTATION = ReportTask(
    name="segment",
    hub="image-segmentation",
    same="pixel agreement",
    examples=_examples,
    worst=_worst,
    of_evaluation=_of_evaluation,
    of_export=_of_export,
    details=_details,
)
