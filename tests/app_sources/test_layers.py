"""What only Kotlin and Swift do with a mask: which classes are there, and their colours over the picture."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.segment.result import Segmentation

from .cases import LAYER, LOGITS_TO_PICTURE, MASK_TO_PICTURE, Array, Case, make_case
from .mask_cases import MaskCase, mask_cases
from .programs import Program, assert_refused

both = pytest.mark.parametrize("program", ["Kotlin", "Swift"], indirect=True)
COLORS = ("#000000", "#ff0000", "#00ff00", "#0000ff", "#ffffff", *["#000000"] * 251)  # as the drivers draw them


def _of_masks() -> list[MaskCase]:
    return [one for one in mask_cases() if one.answer.dtype == np.uint8]


def _layer_case(one: MaskCase, opacity: float) -> Case:
    fields = (LAYER, *one.case.fields[1:-1], opacity)
    return Case(one.case.name, one.case.payload, fields)


def _drawn(layer: Array, picture: Array) -> Array:
    """What a screen shows of the layer, RGBA, over the picture."""
    alpha = layer[..., 3:] / 255
    return np.rint(picture * (1 - alpha) + layer[..., :3] * alpha).astype(int)


@both
@pytest.mark.parametrize("opacity", [0.5, 0.3, 1.0])
def test_classes_and_colours_are_those_of_python(opacity: float, program: Program) -> None:
    cases = _of_masks()
    answers = program([_layer_case(one, opacity) for one in cases])
    for one, (failed, answer) in zip(cases, answers, strict=True):
        assert not failed, answer.decode()
        expected = one.expected
        (count,) = struct.unpack_from("<i", answer)
        areas = [struct.unpack_from("<id", answer, 4 + 12 * index) for index in range(count)]
        assert areas == [(area.index, area.share) for area in expected.classes], one.case.name
        layer = np.frombuffer(answer[4 + 12 * count :], np.uint8).reshape(*expected.mask.shape, 4)
        layer = layer[..., [2, 1, 0, 3]] if program.language == "Kotlin" else layer  # little-endian 0xAARRGGBB
        picture = np.full((*expected.mask.shape, 3), (10, 100, 200), np.uint8)
        coloured = Segmentation(expected.mask, expected.box, expected.classes, COLORS)
        shown = np.asarray(coloured.overlay(Image.fromarray(picture), opacity)).astype(int)
        assert np.abs(_drawn(layer, picture) - shown).max() <= 1, one.case.name
        assert set(np.unique(layer[..., 3])) <= {0, round(255 * opacity)}


@both
def test_no_other_opacity(program: Program) -> None:
    one = _of_masks()[0]
    assert_refused(program, [(_layer_case(one, 1.5), r"opacity = 1\.5 cannot be used; accepted: 0\.\.1$")])


# ---- what is refused ----

STRETCH = PreprocessSpec((2, 3), None, (2, 3))
LOGITS, CLASSES = np.zeros(12, np.float32), np.array([0, 1, 2, 1, 0, 0], np.uint8)
BROKEN = "the model is broken: check it against its checkpoint"
BAD_SHAPE, NO_PICTURE = (
    "the answer's shape cannot be used; accepted: edges of 1",
    "the output cannot be used; accepted:",
)
TOO_LARGE = "the picture is too large, or too long and thin"


def _logits(name: str, answer: Array = LOGITS, **changes: int) -> Case:
    """Of 2 x 3 cells and two classes, on a picture of 5 x 4."""
    fields = {"width": 5, "height": 4, "channels": 2, "resample": 2, "order": 3, **changes}
    return make_case(name, answer, STRETCH, what=LOGITS_TO_PICTURE, **fields)


def _classes(name: str, answer: Array = CLASSES, spec: PreprocessSpec = STRETCH, **changes: int) -> Case:
    fields = {"width": 5, "height": 4, "channels": 3, "resample": 2, "order": 3, **changes}
    return make_case(name, answer, spec, what=MASK_TO_PICTURE, **fields)


REFUSED = [  # what C says, what Kotlin and Swift say
    (_logits("a number less", LOGITS[1:]), BAD_SHAPE, r"logits\.\w+ = 11 cannot be used; accepted: .*2 x 3 x 2$"),
    (_logits("no cells", order=0), BAD_SHAPE, r"logits\.\w+ = 12 cannot"),
    (_logits("no classes", channels=0), BAD_SHAPE, r"classes = 0 cannot be used; accepted: 1\.\.256$"),
    (_logits("too many", channels=257), BAD_SHAPE, "classes = 257 cannot"),
    (_logits("NaN", np.float32([0] * 11 + [np.nan])), "a score is not finite", f"logit 11 = NaN cannot .* {BROKEN}"),
    (_logits("no width", width=0), NO_PICTURE, "width = 0 cannot be used; accepted: 1 or more"),
    (_logits("huge", width=2**31 - 1, height=2**31 - 1), TOO_LARGE, TOO_LARGE),
    (_classes("a row less", CLASSES[:3]), BAD_SHAPE, r"mask\.\w+ = 3 cannot be used; accepted: .*2 x 3 x 1$"),
    (_classes("class", channels=2), "a pixel's class is none", rf"class of pixel 2 = 2 cannot .*: 0\.\.1; {BROKEN}$"),
    (_classes("no classes", channels=0), BAD_SHAPE, "classes = 0 cannot"),
    (_classes("a hair", CLASSES[:1], PreprocessSpec((1, 1), 288), width=100_000, height=1), TOO_LARGE, TOO_LARGE),
]  # fmt: skip


@pytest.mark.parametrize("program", ["C", "C, sanitized", "Kotlin", "Swift"], indirect=True)
def test_what_no_network_answers_is_refused(program: Program) -> None:
    in_c = program.language.startswith("C")
    assert_refused(program, [(case, c if in_c else others) for case, c, others in REFUSED])
