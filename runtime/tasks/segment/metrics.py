"""From what was found of each image to the figures of an evaluation of a segmentation network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from mvit2.bundle.manifest import Precision
from mvit2.image.masks import no_pixel
from mvit2.metrics.confusion import Cell, Confusion, mean_iou, mean_iou_interval
from mvit2.runtime.tasks.classify.metrics import Subject, pairwise, total_snr_db
from mvit2.runtime.tasks.record import MaskAnswer, Row

__all__ = ["MaskClass", "MaskDisagreement", "MaskEvaluation", "MaskFigures", "summarise_masks"]


@dataclass(frozen=True)
class MaskFigures:
    """One artifact over all images. ``agreement`` and ``snr_db`` are None where there is nothing to compare with."""

    artifact: str
    precision: Precision
    mean_iou: float  # over the classes that occur, in the truth or in this artifact's answers
    pixel_accuracy: float
    iou: tuple[float | None, ...]  # of each class, by index; None: in neither of both, or its pixels do not count
    agreement: float | None  # share of seen pixels, labelled or not, with the reference's class
    snr_db: float | None  # of centred logits at the network's resolution; None of masks, too
    confusion: tuple[Cell, ...]  # (true class, answered class, pixels), where there are any
    interval: tuple[float, float] | None = None  # 95 % of mean_iou, over images; None for fewer than two


@dataclass(frozen=True)
class MaskClass:
    """One class that occurs, in the truth or in an artifact's answers."""

    index: int
    label: str
    pixels: int  # of the truth, among those that count
    iou: Mapping[str, float | None]  # artifact -> IoU
    mistaken_for: str | None  # what most of its wrong pixels are taken for, over all artifacts


@dataclass(frozen=True)
class MaskDisagreement:
    """An image on which a quantised artifact is far from the reference."""

    picture: str
    mask: str  # the file with its true classes
    artifact: str
    precision: Precision
    agreement: float  # share of seen pixels with the reference's class
    reference: float | None  # pixel accuracy of the reference on this image; None where no pixel counts
    answer: float | None  # pixel accuracy of the artifact


@dataclass(frozen=True)
class MaskEvaluation:
    """All figures, over the images that could be read."""

    images: int
    pixels: int  # that count: with a class that is not ignored, and seen by the network
    unseen: float  # share of the pixels with such a class that the network never sees: what a centre crop cuts off
    unreadable: Mapping[str, str]  # image -> why
    reference: str | None  # the float32 artifact that the others are compared with
    artifacts: tuple[MaskFigures, ...]
    agreement: Mapping[str, Mapping[str, float]]  # of every two artifacts: share of seen pixels with the same class
    classes: tuple[MaskClass, ...]  # by index
    worst: tuple[MaskDisagreement, ...]  # the least agreement of quantised artifacts first, one for each image


def summarise_masks(subject: Subject, rows: Sequence[Row[MaskAnswer]], worst: int) -> MaskEvaluation:
    """As figures.summarise. IoU and shares are over the pixels of all images together.

    Raises UsageError: no pixel counts.
    """
    rows = sorted(rows, key=lambda row: row.picture)
    read = [row for row in rows if row.error is None]
    names = list(subject.artifacts)
    totals = [_total(read, i, len(subject.labels)) for i in range(len(names))]
    labelled = sum(row.answers[0].labelled for row in read)
    if not totals[0].pixels:
        raise no_pixel(subject.ignored)
    return MaskEvaluation(
        images=len(read),
        pixels=totals[0].pixels,
        unseen=1 - totals[0].pixels / labelled,
        unreadable={subject.pictures[row.picture]: row.error for row in rows if row.error is not None},
        reference=None if subject.reference is None else names[subject.reference],
        artifacts=tuple(_of_artifact(subject, read, i, total) for i, total in enumerate(totals)),
        agreement=pairwise(names, lambda i, j: _agreement(read, i, j)),
        classes=_of_classes(subject, totals),
        worst=_worst(subject, read)[:worst],
    )


def _total(read: Sequence[Row[MaskAnswer]], i: int, classes: int) -> Confusion:
    return Confusion.of_cells(chain.from_iterable(row.answers[i].cells for row in read), classes)


def _agreement(read: Sequence[Row[MaskAnswer]], i: int, j: int) -> float:
    """Share of equal pixels; itself, an artifact equals on all that were seen."""
    return sum(row.answers[i].equal[j] for row in read) / max(1, sum(row.answers[i].equal[i] for row in read))


def _of_artifact(subject: Subject, read: Sequence[Row[MaskAnswer]], i: int, total: Confusion) -> MaskFigures:
    artifact, precision = list(subject.artifacts.items())[i]
    compared = subject.reference is not None and i != subject.reference
    iou = total.iou(subject.ignored)
    return MaskFigures(
        artifact,
        precision,
        mean_iou(iou),
        total.pixel_accuracy or 0.0,
        iou,
        agreement=_agreement(read, i, subject.reference or 0) if compared else None,
        snr_db=total_snr_db(read, i) if compared and read[0].answers[i].noise is not None else None,
        confusion=total.cells,
        interval=mean_iou_interval([row.answers[i].cells for row in read], len(subject.labels), subject.ignored),
    )


def _of_classes(subject: Subject, totals: Sequence[Confusion]) -> tuple[MaskClass, ...]:
    of_artifacts = dict(zip(subject.artifacts, (total.iou(subject.ignored) for total in totals), strict=True))
    found = []
    for index, label in enumerate(subject.labels):
        iou = {artifact: values[index] for artifact, values in of_artifacts.items()}
        if all(value is None for value in iou.values()):
            continue
        pixels, wrong = int(totals[0].counts[index].sum()), np.sum([total.counts[index] for total in totals], axis=0)
        wrong[index] = 0
        mistaken = subject.labels[int(wrong.argmax())] if wrong.any() else None
        found.append(MaskClass(index, label, pixels, iou, mistaken))
    return tuple(found)


def _worst(subject: Subject, read: Sequence[Row[MaskAnswer]]) -> tuple[MaskDisagreement, ...]:
    reference, artifacts = subject.reference, list(subject.artifacts.items())
    quantised = [i for i, (_, precision) in enumerate(artifacts) if precision != "float32"]
    if reference is None or not quantised:
        return ()
    found = []
    for row in (row for row in read if row.answers[reference].equal[reference]):  # some of it was seen
        i = min(quantised, key=lambda i: row.answers[i].equal[reference])
        accuracies = (_total([row], j, len(subject.labels)).pixel_accuracy for j in (reference, i))
        names = subject.pictures[row.picture], subject.truth[row.picture]
        found.append(MaskDisagreement(*names, *artifacts[i], _agreement([row], i, reference), *accuracies))
    return tuple(sorted(found, key=lambda disagreement: disagreement.agreement))
