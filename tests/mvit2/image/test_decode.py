"""What load_image makes of every kind of picture, and what it says about everything else."""

from __future__ import annotations

import io
import logging
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from mvit2.errors import ImageError
from mvit2.image.decode import MAX_PIXELS, load_image

pytestmark = pytest.mark.filterwarnings("error")  # Pillow's warnings must not reach the user

Array = np.ndarray[Any, Any]
NOISE = np.random.default_rng(7).integers(0, 256, (64, 48, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(image: Image.Image) -> list[Any]:
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


# ---- what a picture may be ----

GRAY = np.array([[0, 7, 255], [128, 1, 64]], np.uint8)
ALPHA = np.array([[255, 0, 9], [0, 128, 255]], np.uint8)
COLOUR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
GRAY16 = np.array([[0, 128, 129], [257 * 200, 65534, 65535]], np.uint16)
GRAY16_AS_8 = np.array([[0, 0, 1], [200, 255, 255]], np.uint8)
INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
PALETTE = np.array([[10, 20, 30], [200, 100, 0], [5, 250, 99]], np.uint8)


def triple(gray: Array) -> Array:
    return np.repeat(gray[:, :, None], 3, axis=2)


def palette_image() -> Image.Image:
    image = Image.fromarray(INDICES).convert("P")
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(PALETTE.tobytes())
    return image


def with_alpha(base: Array, mode: str) -> Image.Image:
    return Image.merge(mode, [*Image.fromarray(base).split(), Image.fromarray(ALPHA)])


def cmyk_as_rgb(cmyk: Array) -> Array:
    """255 * (1 - c) * (1 - k), rounded."""
    ink, black = cmyk[..., :3].astype(int), cmyk[..., 3:].astype(int)
    return (255 - black - np.round(ink * (255 - black) / 255)).astype(np.uint8)


CMYK = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10
LOSSLESS = [
    ("gray array", GRAY, triple(GRAY)),
    ("gray array, one channel", GRAY[:, :, None], triple(GRAY)),
    ("colour array", COLOUR, COLOUR),
    ("colour array, not contiguous", COLOUR[:, ::-1], COLOUR[:, ::-1]),
    ("alpha array", np.dstack([COLOUR, ALPHA]), COLOUR),
    ("gray array, 16 bit", GRAY16, triple(GRAY16_AS_8)),
    ("gray array, 16 bit, big-endian", GRAY16.astype(">u2"), triple(GRAY16_AS_8)),
    ("gray array, 16 bit, one channel", GRAY16[:, :, None], triple(GRAY16_AS_8)),
    ("PNG, 1 bit", encoded(Image.fromarray(GRAY > 100), "PNG"), triple((GRAY > 100) * np.uint8(255))),
    ("PNG, L", encoded(Image.fromarray(GRAY), "PNG"), triple(GRAY)),
    ("PNG, L with a transparent gray", encoded(Image.fromarray(GRAY), "PNG", transparency=7), triple(GRAY)),
    ("PNG, LA", encoded(with_alpha(GRAY, "LA"), "PNG"), triple(GRAY)),
    ("PNG, P", encoded(palette_image(), "PNG"), PALETTE[INDICES]),
    ("PNG, P with a transparent colour", encoded(palette_image(), "PNG", transparency=1), PALETTE[INDICES]),
    (
        "PNG, P with alphas",
        encoded(palette_image(), "PNG", transparency=bytes([0, 128, 255])),
        PALETTE[INDICES],
    ),
    ("PNG, RGB", encoded(Image.fromarray(COLOUR), "PNG"), COLOUR),
    ("PNG, RGBA", encoded(with_alpha(COLOUR, "RGBA"), "PNG"), COLOUR),
    ("PNG, 16 bit", encoded(Image.fromarray(GRAY16), "PNG"), triple(GRAY16_AS_8)),
    ("WebP, RGB", encoded(Image.fromarray(COLOUR), "WEBP", lossless=True), COLOUR),
    ("WebP, RGBA", encoded(with_alpha(COLOUR, "RGBA"), "WEBP", lossless=True, exact=True), COLOUR),
    ("BMP, RGB", encoded(Image.fromarray(COLOUR), "BMP"), COLOUR),
    ("BMP, L", encoded(Image.fromarray(GRAY), "BMP"), triple(GRAY)),
    ("PIL, mode I", Image.fromarray(GRAY16.astype(np.int32)), triple(GRAY16_AS_8)),
    ("PIL, CMYK", Image.frombytes("CMYK", (3, 2), CMYK.tobytes()), cmyk_as_rgb(CMYK)),
]


@pytest.mark.parametrize(("source", "expected"), [row[1:] for row in LOSSLESS], ids=[row[0] for row in LOSSLESS])
def test_every_mode_becomes_rgb(source: Any, expected: Array) -> None:
    assert pixels_of(load_image(source)) == expected.tolist()


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("RGB", "MPO")]
)
def test_lossy_files_are_what_pillow_decodes(mode: str, kind: str, tmp_path: Path) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    options = {"save_all": True, "append_images": [image]} if kind == "MPO" else {}
    data = encoded(image, kind, **options)
    path = tmp_path / "a picture.jpg"
    path.write_bytes(data)
    opened = Image.open(io.BytesIO(data))
    expected = np.asarray(opened.convert("RGB")).tolist()
    for source in (path, str(path), data, opened):
        assert pixels_of(load_image(source)) == expected


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "AVIF"])
def test_kinds_that_pillow_reads_besides(kind: str, tmp_path: Path) -> None:
    """Of an animation the first frame counts."""
    (tmp_path / "a").write_bytes(encoded(Image.fromarray(GRAY), kind))
    with Image.open(tmp_path / "a") as expected:
        assert pixels_of(load_image(tmp_path / "a")) == pixels_of(expected.convert("RGB"))


def test_a_pil_image_is_not_changed() -> None:
    image = palette_image()
    image.info["transparency"] = b"\0\1\2"
    load_image(image)
    assert image.mode == "P" and image.info["transparency"] == b"\0\1\2"


UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
    9: lambda a: a,  # not defined by EXIF
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(Image.fromarray(COLOUR), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    image = load_image(data)
    assert pixels_of(image) == UPRIGHT[orientation](COLOUR).tolist()
    assert pixels_of(image) == pixels_of(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert pixels_of(load_image(image)) == pixels_of(image)


def test_a_damaged_exif_block_is_ignored() -> None:
    whole = Image.fromarray(COLOUR)
    for exif in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12"):
        assert pixels_of(load_image(encoded(whole, "JPEG", exif=exif))) == pixels_of(load_image(encoded(whole, "JPEG")))


# ---- what is refused ----

JPEG = encoded(Image.fromarray(NOISE), "JPEG")
PNG = encoded(Image.fromarray(NOISE), "PNG")


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data)
    )


BAD_FILES = [
    ("empty", b"", "is empty (0 bytes)"),
    ("text", b"not a picture at all\n", "is a text file"),
    ("html", b"<!doctype html><title>404</title>", "is a text file"),
    ("noise", bytes(range(256)), "is not an image, or one with a damaged header"),
    ("gif", encoded(Image.fromarray(GRAY), "GIF")[:20], "is damaged or truncated"),
    ("tiff", encoded(Image.fromarray(GRAY), "TIFF")[:60], "is damaged or truncated"),
    ("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file"),
    ("truncated jpeg", JPEG[: len(JPEG) // 2], "is damaged or truncated"),
    ("truncated png", PNG[: len(PNG) // 2], "is damaged or truncated"),
    ("corrupt png", PNG[:100] + bytes(50) + PNG[150:], "is damaged or truncated"),
    ("jpeg header only", JPEG[:20], "is not an image, or one with a damaged header"),
    (
        "too large for us",
        png_header(2**14, 2**13 + 1),
        f"is too large (16384x8193); accepted: at most {MAX_PIXELS}",
    ),
    ("too large for Pillow", png_header(100_000, 100_000), "is too large"),
]


@pytest.mark.parametrize(("data", "wrong"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
def test_a_bad_file_is_refused_in_one_line(data: bytes, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    for source, name in ((path, repr(str(path))), (data, "image bytes")):
        with pytest.raises(ImageError) as caught:
            load_image(source)
        message = str(caught.value)
        assert message.startswith(f"{name} {wrong}")
        assert "\n" not in message and "accepted: " in message
        assert "JPEG, PNG, WebP, BMP" in message or "too large" in message


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    table = [
        (tmp_path / "missing.jpg", "does not exist"),
        (tmp_path, "is a folder"),
        (fifo, "is no regular file"),
        (tmp_path / ("x" * 300), "cannot be read (File name too long)"),
        (tmp_path / "two\nlines.jpg", "does not exist"),
    ]
    for path, wrong in table:
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert f"{str(path)!r} {wrong}; accepted: a readable file: JPEG" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private.jpg"
    path.write_bytes(JPEG)

    def denied(*_: object) -> None:  # chmod would not stop root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ImageError, match=r"private\.jpg' cannot be read \(Permission denied\); accepted"):
        load_image(path)


BAD_OBJECTS = [
    (np.zeros((4, 4, 3), np.float32), "array of float32 [4, 4, 3] is not an image; accepted: uint8 [H, W]"),
    (np.zeros((4, 4), bool), "array of bool [4, 4] is not an image"),
    (np.zeros((4, 4), np.int16), "array of int16 [4, 4] is not an image"),
    (np.zeros((4, 4, 3), np.uint16), "array of uint16 [4, 4, 3] is not an image"),
    (np.zeros((3, 4, 5), np.uint8), "array of uint8 [3, 4, 5] is not an image"),
    (np.zeros((1, 4, 4, 3), np.uint8), "array of uint8 [1, 4, 4, 3] is not an image"),
    (np.zeros(4, np.uint8), "array of uint8 [4] is not an image"),
    (np.zeros((0, 4, 3), np.uint8), "array of uint8 [0, 4, 3] has no pixels (4x0)"),
    (np.zeros((0, 4), np.uint16), "array of uint16 [0, 4] has no pixels (4x0)"),
    (
        np.broadcast_to(np.uint8(0), (2**14, 2**14)),
        "array of uint8 [16384, 16384] is too large (16384x16384)",
    ),
    (Image.new("RGB", (0, 5)), "PIL image of mode RGB has no pixels (0x5)"),
    (Image.new("F", (5, 5)), "PIL image of mode F has floating-point pixels"),
    (
        Image.new("I", (5, 5), 70_000),
        "PIL image of mode I has pixels of 70000..70000; accepted: 16-bit grayscale",
    ),
    (None, "object of type NoneType is not an image; accepted: path, bytes, PIL image, NumPy array"),
]


@pytest.mark.parametrize(("source", "wrong"), BAD_OBJECTS, ids=[row[1].split(" is ")[0] for row in BAD_OBJECTS])
def test_a_bad_object_is_refused(source: Any, wrong: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(source)
    assert str(caught.value).startswith(wrong) and "; accepted: " in str(caught.value)


def _claims_gigabytes() -> bytes:
    """A PNG of 100 bytes with a chunk that says it has four gigabytes."""
    whole = encoded(Image.fromarray(NOISE), "PNG")
    at = whole.index(b"IDAT") - 4
    return whole[:at] + struct.pack(">I", 2**32 - 16) + b"IDAT" + whole[at + 8 : at + 60]


def test_a_file_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(_claims_gigabytes())
    tracemalloc.start()
    for source in (tmp_path / "x.png", (tmp_path / "x.png").read_bytes()):
        with pytest.raises(ImageError, match="damaged or truncated"):
            load_image(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_no_memory_for_a_picture_is_the_picture_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(NOISE).save(tmp_path / "x.png")

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(ImageError, match="needs more memory than there is"):
        load_image(tmp_path / "x.png")


def test_pillow_s_log_is_not_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program without logging: pytest's handlers are taken away."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than can be decoded")
    logging.getLogger("other").error("this is printed")
    assert capsys.readouterr().err == "this is printed\n"
