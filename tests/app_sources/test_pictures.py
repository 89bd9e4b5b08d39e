"""What Kotlin and Swift do before the preprocessing: a platform's memory -> an upright picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from .cases import DEGREES, PACKED, SEED, UPRIGHT, YUV, Array, Case, make_case, planes
from .programs import Program, assert_refused

pytestmark = pytest.mark.parametrize("program", ["Kotlin", "Swift"], indirect=True)

FLAT = planes((6, 3), offsets=(24, 30))  # of a frame of 6 x 4: y, then u, then v


def random_bytes(*shape: int) -> Array:
    return np.random.default_rng(SEED).integers(0, 256, shape).astype(np.uint8)


def picture_of(answer: tuple[bool, bytes]) -> Array:
    failed, data = answer
    assert not failed, data.decode()
    width, height, channels = np.frombuffer(data[:12], np.int32)
    return np.frombuffer(data[12:], np.uint8).reshape(height, width, channels)


@pytest.mark.parametrize("shape", [(3, 5, 3), (4, 2, 4), (1, 1, 3)])
def test_every_exif_orientation_is_that_of_pillow(shape: tuple[int, int, int], program: Program) -> None:
    pixels = random_bytes(*shape)
    answers = program([make_case("upright", pixels, what=UPRIGHT, shortest=one) for one in range(9)])
    for orientation, answer in enumerate(answers):
        image = Image.fromarray(pixels)
        image.getexif()[274] = orientation
        assert (picture_of(answer) == np.asarray(ImageOps.exif_transpose(image))).all(), orientation


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_degrees_turn_clockwise(degrees: int, program: Program) -> None:
    ((_, orientation),) = program([make_case("degrees", random_bytes(0), what=DEGREES, width=degrees)])
    pixels = random_bytes(2, 3, 3)
    turn = make_case("upright", pixels, what=UPRIGHT, shortest=int.from_bytes(orientation, "little"))
    assert (picture_of(program([turn])[0]) == np.rot90(pixels, -degrees // 90)).all()


def test_packed_colours_lose_their_alpha(program: Program) -> None:
    """0xAARRGGBB is B, G, R, A in memory; Swift alone reads rows with a gap."""
    bgra = random_bytes(5, 7, 4)
    shown = 7 if program.language == "Kotlin" else 4
    case = make_case("packed", bgra, what=PACKED, width=shown, **planes((28, 0)))
    assert (picture_of(program([case])[0]) == bgra[:, :shown, 2::-1]).all()


def yuv_case(ycc: Array, step: int, gap: int) -> Case:
    """A frame of these y, cb, cr [height, width, 3]: every second chroma value, step bytes apart, rows with a gap."""
    height, width, _ = ycc.shape
    chroma = ycc[::2, ::2, 1:]
    rows = (width + gap, chroma.shape[1] * step + gap)
    light = np.pad(ycc[..., 0], ((0, 0), (0, gap))).ravel()
    if step == 2:  # u, v, u, v, ... in one plane
        colour = np.pad(chroma.reshape(chroma.shape[0], -1), ((0, 0), (0, gap))).ravel()
        offsets = (light.size, light.size + 1)
    else:
        u, v = (np.pad(chroma[..., c], ((0, 0), (0, gap))).ravel() for c in range(2))
        colour, offsets = np.concatenate([u, v]), (light.size, light.size + u.size)
    payload = np.concatenate([light, colour])
    name = f"{width} x {height}, step {step}, gap {gap}"
    return make_case(name, payload, what=YUV, width=width, height=height, **planes(rows, step, offsets))


def test_camera_frames_have_the_numbers_of_libjpeg(program: Program) -> None:
    """Pillow decodes one JPEG to YCbCr and to RGB; its chroma is of pairs of equal pixels, so that no filter shows."""
    coarse = random_bytes(40, 60, 3)
    file = io.BytesIO()
    Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(file, "JPEG", quality=100, subsampling=0)
    raw, decoded = Image.open(file), Image.open(file)
    raw.draft("YCbCr", raw.size)
    ycc, rgb = np.asarray(raw), np.asarray(decoded)
    assert raw.mode == "YCbCr" and decoded.mode == "RGB"
    pairs = ycc[::8, ::8].repeat(2, 0).repeat(2, 1)  # libjpeg's formula knows one pixel at a time
    expected = rgb[::8, ::8].repeat(2, 0).repeat(2, 1)
    assert len(np.unique(pairs[..., 1])) > 200 and {0, 255} <= set(expected.ravel().tolist())
    frames = [(pairs, expected), (pairs[:-1, :-1], expected[:-1, :-1]), (pairs[:1, :1], expected[:1, :1])]
    for frame, colours in frames:
        cases = [yuv_case(frame, step, gap) for step in (1, 2) for gap in (0, 5)]
        for case, answer in zip(cases, program(cases), strict=True):
            assert (picture_of(answer) == colours).all(), case.name


NOTHING = random_bytes(0)
REFUSED = [
    (make_case("degrees", NOTHING, what=DEGREES, width=45), r"\w+ = 45 cannot be used; accepted: 0, 90, 180, 270"),
    (make_case("orientation", random_bytes(1, 1, 3), what=UPRIGHT, shortest=90), "orientation = 90 cannot .* 1..8"),
    (make_case("a pixel less", random_bytes(20), what=PACKED, width=3, height=2, **planes((12, 0))), ".* cannot"),
    (make_case("no width", NOTHING, what=PACKED, width=0, **planes((0, 0))), "width = 0 cannot"),
    (make_case("huge", NOTHING, what=YUV, width=2**31 - 1, height=2**31 - 1, **planes((0, 0))), "the picture is too l"),
    (make_case("y", random_bytes(23), what=YUV, width=6, height=4, **planes((6, 3))), 'plane y = "23 bytes" cannot'),
    (make_case("u", random_bytes(29), what=YUV, width=6, height=4, **FLAT | {"exact": (24, 0)}), 'plane u = "5 bytes"'),
    (make_case("v", random_bytes(35), what=YUV, width=6, height=4, **FLAT), 'plane v = "5 bytes" .* strides that'),
    (make_case("step", random_bytes(36), what=YUV, width=6, height=4, **FLAT | {"shortest": 0}), 'plane u = "12'),
    (make_case("row", random_bytes(36), what=YUV, width=6, height=4, **FLAT | {"size": (-6, 3)}), 'plane y = "36'),
]  # fmt: skip


def test_what_does_not_fit_is_refused(program: Program) -> None:
    assert_refused(program, REFUSED)
