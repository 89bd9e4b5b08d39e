"""The images on which quantised artifacts are compared with float ones, and how right answers for them are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import OutputKind, sha256_of
from mvit2.bundle.measurements import Accuracy, Fidelity, MaskAccuracy
from mvit2.difference import Measure
from mvit2.errors import UsageError
from mvit2.export.request import ExportRequest
from mvit2.image.masks import ignored, no_pixel
from mvit2.image.placement import Placement
from mvit2.image.preprocess import preprocess_placed
from mvit2.metrics.confusion import Confusion, mean_iou
from mvit2.metrics.fidelity import top_k_hits
from mvit2.runtime.engines.backend import Array
from mvit2.runtime.tasks.picture import File, Truth
from mvit2.runtime.tasks.segment.segmenter import classes_seen
from mvit2.runtime.tasks.table import METRICS, seen_confusion
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName

from .fidelity import nearness

if TYPE_CHECKING:
    from mvit2.checkpoint.load import Checkpoint
    from mvit2.quantize.calibration import CalibrationSet

__all__ = ["FloatReference", "ValidationImages", "validation_images"]

AnyAccuracy = Accuracy | MaskAccuracy


@dataclass(frozen=True)
class ValidationImages:
    """``pixels``: uint8 [N, H, W, 3]. ``accuracy``: of the outputs [N, ...] for them; None without labels."""

    source: Literal["held-out calibration pictures", "evaluation pictures"]
    pixels: NDArray[np.uint8]
    accuracy: Callable[[Array], AnyAccuracy | None] = lambda outputs: None


@dataclass(frozen=True)
class FloatReference:
    """What a format's float32 file returns for the validation images. Raises ValueError: not for all of them.

    Attributes:
        scores: [N, ...], of ``measure``.
        accuracy: of ``scores``, where the images have labels.
    """

    file: Path
    images: ValidationImages
    measure: Measure
    scores: Array
    accuracy: AnyAccuracy | None

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.images.pixels):
            raise ValueError(f"{len(self.scores)} rows of scores for {len(self.images.pixels)} images")

    def fidelity(self, scores: Array) -> Fidelity:
        """How near a quantised file comes that returns ``scores`` [N, ...] for the same images."""
        figures = nearness(self.measure, self.scores, scores)
        return Fidelity(self.images.source, len(scores), *figures, self.accuracy, self.images.accuracy(scores))


@dataclass(frozen=True)
class _Known:
    """What is true of the images, where each lies on the network's input, and what the network gives."""

    truth: Sequence[Truth]
    placements: Sequence[Placement]
    classes: int
    output_kind: OutputKind
    ignored: frozenset[int]


def validation_images(
    request: ExportRequest, checkpoint: Checkpoint, calibrated: CalibrationSet, warn: Callable[[str], None]
) -> ValidationImages:
    """The images of --eval that were not calibrated on; without --eval those held out of the calibration.

    Raises UsageError, ImageError: as runtime.tasks.table.Metric.read, or all were calibrated on.
    """
    if request.evaluation is None:
        return ValidationImages("held-out calibration pictures", calibrated.held_out)
    task, labels = checkpoint.task.manifest, checkpoint.config.labels
    reading = replace(request.reading, reduce_labels=True) if checkpoint.reduce_labels else request.reading
    labelled = METRICS[task].read(Path(request.evaluation), labels, reading)
    seen = set(calibrated.record.sha256)
    pairs = list(zip(labelled.pictures, labelled.truth, strict=True))
    apart = [(path, truth) for path, truth in pairs if sha256_of(path) not in seen]
    if not apart:
        raise UsageError(f"--eval {request.evaluation} holds no image that was not calibrated on; name other images.")
    if len(apart) < len(pairs):
        warn(f"{len(pairs) - len(apart)} of {len(pairs)} --eval images were calibrated on; they are left out.")
    placed = [preprocess_placed(path, checkpoint.preprocess) for path, _ in apart]
    known = _Known(
        [truth for _, truth in apart],
        [placement for _, placement in placed],
        len(labels),
        request.output_kind,
        ignored(reading),
    )
    pixels = np.stack([pixels for pixels, _ in placed])
    return ValidationImages("evaluation pictures", pixels, partial(_ACCURACY[task], known))


def _of_classes(known: _Known, scores: Array) -> Accuracy:
    labels = np.array(known.truth)
    return Accuracy(len(labels), top_k_hits(scores, labels, 1), top_k_hits(scores, labels, 5))


def _of_masks(known: _Known, outputs: Array) -> MaskAccuracy:
    """The figures of ``mvit2 evaluate``, by the same lines: on the images in their own size."""
    total = Confusion.of_cells((), known.classes)
    for output, truth, placement in zip(outputs, known.truth, known.placements, strict=True):
        assert isinstance(truth, File)
        seen = classes_seen(known.output_kind, output, placement)
        total += seen_confusion(truth.mask(), seen, placement, known.classes, known.ignored)
    if total.pixel_accuracy is None:
        raise no_pixel(known.ignored)
    iou = total.iou(known.ignored)
    return MaskAccuracy(len(outputs), mean_iou(iou), total.pixel_accuracy, iou)


_ACCURACY: Mapping[TaskName, Callable[[_Known, Array], AnyAccuracy]] = {
    CLASSIFY.manifest: _of_classes,
    SEGMENT.manifest: _of_masks,
}
