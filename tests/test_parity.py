"""When two stages are called equal: a table of cases computed by hand. A NaN must never get through."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mvit2.manifest import Difference, Precision
from mvit2.runtime.parity import TOLERANCES, compare, log_softmax

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
        ([[1.0, 1e-40]], [[1.0, 0.0]], 1e-4, (1e-40, 0.0, 1.0, True)),
        ([[1.0, 1e-30]], [[1.0, 0.0]], 1e-4, (1e-30, 0.0, 1.0, True)),
        ([[1.0, 1e-29]], [[1.0, 0.0]], 1e-4, (1e-29, math.log(10), 1.0, False)),
        ([[1.0, 0.0]], [[1.0, 1e-20]], 1e-4, (1e-20, math.log(1e10), 1.0, False)),
        # all zero, and negative: no probabilities, and not equal to any
        ([[0.5, 0.5]], [[0.0, 0.0]], 1e-4, (0.5, math.log(0.5e30), 1.0, False)),
        ([[1.0, 0.0]], [[1.0, -0.5]], 1e-4, (0.5, 0.0, 1.0, False)),
    ],
)
def test_compare(reference: Any, candidate: Any, tolerance: float, expected: tuple[float, float, float, bool]) -> None:
    for dtype in (np.float64, np.float32):
        found = compare("stage", np.array(reference, dtype), np.array(candidate, dtype), tolerance)
        rounding = {"rel": 1e-9, "abs": 0} if dtype is np.float64 else {"rel": 1e-4, "abs": 1e-7}
        assert found.max_probability == pytest.approx(expected[0], **rounding)
        assert found.max_log_probability == pytest.approx(expected[1], **rounding)
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
        ({"max_probability": 0.0, "max_log_probability": 0.0}, True),
        ({"max_log_probability": 1.0001e-4}, False),
        ({"max_probability": 1.0001e-4}, False),
        ({"top1_agreement": 0.875}, False),
        ({"finite": False}, False),
        ({"max_log_probability": NAN}, False),
        ({"max_probability": NAN}, False),
        ({"top1_agreement": NAN}, False),
        ({"tolerance": NAN}, False),
        ({"max_log_probability": INF}, False),
    ],
)
def test_passed(change: dict[str, Any], passed: bool) -> None:
    assert replace(GOOD, **change).passed is passed


def test_tolerances_are_per_precision() -> None:
    assert set(TOLERANCES) == set(Precision.__args__)
    assert TOLERANCES == {"float32": 1e-4, "float16": 2e-2, "dynamic": 0.25, "int8": 0.25, "full-int8": 0.25}


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
