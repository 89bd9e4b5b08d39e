"""Two evaluations of the same images, image by image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mvit2.metrics.paired import paired_difference_interval
from mvit2.runtime.evaluate.paired import ClassChange, paired
from mvit2.runtime.evaluate.results_file import Progress
from mvit2.runtime.tasks.record import Answer, Row

# gained, lost, images -> does the interval lie above, below, or around 0
JUDGED = [
    (0, 0, 10, "around"),
    (5, 4, 100, "around"),
    (30, 4, 100, "above"),
    (4, 30, 100, "below"),
    (1, 0, 1, "around"),
]


@pytest.mark.parametrize(("gained", "lost", "images", "where"), JUDGED)
def test_interval(gained: int, lost: int, images: int, where: str) -> None:
    low, high = paired_difference_interval(gained, lost, images)
    assert -1 <= low < high <= 1
    assert where == ("above" if low > 0 else "below" if high < 0 else "around")
    assert paired_difference_interval(lost, gained, images) == pytest.approx((-high, -low))


def test_more_images_narrow_it() -> None:
    widths = [high - low for low, high in (paired_difference_interval(3 * n, 2 * n, 20 * n) for n in (1, 10, 100))]
    assert widths == sorted(widths, reverse=True)


def progress_of(*classes: int | None) -> Progress:
    """Of each image the best class; None: it cannot be read."""
    rows = [
        Row[Any](i, 0.0, () if c is None else (Answer((c,), (1.0,), None, None),), None if c is not None else "damaged")
        for i, c in enumerate(classes)
    ]
    return Progress(rows)


def test_pairs_are_of_images_that_both_could_read() -> None:
    plan: Any = SimpleNamespace(truth=(0, 0, 1, 1, 2), labels=("cat", "dog", "cow"))
    found = paired(plan, progress_of(0, 1, 1, 1, None), progress_of(0, 0, 1, 2, 2))
    assert (found.images, found.first, found.second, found.gained, found.lost) == (4, 3, 3, 1, 1)
    assert found.agreement == 0.5 and found.difference == 0 and found.verdict.startswith("no difference")
    assert found.classes == (ClassChange("cat", 2, 1, 2), ClassChange("dog", 2, 2, 1))
