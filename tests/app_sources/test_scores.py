"""The answer's labels: the same order of classes as in Python, in every language."""

from __future__ import annotations

import numpy as np

from mvit2.runtime.tasks.classify.prediction import top_k
from mvit2.runtime.tasks.compare import log_softmax

from .cases import SEED, SOFTMAX, TOP_K, make_case
from .programs import Program


def test_softmax_is_that_of_python(program: Program) -> None:
    """To one step of float32: every C library and browser has its own exp."""
    rng = np.random.default_rng(SEED)
    rows = [(rng.normal(0, spread, size)).astype(np.float32) for spread in (1, 10, 60) for size in (1, 2, 20, 1000)]
    answers = program([make_case("softmax", row, what=SOFTMAX) for row in [*rows, np.float32([3e38, -3e38])]])
    for row, (failed, found) in zip(rows, answers[:-1], strict=True):
        expected = np.exp(log_softmax(row[None]))[0].astype(np.float32)
        steps = np.frombuffer(found, np.int32).astype(int) - expected.view(np.int32)
        assert not failed and np.abs(steps).max() <= 1
    assert answers[-1] == (False, np.float32([1, 0]).tobytes())


def test_top_k_is_that_of_python(program: Program) -> None:
    rng = np.random.default_rng(SEED)
    sizes = [int(size) for size in rng.integers(1, 1200, 60)]
    rows = [rng.integers(-4, 4, size).astype(np.float32) / 4 for size in sizes]  # full of ties
    rows += [rng.normal(size=size).astype(np.float32) for size in sizes]
    rows += [np.float32([0.0, -0.0, 0.0]), np.float32([-0.0, 0.0]), np.float32([-1e-40, 1e-40, 0])]
    ks = [int(rng.integers(1, row.size + 5)) for row in rows]
    answers = program([make_case("top-k", row, what=TOP_K, width=k) for row, k in zip(rows, ks, strict=True)])
    for row, k, (failed, found) in zip(rows, ks, answers, strict=True):
        expected = [one.index for one in top_k(row, [""] * row.size, k)]
        assert not failed and np.frombuffer(found, np.int32).tolist() == expected
