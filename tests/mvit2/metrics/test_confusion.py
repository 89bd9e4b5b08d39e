"""Confusion matrices: by hand, and against torch's own counting; what an ignored pixel or class does to the mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mvit2.metrics.confusion import Confusion, mean_iou, mean_iou_interval

HALVES = np.array([[0, 0, 1, 1]] * 2)


@pytest.mark.parametrize(
    ("truth", "answer", "ignored", "iou", "accuracy"),
    [
        (HALVES, HALVES, (), (1.0, 1.0, None), 1.0),
        (HALVES, 1 - HALVES, (), (0.0, 0.0, None), 0.0),
        (HALVES, HALVES * 0, (), (0.5, 0.0, None), 0.5),
        (HALVES, HALVES * 2, (), (1.0, 0.0, 0.0), 0.5),  # a class that is only in the answers occurs, too
        (HALVES, HALVES * 2, (1,), (1.0, None, None), 1.0),  # its pixels do not count, whatever they are taken for
        (HALVES, HALVES * 0, (0,), (None, 0.0, None), 0.0),
        (np.array([[0, 255, 1, 255]]), np.array([[0, 1, 1, 0]]), (255,), (1.0, 1.0, None), 1.0),
        (np.array([[255, 255]]), np.array([[0, 1]]), (255,), (None, None, None), None),
    ],
)
def test_by_hand(
    truth: np.ndarray, answer: np.ndarray, ignored: tuple[int, ...], iou: tuple[float, ...], accuracy: float | None
) -> None:
    found = Confusion.of(truth.astype(np.uint8), answer.astype(np.uint8), 3, ignored)
    assert (found.iou(ignored), found.pixel_accuracy) == (iou, accuracy)
    occurs = [value for value in iou if value is not None]
    assert mean_iou(found.iou(ignored)) == (sum(occurs) / len(occurs) if occurs else 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_sum_of_pictures_against_torch(seed: int) -> None:
    """Intersections and unions by boolean tensors over all pictures together; ours adds up one by one."""
    generator, classes = torch.Generator().manual_seed(seed), 7
    truths = [torch.randint(0, classes + 2, (20, 30 + i), generator=generator) for i in range(4)]
    answers = [torch.where(torch.rand(t.shape, generator=generator) < 0.6, t % 5, (t + 1) % classes) for t in truths]
    total = Confusion.of_cells((), classes)
    for truth, answer in zip(truths, answers, strict=True):
        total += Confusion.of(truth.numpy().astype(np.uint8), answer.numpy().astype(np.uint8), classes, (7, 8))
    truth, answer = (torch.cat([t.flatten() for t in some]) for some in (truths, answers))
    counts = truth < classes
    truth, answer = truth[counts], answer[counts]
    for index, iou in enumerate(total.iou()):
        both, either = (truth == index) & (answer == index), (truth == index) | (answer == index)
        assert iou == int(both.sum()) / int(either.sum())
    assert total.pixel_accuracy == int((truth == answer).sum()) / len(truth)
    assert Confusion.of_cells(total.cells, classes).cells == total.cells and total.pixels == len(truth)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Confusion.of(HALVES.astype(np.uint8), HALVES[:, :2].astype(np.uint8), 2),
        lambda: Confusion.of(HALVES.astype(np.uint8), HALVES.astype(np.uint8), 1),
        lambda: Confusion.of(HALVES.astype(np.uint8) * 0, HALVES.astype(np.uint8), 1),
        lambda: Confusion(np.zeros((2, 3), np.int64)),
        lambda: Confusion(np.zeros((2, 2))),
        lambda: Confusion(np.array([[1, -1], [0, 0]])),
    ],
    ids=["shapes", "unknown class", "unknown answer", "not square", "floats", "negative"],
)
def test_the_impossible_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        wrong()


# ---- how sure the mean is ----


def test_the_interval_is_that_of_drawn_images() -> None:
    """Against the same draws added up as confusions; classes 3 (ignored) and 4 (nowhere) count in none."""
    chance = np.random.default_rng(1)
    images = [Confusion(chance.integers(0, 50, (5, 5)) * np.array([1, 1, 1, 1, 0])) for _ in range(6)]
    images = [Confusion(one.counts * np.array([[1], [1], [1], [1], [0]])) for one in images]
    weights = np.random.default_rng(0).multinomial(6, [1 / 6] * 6, 1000)
    means = [
        mean_iou(Confusion(sum(int(w) * one.counts for w, one in zip(row, images, strict=True))).iou({3}))
        for row in weights
    ]
    expected = np.quantile(means, (0.025, 0.975))
    found = mean_iou_interval([one.cells for one in images], 5, {3})
    assert found is not None and np.allclose(found, expected, atol=1e-12)
    whole = mean_iou(Confusion(np.sum([one.counts for one in images], axis=0)).iou({3}))
    assert found[0] < whole < found[1]


def test_equal_images_leave_no_doubt_and_one_image_says_nothing() -> None:
    cells = ((0, 0, 3), (0, 1, 1), (1, 1, 4))
    low, high = mean_iou_interval([cells] * 5, 2) or (0.0, 1.0)
    assert low == high == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert mean_iou_interval([cells], 2) is None
