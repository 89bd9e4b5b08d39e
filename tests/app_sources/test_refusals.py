"""What cannot be used is refused in one line, in every language."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mvit2.image.decode import MAX_PIXELS
from mvit2.image.preprocess_spec import MAX_EDGE, PreprocessSpec

from .cases import NO_PIXELS, PIXEL_VALUES, SHORT_OUTPUT, SOFTMAX, TOP_K, Case, make_case
from .programs import SOURCES, Program, assert_refused

PICTURE = np.full((4, 6, 3), 7, np.uint8)
NONE = PreprocessSpec((8, 9), None)
PIXEL = np.zeros((1, 1, 3), np.uint8)
HAIR = np.zeros((1, 100_000, 3), np.uint8)
NO_CLASS = "scores = .* cannot be used; accepted: 1 number or more"
BAD_PICTURE, BAD_SPEC, TOO_LARGE = "the picture cannot", "the spec cannot", "the picture is too large, or too long"
TOO_LONG = f"{TOO_LARGE} and thin \\(100000x1 -> 28800000x288\\); accepted: at most {MAX_PIXELS} "
EDGES = rf"\[height, width\], each 1\.\.{MAX_EDGE}"
REFUSED: list[tuple[Case, str, str]] = [  # what C says, what the others say
    (make_case("no width", PICTURE, width=0), BAD_PICTURE, "width = 0 cannot be used; accepted: 1 or more"),
    (make_case("no height", PICTURE, height=-4), BAD_PICTURE, "height = -4 cannot be used"),
    (make_case("gray", PICTURE, channels=1), BAD_PICTURE, r"channels = 1 cannot be used; accepted: 3 \(RGB\), 4"),
    (make_case("another channel", PICTURE, channels=4), BAD_PICTURE, r"pixels\.\w+ = 72 cannot be used; accepted: 96"),
    (make_case("a row less", PICTURE, height=5), BAD_PICTURE, r"pixels\.\w+ = 72 cannot be used; accepted: 90"),
    (make_case("a row more", PICTURE, height=3), BAD_PICTURE, r"pixels\.\w+ = 72 cannot be used; accepted: 54"),
    (make_case("huge", PICTURE, width=2**31 - 1, height=2**31 - 1), TOO_LARGE, rf"{TOO_LARGE} and thin \(2147483647x2"),
    (make_case("a hair", HAIR, PreprocessSpec((256, 256), 288)), TOO_LARGE, TOO_LONG),
    (make_case("no crop", PICTURE, size=(8, 0)), BAD_SPEC, f"image_size = 8,0 cannot be used; accepted: {EDGES}"),
    (make_case("a large crop", PICTURE, size=(8193, 9)), BAD_SPEC, "image_size = 8193,9 cannot"),
    (make_case("negative", PICTURE, shortest=-1), BAD_SPEC, r"resize_shortest = -1 cannot be used; accepted: null, 1"),
    (make_case("large edge", PICTURE, shortest=8193), BAD_SPEC, "resize_shortest = 8193 cannot"),
    (make_case("half an exact", PICTURE, NONE, exact=(0, 5)), BAD_SPEC, f"resize_exact = 0,5 cannot .* {EDGES}"),
    (make_case("large exact", PICTURE, NONE, exact=(5, 8193)), BAD_SPEC, "resize_exact = 5,8193 cannot"),
    (make_case("two resizes", PICTURE, exact=(5, 5)), BAD_SPEC, "resize_exact = 5,5 cannot be used; accepted: null be"),
    (make_case("filter", PICTURE, resample=7), BAD_SPEC, 'resample = "number 7" .* accepted: bilinear, bicubic'),
    (make_case("order", PIXEL, what=PIXEL_VALUES, size=(1, 1), order=3), BAD_SPEC, 'channel_order = "number 3" cannot'),
    (make_case("scale", PIXEL, what=PIXEL_VALUES, size=(1, 1), scale=0.0), BAD_SPEC, r"scale = 0(\.0)? cannot be used"),
    (make_case("nan", PIXEL, what=PIXEL_VALUES, size=(1, 1), scale=float("nan")), BAD_SPEC, "scale = NaN cannot"),
    (make_case("values", PICTURE, what=PIXEL_VALUES), BAD_PICTURE, r"pixels\.\w+ = 72 cannot be used; accepted: 216"),
    (make_case("k", np.float32([1, 2]), what=TOP_K, width=0), "k cannot", "k = 0 cannot be used; accepted: 1 or more"),
    (make_case("no scores", np.float32([]), what=TOP_K), "there are no scores", NO_CLASS),
    (make_case("no logits", np.float32([]), what=SOFTMAX), "there are no scores", NO_CLASS),
    (make_case("NaN", np.float32([0, np.nan]), what=TOP_K), "a score is not finite", "score of class 1 = NaN cannot"),
    (make_case("inf", np.float32([np.inf, 0]), what=SOFTMAX), "a score is not finite", "score of class 0 = Inf"),
]  # fmt: skip
ONLY_C = [
    (make_case("output", PICTURE, what=SHORT_OUTPUT), "the output cannot be used; accepted: room for exactly the"),
    (make_case("null", PICTURE, what=NO_PIXELS), BAD_PICTURE),
]


def test_what_cannot_be_done_is_refused(program: Program) -> None:
    in_c = program.language.startswith("C")
    assert_refused(program, [(case, c if in_c else others) for case, c, others in REFUSED] + (ONLY_C if in_c else []))


@pytest.mark.parametrize("file", ["c/mvit2.h", "js/mvit2.mjs", "kotlin/Mvit2.kt", "swift/Mvit2.swift"])
def test_the_limits_are_those_of_python(file: str) -> None:
    text = (SOURCES / file).read_text(encoding="utf-8")
    assert MAX_PIXELS == 2**27
    assert re.search(r"max_?pixels (= )?(\(1 << 27\)|2 \*\* 27|1 shl 27|1 << 27)", text, re.IGNORECASE)
    assert re.search(rf"max_?edge (= )?{MAX_EDGE}\b", text, re.IGNORECASE)
