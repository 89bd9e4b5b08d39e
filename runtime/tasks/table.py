"""How the answers of a task are judged on labelled images: one row of ``METRICS`` for each task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import MAX_MASK_CLASSES, Manifest
from mvit2.errors import UsageError
from mvit2.image.dataset import Reading, empty_classes, labelled_images
from mvit2.image.masks import check_masks, check_size, ignored, labelled_masks
from mvit2.image.placement import Placement
from mvit2.metrics.confusion import Confusion
from mvit2.metrics.fidelity import SMALLEST_PROBABILITY, centred_logits
from mvit2.runtime.tasks.classify.metrics import Evaluation, Subject, summarise
from mvit2.runtime.tasks.segment.metrics import MaskEvaluation, summarise_masks
from mvit2.runtime.tasks.segment.segmenter import classes_seen
from mvit2.tasks import CLASSIFY, SEGMENT, Task, TaskName

from .outputs import LOGITS, output_of
from .picture import File, Job, Picture, Truth
from .record import Answer, MaskAnswer, Row

__all__ = ["METRICS", "Labelled", "Metric", "metric_of", "seen_confusion"]

Array = NDArray[Any]
_TOP = 5


@dataclass(frozen=True)
class Labelled:
    """Pictures with what is true of each; ``empty``: class folders without an image."""

    pictures: tuple[Path, ...]
    truth: tuple[Truth, ...]
    empty: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """One row of ``METRICS``.

    Attributes:
        options: of Reading, those that mean something to this task's labels.
        labelled: source, labels of the network -> its images, everything about them looked at that can be refused.
        answer: what is kept of an artifact's answer for an image.
        judge: the outputs of all artifacts for an image -> its row.
        summarise: rows of all images, and how many of the worst are wanted -> the figures.
    """

    task: Task
    options: frozenset[str]
    labelled: Callable[[Path, Sequence[str], Reading], Labelled]
    answer: type[Answer | MaskAnswer]
    judge: Callable[[Job, Picture, Placement, Sequence[Array]], Row[Any]]
    summarise: Callable[[Subject, Sequence[Row[Any]], int], Evaluation | MaskEvaluation]

    def read(self, source: Path, labels: Sequence[str], reading: Reading) -> Labelled:
        """Raises UsageError, ImageError: as image.dataset.labelled_images or image.masks, and for odd options."""
        for field in fields(reading):
            if getattr(reading, field.name) != field.default and field.name not in self.options:
                accepted = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(self.options))
                flag = field.name.replace("_", "-")
                raise UsageError(f"--{flag} is not for {self.task.network}, accepted with its labels: {accepted}.")
        return self.labelled(source, labels, reading)


# ---- one class for each image ----


def _pictures_of_classes(source: Path, labels: Sequence[str], reading: Reading) -> Labelled:
    pictures, truth = zip(*labelled_images(source, labels, reading.synsets), strict=True)
    return Labelled(pictures, truth, tuple(empty_classes(source, pictures)))


def _judge_class(job: Job, picture: Picture, placement: Placement, scores: Sequence[Array]) -> Row[Answer]:
    """``scores``: probabilities [classes]."""
    reference = None if job.reference is None else scores[job.reference]
    logits = None if reference is None else centred_logits(reference)
    answers = []
    for values in scores:
        best = np.argsort(-values, kind="stable")[:_TOP]
        noise = drift = None
        if logits is not None and reference is not None:
            noise = float(np.square(centred_logits(values) - logits).sum())
            first = int(reference.argmax())
            drift = abs(_log(values[first]) - _log(reference[first]))
        answers.append(Answer(tuple(map(int, best)), tuple(float(values[i]) for i in best), noise, drift))
    power = 0.0 if logits is None else float(np.square(logits).sum())
    return Row(picture.index, power, tuple(answers))


def _log(probability: Any) -> float:
    return math.log(max(float(probability), SMALLEST_PROBABILITY))


# ---- one class for each pixel ----


def _pictures_with_masks(source: Path, labels: Sequence[str], reading: Reading) -> Labelled:
    if len(labels) > MAX_MASK_CLASSES:
        raise UsageError(f"the network has {len(labels)} classes, accepted: {MAX_MASK_CLASSES}, as many as masks name.")
    pairs = labelled_masks(source, reading)
    check_masks(pairs, len(labels), ignored(reading), reading.reduce_labels)
    pictures, masks = zip(*pairs, strict=True)
    return Labelled(pictures, tuple(File.of(mask, reading.reduce_labels) for mask in masks))


def _judge_mask(job: Job, picture: Picture, placement: Placement, outputs: Sequence[Array]) -> Row[MaskAnswer]:
    """``outputs``: logits [h, w, classes] or masks [H, W]; classes are compared on the image, where the truth is."""
    assert isinstance(picture.truth, File)
    manifest, truth = job.manifest, picture.truth.mask()
    size = placement.columns.picture, placement.rows.picture
    check_size(picture.file.path, picture.truth.path, truth.shape[::-1], size)
    seen = [classes_seen(manifest.output_kind, output, placement) for output in outputs]
    labelled = int(np.isin(truth, list(job.ignored), invert=True).sum())
    logits: Sequence[Array | None] = [None] * len(outputs)
    if job.reference is not None and output_of(manifest) is LOGITS:
        logits = [output - output.mean(-1, keepdims=True, dtype=np.float64) for output in outputs]
    reference = None if job.reference is None else logits[job.reference]
    answers = tuple(
        MaskAnswer(
            labelled,
            seen_confusion(truth, classes, placement, manifest.class_count, job.ignored).cells,
            tuple(int((classes == other).sum()) for other in seen),
            None if reference is None else float(np.square(centred - reference).sum()),
        )
        for classes, centred in zip(seen, logits, strict=True)
    )
    return Row(picture.index, 0.0 if reference is None else float(np.square(reference).sum()), answers)


def seen_confusion(
    truth: NDArray[np.uint8], seen: NDArray[np.uint8], placement: Placement, classes: int, ignored: frozenset[int]
) -> Confusion:
    """Of an image's mask [height, width] and what was answered of the pixels that the network saw."""
    return Confusion.of(truth[placement.rows.seen, placement.columns.seen], seen, classes, ignored)


METRICS: Mapping[TaskName, Metric] = MappingProxyType(
    {
        metric.task.manifest: metric
        for metric in (
            Metric(CLASSIFY, frozenset({"synsets"}), _pictures_of_classes, Answer, _judge_class, summarise),
            Metric(
                SEGMENT,
                frozenset({"split", "ignore", "reduce_labels"}),
                _pictures_with_masks,
                MaskAnswer,
                _judge_mask,
                summarise_masks,
            ),
        )
    }
)


def metric_of(manifest: Manifest) -> Metric:
    return METRICS[manifest.task]
