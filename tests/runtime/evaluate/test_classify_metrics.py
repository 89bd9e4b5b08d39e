"""The figures of an evaluation from rows written by hand, and the names of the pictures of its worst cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mvit2.export.cli.evaluate_classes import worst_name
from mvit2.runtime.tasks.classify.metrics import Disagreement, Named, Subject, summarise
from mvit2.runtime.tasks.record import Answer, Row

LABELS = ("cat", "dog", "hen")


def answer(*classes: int, noise: float | None = 0.0, drift: float | None = 0.0) -> Answer:
    return Answer(classes, tuple(0.5**i for i in range(1, len(classes) + 1)), noise, drift)


def test_figures_by_hand() -> None:
    subject = Subject(
        ["a", "b", "c", "d"], [0, 0, 1, 2], LABELS, {"f": "float32", "g": "float32", "q": "int8", "d": "dynamic"}, 0
    )
    answers = {
        0: [answer(0, 1, 2), answer(0, 1, 2, drift=9), answer(0, 1, 2, noise=1, drift=0.1), answer(0, 2, 1, drift=0.2)],
        1: [answer(1, 0, 2), answer(1, 0, 2), answer(2, 0, 1, noise=3, drift=0.5), answer(1, 0, 2, drift=0.3)],
        3: [answer(2, 0, 1), answer(2, 0, 1), answer(1, 0, 2, noise=6, drift=0.3), answer(2, 0, 1, drift=0.3)],
    }
    given = [
        Row(3, 500.0, tuple(answers[3])),
        Row(2, error="damaged"),
        *(Row(i, 250.0, tuple(answers[i])) for i in (0, 1)),
    ]
    found = summarise(subject, given, worst=2)
    assert (found.images, found.unreadable, found.all_wrong) == (3, {"c": "damaged"}, ("b",))
    f, g, q, _ = found.artifacts
    assert [x.top1 for x in found.artifacts] == [2, 2, 1, 2] and [x.top5 for x in found.artifacts] == [3, 3, 3, 3]
    assert (f.agreement, f.snr_db, f.max_drift) == (None, None, None)
    assert (g.agreement, g.snr_db, g.max_drift) == (1.0, 150.0, 9)
    assert (q.agreement, q.max_drift) == (1 / 3, 0.5) and q.snr_db == pytest.approx(20)  # 10 log10(1000 / 10)
    assert found.agreement["q"] == {"f": 1 / 3, "g": 1 / 3, "d": 1 / 3}
    cat, hen = found.classes
    assert (cat.label, cat.images, cat.top1, cat.mistaken_for) == ("cat", 2, {"f": 1, "g": 1, "q": 1, "d": 1}, "dog")
    assert (hen.index, hen.images, hen.top1["q"], hen.mistaken_for) == (2, 1, 0, "dog")
    assert [(w.picture, w.artifact, w.drift) for w in found.worst] == [("b", "q", 0.5), ("d", "q", 0.3)]
    assert found.worst[0].reference == Named(1, "dog", 0.5) and found.worst[0].answer == Named(2, "hen", 0.5)
    assert summarise(subject, given[::-1], worst=2) == found
    assert summarise(subject, given, worst=0).worst == ()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Answer((), (), None, None),
        lambda: Answer((1, 2), (0.5,), None, None),
        lambda: Answer((1,), (0.5,), 1.0, None),
        lambda: Row(0),
        lambda: Row(0, 0.0, (answer(0),), "damaged"),
    ],
)
def test_impossible_rows_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"needs|either"):
        wrong()


NAMED = Disagreement("x/a.JPG", "cat", "m", "int8", 1.0, Named(0, "cat", 0.914), Named(1, "dog", 0.55))


@pytest.mark.parametrize(
    ("place", "change", "expected"),
    [
        (1, {}, "01_cat_as_dog__float32-cat-0.91__int8-dog-0.55.jpg"),
        (20, {"precision": "full-int8"}, "20_cat_as_dog__float32-cat-0.91__full-int8-dog-0.55.jpg"),
        (1, {"label": "../\\tench, Tinca:*?"}, "01_tench-Tinca_as_dog__float32-cat-0.91__int8-dog-0.55.jpg"),
        (1, {"label": "猫", "picture": "猫.png"}, "01_class_as_dog__float32-cat-0.91__int8-dog-0.55.png"),
        (1, {"answer": Named(7, "猫", 1.0)}, "01_cat_as_class-7__float32-cat-0.91__int8-class-7-1.00.jpg"),
        (1, {"label": "Éclair " * 9}, "01_Eclair-Eclair-Eclair-Ecl_as_dog__float32-cat-0.91__int8-dog-0.55.jpg"),
    ],
)
def test_names_are_safe(place: int, change: dict[str, Any], expected: str) -> None:
    assert worst_name(place, replace(NAMED, **change)) == expected
