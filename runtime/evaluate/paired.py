"""Two evaluations of the same images, image by image: what the second gains and loses against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mvit2.errors import UsageError
from mvit2.metrics.paired import paired_difference_interval
from mvit2.runtime.tasks.record import Answer

from .plan import Plan
from .results_file import Progress

__all__ = ["ClassChange", "Paired", "paired", "require_alike"]


@dataclass(frozen=True)
class ClassChange:
    """Of one class: its images, and how many each side gets right."""

    label: str
    images: int
    first: int
    second: int


@dataclass(frozen=True)
class Paired:
    """Classifiers over the images that both could read.

    Attributes:
        images: how many.
        first, second: hits of top-1.
        gained, lost: images that only the second, only the first gets right.
        difference, interval: of the shares, second less first; the 95 % interval is that of pairs.
        agreement: share of images with the same best class.
        classes: those that changed, the largest change first.
    """

    images: int
    first: int
    second: int
    gained: int
    lost: int
    difference: float
    interval: tuple[float, float]
    agreement: float
    classes: tuple[ClassChange, ...]

    @property
    def verdict(self) -> str:
        low, high = self.interval
        return "B is better" if low > 0 else "B is worse" if high < 0 else "no difference that these images can show"


def require_alike(first: Plan, second: Plan) -> None:
    """Raises UsageError: networks of other tasks or other classes cannot be compared image by image."""
    for what, a, b in (
        ("task", first.manifest.task, second.manifest.task),
        ("classes", len(first.labels), len(second.labels)),
        ("labels", first.labels, second.labels),
    ):
        if a != b:
            said = f": {a} and {b}" if what != "labels" else ""
            raise UsageError(
                f"{first.bundle} and {second.bundle} have other {what}{said}; compare networks of the same."
            )


def paired(plan: Plan, first: Progress, second: Progress) -> Paired:
    """``plan``: of the first; both evaluated one artifact of a classifier on all its images."""
    answers = _answers(first), _answers(second)
    common = sorted(answers[0].keys() & answers[1].keys())
    truth = {index: plan.truth[index] for index in common}
    right = [{index for index in common if some[index] == truth[index]} for some in answers]
    gained, lost = len(right[1] - right[0]), len(right[0] - right[1])
    return Paired(
        images=len(common),
        first=len(right[0]),
        second=len(right[1]),
        gained=gained,
        lost=lost,
        difference=(gained - lost) / len(common),
        interval=paired_difference_interval(gained, lost, len(common)),
        agreement=sum(answers[0][i] == answers[1][i] for i in common) / len(common),
        classes=_changes(plan, common, right),
    )


def _answers(progress: Progress) -> dict[int, int]:
    """Image -> best class, of those that could be read."""
    read = ((index, row.answers[0]) for index, row in progress.rows.items() if row.error is None)
    return {index: answer.classes[0] for index, answer in read if isinstance(answer, Answer)}


def _changes(plan: Plan, common: Sequence[int], right: Sequence[set[int]]) -> tuple[ClassChange, ...]:
    of_class: dict[int, list[int]] = {}
    for index in common:
        true = plan.truth[index]
        assert isinstance(true, int)  # of a classifier
        of_class.setdefault(true, []).append(index)
    changes = [
        ClassChange(plan.labels[true], len(some), *(sum(index in hits for index in some) for hits in right))
        for true, some in of_class.items()
    ]
    changed = (change for change in changes if change.first != change.second)
    return tuple(sorted(changed, key=lambda change: (-abs(change.second - change.first), change.label)))
