"""From what was found of each image to the figures of an evaluation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mvit2.bundle.manifest import Precision
from mvit2.metrics.fidelity import confidence_interval, snr_db
from mvit2.runtime.tasks.record import Answer, Row

__all__ = [
    "ArtifactFigures",
    "ClassFigures",
    "Disagreement",
    "Evaluation",
    "Named",
    "Subject",
    "pairwise",
    "summarise",
    "total_snr_db",
]


@dataclass(frozen=True)
class Named:
    """A class and its probability."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class ArtifactFigures:
    """One artifact over all images. The last three compare it with the reference: None where there is none."""

    artifact: str
    precision: Precision
    top1: int
    top5: int
    top1_interval: tuple[float, float]  # Wilson's, 95 %, of the share
    top5_interval: tuple[float, float]
    agreement: float | None  # share of images with the reference's first class
    snr_db: float | None  # of centred logits
    max_drift: float | None  # max |difference| of the log-probability of the reference's first class


@dataclass(frozen=True)
class ClassFigures:
    """The images of one class: how many, how many each artifact gets right, and what they are most confused with."""

    index: int
    label: str
    images: int
    top1: Mapping[str, int]  # artifact -> hits
    top5: Mapping[str, int]
    mistaken_for: str | None  # the most frequent wrong first class, over all artifacts


@dataclass(frozen=True)
class Disagreement:
    """An image on which a quantised artifact is far from the reference."""

    picture: str
    label: str  # its true class
    artifact: str
    precision: Precision
    drift: float
    reference: Named  # what the reference takes it for
    answer: Named  # what the artifact takes it for


@dataclass(frozen=True)
class Evaluation:
    """All figures, over the images that could be read."""

    images: int
    unreadable: Mapping[str, str]  # image -> why
    reference: str | None  # the float32 artifact that the others are compared with
    artifacts: tuple[ArtifactFigures, ...]
    agreement: Mapping[str, Mapping[str, float]]  # of every two artifacts: share of images with the same first class
    classes: tuple[ClassFigures, ...]  # those that have images, by index
    all_wrong: tuple[str, ...]  # images whose class is no artifact's first
    worst: tuple[Disagreement, ...]  # the largest drift of quantised artifacts first, one for each image


@dataclass(frozen=True)
class Subject:
    """What is evaluated: names of the images, labels of the classes, artifacts with their precisions.

    ``truth``: of each image its class, or the name of its mask, of which the indices ``ignored`` do not count.
    """

    pictures: Sequence[str]
    truth: Sequence[Any]
    labels: Sequence[str]
    artifacts: Mapping[str, Precision]
    reference: int | None
    ignored: frozenset[int] = frozenset()


def summarise(subject: Subject, rows: Sequence[Row[Answer]], worst: int) -> Evaluation:
    """``rows`` of all images, of which at least one could be read; ``worst`` is how many disagreements are kept.

    The order of ``rows`` does not matter, not even to the last digit.
    """
    rows = sorted(rows, key=lambda row: row.picture)
    read = [row for row in rows if row.error is None]
    names = list(subject.artifacts)
    wrong = [row.picture for row in read if all(a.classes[0] != subject.truth[row.picture] for a in row.answers)]
    return Evaluation(
        images=len(read),
        unreadable={subject.pictures[row.picture]: row.error for row in rows if row.error is not None},
        reference=None if subject.reference is None else names[subject.reference],
        artifacts=_of_artifacts(subject, read),
        agreement=pairwise(names, lambda i, j: _agreement(read, i, j)),
        classes=_of_classes(subject, read),
        all_wrong=tuple(subject.pictures[i] for i in wrong),
        worst=_worst(subject, read)[:worst],
    )


def _hits(subject: Subject, rows: Sequence[Row[Answer]], k: int) -> dict[str, int]:
    """Artifact -> how many images have their class among its first ``k``."""
    return {
        name: sum(subject.truth[row.picture] in row.answers[i].classes[:k] for row in rows)
        for i, name in enumerate(subject.artifacts)
    }


def _of_artifacts(subject: Subject, read: Sequence[Row[Answer]]) -> tuple[ArtifactFigures, ...]:
    top1, top5, found = _hits(subject, read, 1), _hits(subject, read, 5), []
    for i, (artifact, precision) in enumerate(subject.artifacts.items()):
        compared = subject.reference is not None and i != subject.reference
        figures = ArtifactFigures(
            artifact,
            precision,
            top1[artifact],
            top5[artifact],
            confidence_interval(top1[artifact], len(read)),
            confidence_interval(top5[artifact], len(read)),
            agreement=_agreement(read, i, subject.reference or 0) if compared else None,
            snr_db=total_snr_db(read, i) if compared else None,
            max_drift=max(row.answers[i].drift or 0.0 for row in read) if compared else None,
        )
        found.append(figures)
    return tuple(found)


def total_snr_db(read: Sequence[Row[Any]], i: int) -> float:
    """metrics.fidelity.logit_snr of all images, from the sums over each; exact sums, so that no order matters."""
    return snr_db(math.fsum(row.power for row in read), math.fsum(row.answers[i].noise or 0.0 for row in read))


def _agreement(read: Sequence[Row[Answer]], i: int, j: int) -> float:
    return sum(row.answers[i].classes[0] == row.answers[j].classes[0] for row in read) / len(read)


def pairwise(names: Sequence[str], agreement: Callable[[int, int], float]) -> dict[str, dict[str, float]]:
    """``agreement`` of every two artifacts."""
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for i, j in combinations(range(len(names)), 2):
        found[names[i]][names[j]] = found[names[j]][names[i]] = agreement(i, j)
    return found


def _of_classes(subject: Subject, read: Sequence[Row[Answer]]) -> tuple[ClassFigures, ...]:
    by_class: dict[int, list[Row[Answer]]] = {}
    for row in read:
        by_class.setdefault(subject.truth[row.picture], []).append(row)
    found = []
    for index, rows in sorted(by_class.items()):
        firsts = Counter(answer.classes[0] for row in rows for answer in row.answers if answer.classes[0] != index)
        most = max(sorted(firsts), key=lambda first: firsts[first], default=None)
        mistaken = None if most is None else subject.labels[most]
        top1, top5 = _hits(subject, rows, 1), _hits(subject, rows, 5)
        found.append(ClassFigures(index, subject.labels[index], len(rows), top1, top5, mistaken))
    return tuple(found)


def _worst(subject: Subject, read: Sequence[Row[Answer]]) -> tuple[Disagreement, ...]:
    reference, artifacts = subject.reference, list(subject.artifacts.items())
    quantised = [i for i, (_, precision) in enumerate(artifacts) if precision != "float32"]
    if reference is None or not quantised:
        return ()

    def named(row: Row[Answer], i: int) -> Named:
        first = row.answers[i].classes[0]
        return Named(first, subject.labels[first], row.answers[i].scores[0])

    found = []
    for row in read:
        i = max(quantised, key=lambda i: row.answers[i].drift or 0.0)
        found.append(
            Disagreement(
                subject.pictures[row.picture],
                subject.labels[subject.truth[row.picture]],
                *artifacts[i],
                row.answers[i].drift or 0.0,
                named(row, reference),
                named(row, i),
            )
        )
    return tuple(sorted(found, key=lambda disagreement: -disagreement.drift))
