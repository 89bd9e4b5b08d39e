"""A thousand cases, the same in every run; ``python -m tests.fuzz --seed N --cases M`` tries others."""

from __future__ import annotations

import pytest

from .run import run_cases

SEED = 20261128
PART = 125


@pytest.mark.heavy
@pytest.mark.parametrize("first", range(0, 1000, PART))
def test_a_case_is_done_or_refused_in_a_line(first: int) -> None:
    found = run_cases(SEED, range(first, first + PART))
    assert found.faults == [], "\n".join(found.faults)
    assert sum(found.counts.values()) == PART
    assert {outcome for _, outcome in found.counts} == {"done", "refused"}
