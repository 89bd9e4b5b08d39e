"""When two stages are called equal: a table of cases computed by hand. A NaN must never get through."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mvit2.bundle.manifest import Precision
from mvit2.difference import Difference
from mvit2.runtime.tasks.compare import TOLERANCES, compare, compare_logits, compare_masks, log_softmax
from mvit2.runtime.tasks.outputs import LOGITS, MASKS, OUTPUTS

E = math.e
NAN, INF = math.nan, math.inf
FOURTH = [0.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("reference", "candidate", "tolerance", "expected"),  # expected: max |dp|, max |d log p|, top-1, passed
    [
        # equal
        ([[0.5, 0.25, 0.25]], [[0.5, 0.25, 0.25]], 0.0, (0.0, 0.0, 1.0, True)),
        ([FOURTH], [FOURTH], 0.0, (0.0, 0.0, 1.0, True)),
        ([[1.0]], [[1.0]], 0.0, (0.0, 0.0, 1.0, True)),
        # off by a known factor: exp(-1) of 0.5 is 0.1839
        ([[0.5, 0.5]], [[0.5, 0.5 / E]], 2.0, (0.5 - 0.5 / E, 1.0, 1.0, True)),
        ([[0.5, 0.5]], [[0.5, 0.5 / E]], 0.999, (0.5 - 0.5 / E, 1.0, 1.0, False)),
        # a small class counts as much as the winner
        ([[0.999999, 1e-6]], [[0.999999, 2e-6]], 0.1, (1e-6, math.log(2), 1.0, False)),
        ([[0.999999, 1e-6]], [[0.999999, 2e-6]], 0.7, (1e-6, math.log(2), 1.0, True)),
        # the worst row and column counts
        ([[0.5, 0.5], [0.8, 0.2]], [[0.5, 0.5], [0.8, 0.1]], 1.0, (0.1, math.log(2), 1.0, True)),
        # the first class changes: a tie within the tolerance, then not
        ([[0.50, 0.49, 0.01]], [[0.49, 0.50, 0.01]], 0.03, (0.01, math.log(50 / 49), 1.0, True)),
        ([[0.50, 0.49, 0.01]], [[0.49, 0.50, 0.01]], 0.02, (0.01, math.log(50 / 49), 0.0, False)),
        ([[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.1, 0.9]], 9.0, (0.8, math.log(9), 1.0, True)),
        ([[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.1, 0.9]], 2.0, (0.8, math.log(9), 0.5, False)),
        ([FOURTH], [[0.25, 0.25, 0.25, 0.2501]], 1e-3, (1e-4, math.log(1.0004), 1.0, True)),
        # underflow: below 1e-30 all is zero, above it is not
        ([[1.0, 0.0]], [[1.0, 0.0]], 0.0, (0.0, 0.0, 1.0, True)),
        ([[1.0, 1e-40]], [[1.0, 0.0]], 1e-4, (1e-40, 1e-40, 1.0, True)),
        ([[1.0, 1e-30]], [[1.0, 0.0]], 1e-4, (1e-30, 1e-30, 1.0, True)),
        ([[1.0, 1e-29]], [[1.0, 0.0]], 1e-4, (1e-29, math.log(10), 1.0, False)),
        ([[1.0, 0.0]], [[1.0, 1e-20]], 1e-4, (1e-20, math.log(1e10), 1.0, False)),
        # all zero, and negative: no probabilities, and not equal to any
        ([[0.5, 0.5]], [[0.0, 0.0]], 1e-4, (0.5, math.log(0.5e30), 1.0, False)),
        ([[1.0, 0.0]], [[1.0, -0.5]], 1e-4, (0.5, 0.5, 1.0, False)),
    ],
)
def test_compare(reference: Any, candidate: Any, tolerance: float, expected: tuple[float, float, float, bool]) -> None:
    for dtype in (np.float64, np.float32):
        found = compare("stage", np.array(reference, dtype), np.array(candidate, dtype), tolerance)
        rounding = {"rel": 1e-9, "abs": 0} if dtype is np.float64 else {"rel": 1e-4, "abs": 1e-7}
        assert found.max_absolute == pytest.approx(expected[0], **rounding)
        assert found.max_relative == pytest.approx(expected[1], **rounding)
        assert (found.stage, found.inputs, found.tolerance) == ("stage", len(reference), tolerance)
        assert (found.top1_agreement, found.finite) == (expected[2], True)
        if dtype is np.float64:
            assert found.passed is expected[3]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("where", list(itertools.product(("reference", "candidate", "both"), range(2), range(3))))
def test_nan_and_inf_never_pass(bad: float, where: tuple[str, int, int]) -> None:
    which, row, column = where
    good = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32)
    broken = good.copy()
    broken[row, column] = bad
    reference = good if which == "candidate" else broken
    candidate = good if which == "reference" else broken
    found = compare("stage", reference, candidate, 1e9)
    assert found == Difference("stage", 2, -1.0, -1.0, 0.0, 1e9, finite=False)
    assert not found.passed
    assert compare("stage", good, good, 0.0).passed


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (2, 4), (3, 2), (6,), (2, 3, 1), (1, 2, 3), (0, 3)])
def test_another_shape_never_passes(shape: tuple[int, ...]) -> None:
    """Also where NumPy would broadcast."""
    reference = np.full((2, 3), 1 / 3)
    assert not compare("stage", reference, np.full(shape, 1 / 3), 1e9).passed


def test_nothing_compared_never_passes() -> None:
    assert not compare("stage", np.zeros((0, 3)), np.zeros((0, 3)), 1e9).passed
    assert not compare("stage", np.zeros((3, 0)), np.zeros((3, 0)), 1e9).passed


GOOD = Difference("x", 8, 1e-5, 1e-4, 1.0, 1e-4)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"max_absolute": 0.0, "max_relative": 0.0}, True),
        ({"max_relative": 1.0001e-4}, False),
        ({"max_absolute": 0.9}, True),
        ({"top1_agreement": 0.875}, False),
        ({"finite": False}, False),
        ({"max_relative": NAN}, False),
        ({"max_absolute": NAN}, False),
        ({"top1_agreement": NAN}, False),
        ({"tolerance": NAN}, False),
        ({"max_relative": INF}, False),
    ],
)
def test_passed(change: dict[str, Any], passed: bool) -> None:
    assert replace(GOOD, **change).passed is passed


def test_tolerances_are_per_precision() -> None:
    assert set(TOLERANCES) == set(Precision.__args__)
    assert TOLERANCES == {"float32": 1e-4, "float16": 2e-2, "dynamic": 0.25, "int8": 0.25, "full-int8": 0.25}


# ---- segmentation ----

MAP = [[[[0.0, 10.0, 4.0], [8.0, 8.5, 0.0]]]]  # logits [1, 1, 2, 3]; their range is 10


@pytest.mark.parametrize(
    ("change", "tolerance", "expected"),  # (y, x, class) -> logit; expected: max |d|, of the range, same class, passed
    [
        ({}, 0.0, (0.0, 0.0, 1.0, True)),
        ({(0, 0, 0): 0.5}, 0.05, (0.5, 0.05, 1.0, True)),
        ({(0, 0, 0): 0.5}, 0.049, (0.5, 0.05, 1.0, False)),
        ({(0, 0, 0): 0.5, (0, 1, 2): -2.0}, 0.2, (2.0, 0.2, 1.0, True)),  # the worst counts
        ({(0, 1, 0): 9.0}, 0.1, (1.0, 0.1, 1.0, True)),  # another class, but a tie of 0.5 in 10
        ({(0, 1, 0): 9.0}, 0.04, (1.0, 0.1, 0.5, False)),
        ({(0, 0, 0): 12.0}, 1.2, (12.0, 1.2, 1.0, True)),
        ({(0, 0, 0): 12.0}, 0.9, (12.0, 1.2, 0.5, False)),
    ],
)
def test_compare_logits(change: Any, tolerance: float, expected: tuple[float, float, float, bool]) -> None:
    reference = np.array(MAP, np.float32)
    candidate = reference.copy()
    for at, value in change.items():
        candidate[0][at] = value
    found = compare_logits("stage", reference, candidate, tolerance)
    assert (found.max_absolute, found.max_relative) == pytest.approx(expected[:2])
    assert (found.top1_agreement, found.passed) == expected[2:]
    assert (found.stage, found.inputs, found.measure, found.finite) == ("stage", 1, "logits", True)


@pytest.mark.parametrize(
    ("others", "tolerance", "expected"),  # pixels that differ, of each image; expected: most, share, same mask, passed
    [
        ((0, 0), 0.0, (0, 0.0, 1.0, True)),
        ((1, 0), 0.0, (1, 0.05, 0.5, False)),
        ((1, 2), 0.1, (2, 0.1, 1.0, True)),
        ((3, 2), 0.1, (3, 0.15, 0.5, False)),
        ((20, 20), 1.0, (20, 1.0, 1.0, True)),
    ],
)
def test_compare_masks(others: tuple[int, int], tolerance: float, expected: tuple[float, float, float, bool]) -> None:
    reference = np.full((2, 4, 5), 255, np.uint8)
    candidate = reference.copy()
    for image, count in zip(candidate, others, strict=True):
        image.reshape(-1)[:count] = 0
    found = compare_masks("stage", reference, candidate, tolerance)
    assert (found.max_absolute, found.max_relative) == pytest.approx(expected[:2])
    assert (found.top1_agreement, found.passed) == expected[2:]
    assert (found.stage, found.inputs, found.measure, found.finite) == ("stage", 2, "masks", True)


@pytest.mark.parametrize("shape", [(1, 1, 2, 4), (2, 1, 2, 3), (1, 2, 1, 3), (1, 2, 3), (0, 1, 2, 3)])
def test_another_map_never_passes(shape: tuple[int, ...]) -> None:
    """Also where NumPy would broadcast."""
    assert not compare_logits("stage", np.array(MAP), np.zeros(shape), 1e9).passed


@pytest.mark.parametrize("shape", [(1, 2, 4), (2, 2, 3), (1, 1, 3), (2, 3), (0, 2, 3)])
def test_another_mask_never_passes(shape: tuple[int, ...]) -> None:
    assert not compare_masks("stage", np.zeros((1, 2, 3), np.uint8), np.zeros(shape, np.uint8), 1e9).passed


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("side", [0, 1])
def test_logits_that_are_none_never_pass(bad: float, side: int) -> None:
    pair = [np.array(MAP), np.array(MAP)]
    pair[side][0, 0, 1, 2] = bad
    found = compare_logits("stage", *pair, 1e9)
    assert found == Difference("stage", 1, -1.0, -1.0, 0.0, 1e9, finite=False, measure="logits")
    assert not found.passed


def test_logits_that_are_all_equal_have_no_range() -> None:
    flat = np.full((1, 2, 2, 3), 7.0, np.float32)
    assert compare_logits("stage", flat, flat, 0.0).passed
    assert not compare_logits("stage", flat, flat + 1e-3, 1.0).passed


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=lambda output: output.name)
def test_every_kind_has_a_tolerance_of_every_precision(output: Any) -> None:
    assert set(output.tolerances) == set(Precision.__args__)
    assert output.compare("x", np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), 0.0).measure == output.name


@pytest.mark.parametrize(
    ("output", "numbers", "sound"),
    [
        (LOGITS, [-5.0, 3e38], True),
        (LOGITS, [0.0, NAN], False),
        (LOGITS, [0.0, -INF], False),
        (MASKS, [0, 2], True),
        (MASKS, [0, 3], False),
    ],
)
def test_what_can_be_the_output_of_three_classes(output: Any, numbers: list[float], sound: bool) -> None:
    assert output.sound(np.array(numbers, output.dtype), 3) is sound


# ---- logits -> log-probabilities ----


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 0.0], [-math.log(2), -math.log(2)]),
        ([math.log(1), math.log(3)], [math.log(0.25), math.log(0.75)]),
        ([1000.0, 1000.0, 1000.0], [-math.log(3)] * 3),  # would overflow unless shifted
        ([0.0, -1000.0], [0.0, -1000.0]),
        ([3e38, -3e38], [0.0, -6e38]),  # beyond float32
        ([5.0], [0.0]),
    ],
)
def test_log_softmax(logits: list[float], expected: list[float]) -> None:
    found = log_softmax(np.array([logits, logits], np.float32))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-6, atol=1e-7)


def test_log_softmax_equals_torch() -> None:
    import torch

    logits = np.random.default_rng(0).normal(0, 30, (16, 1000)).astype(np.float32)
    expected = torch.from_numpy(logits).double().log_softmax(-1).numpy()
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_row_with_nan_or_inf_is_nan_and_fails(bad: float) -> None:
    """-Inf, too: its probability would be a clean 0."""
    logits = np.zeros((2, 3), np.float32)
    logits[0, 1] = bad
    found = log_softmax(logits)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()
    assert not compare("stage", np.exp(found), np.exp(found), 1e9).passed
