"""Pictures with masks: which are found, what a mask file may be, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mvit2.errors import ImageError, UsageError
from mvit2.export.cli.options import reading_of
from mvit2.image.dataset import PLAIN, Reading
from mvit2.image.decode import load_mask, upright_size
from mvit2.image.masks import check_masks, ignored, labelled_masks, unlabelled_images

INDICES = np.array([[0, 1, 2], [10, 255, 3]], np.uint8)
VOC = ("JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg", "SegmentationClass/a.png", "SegmentationClass/c.png")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def write(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        touch(root, name)
        (root / name).write_text(text)


# ---- which pictures and masks ----


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.png", "c/a.png"], ["a.jpg", "b.png", "c/a.png"]),
        (["a.jpg", "a.png", "b.jpeg", "b.png", "c.png"], ["a.jpg", "b.jpeg", "c.png"]),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationObject/a.png"], ["JPEGImages/a.jpg"]),
    ],
)
def test_masks_are_no_pictures(names: list[str], expected: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert [p.relative_to(tmp_path).as_posix() for p in unlabelled_images(tmp_path)] == expected


@pytest.mark.parametrize(
    ("names", "texts", "asked", "split", "expected"),
    [
        (["b.jpg", "b.png", "x/a.jpeg", "x/a.png"], {}, ".", None, [("b.jpg", "b.png"), ("x/a.jpeg", "x/a.png")]),
        (["a.JPG", "a.PNG", "._a.jpg", "notes.txt"], {}, ".", None, [("a.JPG", "a.PNG")]),
        (["a.webp", "a.png", "x/a.bmp", "x/a.png"], {}, ".", None, [("a.webp", "a.png"), ("x/a.bmp", "x/a.png")]),
        (VOC, {}, ".", None, [(VOC[0], VOC[3]), (VOC[2], VOC[4])]),  # b has no mask, as most of VOC's pictures
        (VOC, {"ImageSets/Segmentation/val.txt": "c\n\nc\n"}, ".", "val", [(VOC[2], VOC[4])]),
        (["p/a.jpg", "m/b.png"], {"l.csv": "path,mask\np/a.jpg,m/b.png\n"}, "l.csv", None, [("p/a.jpg", "m/b.png")]),
    ],
    ids=["beside", "capitals and hidden", "other suffixes", "VOC", "VOC's val", "CSV"],
)
def test_found(
    names: list[str],
    texts: dict[str, str],
    asked: str,
    split: str | None,
    expected: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    touch(tmp_path, *names)
    write(tmp_path, texts)
    found = labelled_masks(tmp_path / asked, Reading(split=split))
    assert sorted(found) == [(tmp_path / picture, tmp_path / mask) for picture, mask in expected]


@pytest.mark.parametrize(
    ("names", "texts", "asked", "split", "wrong"),
    [
        (["a.jpg", "a.png", "b.jpg", "c.jpg"], {}, ".", None, r"2 of 3 images in .* have no mask of their name, the"),
        (["a.jpg", "a.png", "b.png"], {}, ".", None, r"1 of 2 masks in .* have no image \(\.jpg, .*, the first: .*b"),
        (["a.jpg", "a.jpeg", "a.png"], {}, ".", None, "a.jpg and a.jpeg would share a mask; accepted: NAME.png"),
        (["a.txt"], {}, ".", None, "holds no images"),
        ([*VOC, "JPEGImages/a.jpeg"], {}, ".", None, "a.jpg and a.jpeg would share a mask"),
        ([*VOC, "SegmentationClass/d.png"], {}, ".", None, "JPEGImages holds no image of 'd'; accepted: NAME.png"),
        (VOC, {"ImageSets/Segmentation/val.txt": "b"}, ".", "val", "SegmentationClass holds no mask of 'b'; accepted"),
        (VOC, {"ImageSets/Segmentation/val.txt": "../../b"}, ".", "val", "holds no image of '../../b'"),
        (VOC, {"ImageSets/Segmentation/val.txt": " \n"}, ".", "val", "val.txt is empty"),
        (
            VOC,
            {"ImageSets/Segmentation/val.txt": "a"},
            ".",
            "vla",
            "no file. Did you mean 'val'. .*Segmentation holds v",
        ),
        (VOC, {}, ".", "val", "Segmentation holds no list"),
        (VOC[:3], {}, ".", "val", "--split is for a PASCAL VOC folder"),
        (["a.jpg"], {"l.csv": "path,label\na.jpg,b.png\n"}, "l.csv", None, "the columns path and mask"),
        ([], {"l.csv": "path,mask\na.jpg,b.png\n"}, "l.csv", None, "names .*a.jpg, which is no file"),
        ([], {}, "nowhere", None, "cannot be read as CSV"),
    ],
)
def test_refused(
    names: list[str], texts: dict[str, str], asked: str, split: str | None, wrong: str, tmp_path: Path
) -> None:
    touch(tmp_path, *names)
    write(tmp_path, texts)
    with pytest.raises((UsageError, ImageError), match=wrong) as caught:
        labelled_masks(tmp_path / asked, Reading(split=split))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"), [(None, ()), (["11"], (11,)), (["11,0", "7"], (11, 0, 7)), ([" 1 , 2 "], (1, 2))]
)
def test_ignored_indices(words: list[str] | None, expected: tuple[int, ...]) -> None:
    reading = reading_of(ignore=words)
    assert reading.ignore == expected and ignored(reading) == {255, *expected}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"ignore": ["eleven"]}, "--ignore is 'eleven', accepted: indices such as 11"),
        ({"ignore": ["1,,2"]}, "--ignore is '1,,2'"),
        ({"ignore": ["-1"]}, "--ignore is '-1'"),
        ({"ignore": ["256"]}, "names the index 256, accepted: 0 to 255"),
        ({"ignore": ["9" * 5000]}, "names the index 999999999, accepted: 0 to 255"),
        ({"split": "../val"}, "--split is '../val', accepted: the plain name"),
        ({"split": ""}, "--split is '', accepted"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        reading_of(**options)


# ---- what a mask file may be ----


def palette(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices, "P")
    image.putpalette([200, 30, 30] * 256)
    return image


def turned(image: Image.Image, orientation: int) -> dict[str, Any]:
    exif = image.getexif()
    exif[274] = orientation
    return {"exif": exif}


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.fromarray(INDICES), {}, INDICES),
        (palette(INDICES), {}, INDICES),
        (palette(INDICES), {"transparency": 0}, INDICES),
        (palette(INDICES % 4), {"bits": 2}, INDICES % 4),
        (Image.fromarray(INDICES), turned(Image.fromarray(INDICES), 6), np.rot90(INDICES, -1)),
    ],
    ids=["gray", "palette", "transparent", "2 bits", "turned by EXIF"],
)
def test_masks_are_indices(image: Image.Image, options: dict[str, Any], expected: np.ndarray, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png", **options)
    found = load_mask(tmp_path / "a.png")
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def gray_of_4_bits(file: Path) -> None:
    """Pillow writes none. A palette of 16 entries is the same file but for its colour type and its PLTE chunk."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0\x12")), chunk(b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def noise(mode: str) -> Image.Image:
    return Image.effect_noise((8, 6), 50).convert(mode)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda file: noise("RGB").save(file), "is a PNG file with pixels of mode RGB; accepted: of masks PNG, 8-bit"),
        (lambda file: noise("RGBA").save(file), "of mode RGBA"),
        (lambda file: noise("LA").save(file), "of mode LA"),
        (lambda file: noise("1").save(file), "of mode 1"),
        (lambda file: Image.fromarray(np.full((4, 4), 300, np.uint16)).save(file), "of mode I;16"),
        (gray_of_4_bits, "of mode L of 4 bits"),
        (lambda file: noise("L").save(file, "JPEG"), "is a JPEG file"),
        (lambda file: noise("L").save(file, "BMP"), "is a BMP file"),
        (lambda file: file.write_text("no mask"), "is a text file; accepted: of masks PNG"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.mkdir(), "is a folder"),
        (lambda file: None, "does not exist"),
    ],
)
def test_other_files_are_refused(make: Callable[[Path], Any], wrong: str, tmp_path: Path) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(ImageError, match=wrong) as caught:
        load_mask(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_a_cut_mask_is_refused(tmp_path: Path) -> None:
    noise("L").resize((300, 300)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"is damaged or truncated .*; accepted: of masks PNG"):
        load_mask(tmp_path / "a.png")


# ---- masks that do not fit ----


@pytest.mark.parametrize(
    ("indices", "size", "orientation", "ignore", "wrong"),
    [
        (INDICES, (3, 2), 1, (), None),
        (INDICES, (2, 3), 6, (), None),  # the picture is stored on its side
        (INDICES, (4, 2), 1, (), r"a.png has 3x2 pixels, its image a.jpg 4x2; accepted: a mask of the image's"),
        (INDICES, (3, 2), 6, (), "3x2 pixels, its image a.jpg 2x3, which EXIF turns: masks belong to the upright"),
        (INDICES + 1, (3, 2), 1, (), "has pixels of index 11, accepted: 0 to 10, the network's .*: --ignore 11."),
        (INDICES + 1, (3, 2), 1, (), "where 0 is no class and k is class k - 1, as in ADE20K: --reduce-labels; "),
        (INDICES + 2, (3, 2), 1, (), r"of index 12, accepted: 0 to 10, the network's classes, and 255; where such"),
        (INDICES + 1, (3, 2), 1, (11,), None),
        (INDICES + 90, (3, 2), 1, (), r"of index 89, 90, 91, 92, 93, .*: --ignore 89,90,91,92,93."),
        (INDICES * 0 + 255, (3, 2), 1, (), r"none of the masks' pixels counts: .*indices \(255\)"),
        (INDICES * 0, (3, 2), 1, (0,), r"none of the masks' pixels counts: .*indices \(0, 255\)"),
    ],
)
def test_checked_before_anything_runs(
    indices: np.ndarray,
    size: tuple[int, int],
    orientation: int,
    ignore: tuple[int, ...],
    wrong: str | None,
    tmp_path: Path,
) -> None:
    picture, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    image = Image.new("RGB", size)
    image.save(picture, **turned(image, orientation))
    Image.fromarray(indices).save(mask)
    if wrong is None:
        check_masks([(picture, mask)], 11, ignored(Reading(ignore=ignore)))
        assert upright_size(picture) == (3, 2)
        return
    with pytest.raises(UsageError, match=wrong) as caught:
        check_masks([(picture, mask)], 11, ignored(Reading(ignore=ignore)))
    assert "\n" not in str(caught.value)


def test_an_unreadable_picture_is_left_to_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    Image.fromarray(INDICES).save(tmp_path / "a.png")
    check_masks([(tmp_path / "a.jpg", tmp_path / "a.png")], 11, ignored(PLAIN))


# ---- ADE20K ----


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["images/validation/a.jpg", "annotations/validation/a.png"], None, ["validation/a"]),
        (
            ["images/training/b.jpg", "annotations/training/b.png", "images/val/a.JPG", "annotations/val/a.PNG"],
            "val",
            ["val/a"],
        ),
        (["images/a.jpg", "annotations/a.png", "annotations/.b.png", "images/.x/c.jpg"], None, ["a"]),
    ],
)
def test_a_folder_like_ade20k(names: list[str], split: str | None, expected: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    found = labelled_masks(tmp_path, Reading(split=split))
    assert [p.relative_to(tmp_path / "images").with_suffix("").as_posix() for p, _ in found] == expected
    assert [m.relative_to(tmp_path / "annotations").with_suffix("").as_posix() for _, m in found] == expected


@pytest.mark.parametrize(
    ("names", "split", "wrong"),
    [
        (["images/validation/a.jpg", "annotations/training/a.png"], None, "holds no mask of a.jpg"),
        (["images/val/a.jpg", "annotations/val/a.png"], "vla", r"no such folder .* Did you mean 'val'\? It has val"),
    ],
)
def test_a_folder_like_ade20k_refused(names: list[str], split: str | None, wrong: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=wrong):
        labelled_masks(tmp_path, Reading(split=split))


def test_reduced_labels_are_transformers(tmp_path: Path) -> None:
    """0 is no class, k is class k - 1; 255 stays what it is. The rule is MobileViTImageProcessor.reduce_label's."""
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(indices).save(tmp_path / "a.png")
    label = torch.from_numpy(indices)
    label = torch.where(label == 0, torch.tensor(255, dtype=label.dtype), label) - 1
    expected = torch.where(label == 254, torch.tensor(255, dtype=label.dtype), label)
    assert np.array_equal(load_mask(tmp_path / "a.png", reduced=True), expected.numpy())
    assert np.array_equal(load_mask(tmp_path / "a.png"), indices)


def test_reduced_labels_are_checked_as_such(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.jpg")
    Image.fromarray(INDICES + 1).save(tmp_path / "a.png")
    check_masks([(tmp_path / "a.jpg", tmp_path / "a.png")], 11, ignored(PLAIN), reduced=True)
