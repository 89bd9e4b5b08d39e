"""What the sources for apps make of a segmentation network's answer, against ``runtime.segmenter.on_picture``."""

from __future__ import annotations

import numpy as np
import pytest

from .mask_cases import mask_cases
from .programs import Program

LANGUAGES = ["C", "C, sanitized", "JavaScript", "Kotlin", "Swift"]


@pytest.mark.parametrize("program", LANGUAGES, indirect=True)
def test_the_masks_are_those_of_python(program: Program) -> None:
    """Masks to the last pixel; of logits another class only where two are nearly equal."""
    cases = mask_cases()
    wrong = []
    for one, (failed, result) in zip(cases, program([one.case for one in cases]), strict=True):
        complaint = result.decode() if failed else one.wrong(result)
        wrong += [f"{one.case.name}: {complaint}"] if complaint else []
    assert not wrong, f"{len(wrong)} of {len(cases)} cases are wrong, first {wrong[0]}"


def test_the_cases_are_of_all_kinds() -> None:
    """Else the test above could pass without having tried them; and it must find what is wrong."""
    cases = mask_cases()
    shares = np.array([one.expected.seen for one in cases])
    assert (shares == 0).any() and (shares == 1).any() and ((shares > 0) & (shares < 1)).sum() > 10
    for one in (one for one in cases if one.answer.max() > 0 and one.expected.seen > 0.5):
        box = np.array(one.expected.box, "<i4").tobytes()
        assert one.wrong(box + one.expected.mask.tobytes()) == ""
        other = one.expected.mask.copy()
        left, top, right, bottom = one.expected.box
        other[(top + bottom) // 2, (left + right) // 2] ^= 1
        shifted = np.roll(one.expected.mask, 1, axis=1)
        if one.answer.dtype == np.uint8:
            assert "1 of" in one.wrong(box + other.tobytes()), one.case.name
        if one.expected.mask.size > 20_000 and len(one.expected.classes) > 1:
            assert "pixels differ" in one.wrong(box + shifted.tobytes()), one.case.name
