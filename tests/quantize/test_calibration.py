"""Which pictures int8 ranges are learned on: chosen by a seed, usable, different, and some kept apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.measurements import Calibration
from mvit2.errors import UsageError
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.quantize.calibration import CalibrationSet, bundled_crops, calibration_images

SPEC = PreprocessSpec((32, 32), 36)
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def pictures(folder: Path, count: int, suffix: str = ".png", seed: int = 0) -> list[Path]:
    """``count`` different pictures of noise, of different sizes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i:03d}{suffix}" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(rng.integers(0, 256, (40 + i % 3, 40 + i % 5, 3), dtype=np.uint8)).save(file)
    return files


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def rows(pixels: Pixels) -> set[bytes]:
    return {picture.tobytes() for picture in pixels}


# ---- the choice ----


@pytest.mark.parametrize(
    ("count", "samples", "used", "held_out"),
    [(32, 256, 32, 8), (40, 256, 40, 10), (40, 33, 33, 9), (40, 40, 40, 10), (35, 32, 32, 8)],
)
def test_pixels_record_and_split(count: int, samples: int, used: int, held_out: int, tmp_path: Path) -> None:
    files = {sha256(file): file for file in pictures(tmp_path, count)}
    found = calibration_images(tmp_path, SPEC, samples=samples)
    assert (len(found.fit), len(found.held_out)) == (used - held_out, held_out)
    assert found.fit.dtype == np.uint8 and found.fit.shape[1:] == (32, 32, 3)
    assert (found.record.source, found.record.seed, found.record.held_out) == ("folder", 0, held_out)
    chosen = [files[digest] for digest in found.record.sha256]
    assert len(set(chosen)) == used
    assert rows(found.fit) | rows(found.held_out) == {preprocess(file, SPEC).tobytes() for file in chosen}
    assert not rows(found.fit) & rows(found.held_out)


def test_the_seed_decides(tmp_path: Path) -> None:
    pictures(tmp_path, 48)
    first, again, other = (calibration_images(tmp_path, SPEC, samples=32, seed=seed) for seed in (3, 3, 4))
    assert first.record == again.record and np.array_equal(first.fit, again.fit)
    assert np.array_equal(first.held_out, again.held_out)
    assert other.record.seed == 4 and set(other.record.sha256) != set(first.record.sha256)


def test_the_folder_is_named_by_nothing_but_its_pictures(tmp_path: Path) -> None:
    """The same files elsewhere are the same calibration: two exports can be compared."""
    for name in ("here", "there"):
        pictures(tmp_path / name, 36, ".jpg")
    here, there = (calibration_images(tmp_path / name, SPEC, samples=32) for name in ("here", "there"))
    assert here.record == there.record and np.array_equal(here.fit, there.fit)


def test_classes_are_mixed(tmp_path: Path) -> None:
    """Folders of classes come sorted: the first 32 would be of one class."""
    classes = {name: {sha256(file) for file in pictures(tmp_path / name, 40, seed=ord(name))} for name in "ab"}
    chosen = set(calibration_images(tmp_path, SPEC, samples=32).record.sha256)
    assert all(len(chosen & known) >= 8 for known in classes.values())


# ---- what cannot be used ----


@pytest.mark.parametrize(
    "damage", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut off"], ids=["empty", "text", "truncated"]
)
def test_unreadable_pictures_are_named_and_replaced(damage: bytes, tmp_path: Path) -> None:
    files = pictures(tmp_path, 36)
    for file in files[5:8]:
        file.write_bytes(damage)
    warned: list[str] = []
    found = calibration_images(tmp_path, SPEC, warn=warned.append)
    assert len(found.record.sha256) == 33
    assert len(warned) == 3 and all(w.startswith("calibration: ") and w.endswith("left out.") for w in warned)
    assert {name for name in ("005", "006", "007") if any(f"{name}.png" in w for w in warned)} == {"005", "006", "007"}


def test_copies_are_named_and_replaced(tmp_path: Path) -> None:
    """A copy could be held out while its original is learned from."""
    files = pictures(tmp_path, 33)
    (tmp_path / "copy.png").write_bytes(files[0].read_bytes())
    warned: list[str] = []
    found = calibration_images(tmp_path, SPEC, warn=warned.append)
    assert len(found.record.sha256) == len(set(found.record.sha256)) == 33
    assert len(warned) == 1 and "is a copy of another image; left out." in warned[0]


@pytest.mark.parametrize(
    ("good", "bad", "options", "wrong"),
    [
        (31, 0, {}, r"has 31 usable image\(s\), accepted: 32 or more, 200 are better \(or --force, and"),
        (31, 9, {}, r"has 31 usable image\(s\)"),
        (0, 3, {}, r"has 0 usable image\(s\), accepted: 32 or more, 200 are better\.$"),
        (0, 3, {"force": True}, r"has 0 usable image\(s\), accepted: 32 or more, 200 are better\.$"),
        (0, 0, {}, "holds no images"),
        (32, 0, {"samples": 31}, "31 samples and seed 0 cannot be used; accepted: 32 samples or more, a seed from 0"),
        (32, 0, {"samples": 0, "force": True}, "0 samples .* accepted: 1 samples or more"),
        (32, 0, {"seed": -1}, "256 samples and seed -1 cannot be used"),
    ],
)
def test_too_few_are_refused(good: int, bad: int, options: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    pictures(tmp_path, good)
    for i in range(bad):
        (tmp_path / f"bad{i}.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=wrong) as caught:
        calibration_images(tmp_path, SPEC, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("count", "samples", "fit", "held_out"), [(1, 256, 1, 0), (2, 256, 1, 1), (5, 256, 3, 2), (40, 4, 3, 1)]
)
def test_force_takes_what_there_is(count: int, samples: int, fit: int, held_out: int, tmp_path: Path) -> None:
    pictures(tmp_path, count)
    found = calibration_images(tmp_path, SPEC, samples=samples, force=True)
    assert found.record.held_out == held_out and len(found.fit) == fit
    assert len(found.held_out) == max(held_out, 1)  # of one picture, the same one


@pytest.mark.parametrize(
    ("colours", "refused"),
    [
        ([(i, i, i) for i in range(32)], True),
        ([(255, i, 0) for i in range(32)], True),  # its channels differ, its pixels do not
        ([(i, 0, 0) for i in range(31)] + [None], False),
    ],
    ids=["gray", "coloured", "all but one"],
)
def test_pictures_of_one_colour(colours: list[tuple[int, int, int] | None], refused: bool, tmp_path: Path) -> None:
    for i, colour in enumerate(colours):
        picture = Image.new("RGB", (40, 40), colour or (0, 0, 0))
        if colour is None:
            picture.paste((255, 255, 255), (10, 10, 20, 20))
        picture.save(tmp_path / f"{i}.png")
    pixels = np.stack([preprocess(tmp_path / f"{i}.png", SPEC) for i in range(len(colours))])
    record = Calibration("folder", 0, (), 0)
    if not refused:
        assert len(CalibrationSet(pixels, pixels, record).fit) == 32
        return
    wrong = "all 32 calibration images are of one colour; accepted: images of the kind that the app will see"
    with pytest.raises(UsageError, match=wrong):
        CalibrationSet(pixels, pixels, record)
    with pytest.raises(UsageError, match="all 24 calibration images are of one colour"):
        calibration_images(tmp_path, SPEC)


# ---- without pictures of one's own ----


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_bundled_crops(size: tuple[int, int], photos: Path) -> None:
    found = bundled_crops(PreprocessSpec(size, max(size) + 8))
    assert found.fit.shape == (48, *size, 3) and found.held_out.shape == (16, *size, 3)
    assert found.record.source == "bundled photographs" and found.record.held_out == 16
    assert found.record.sha256 == tuple(sha256(file) for file in sorted(photos.glob("*.jpg")))
    assert len(rows(found.fit) | rows(found.held_out)) == 64
    assert found.fit.std() > 30 and found.fit.std(0).mean() > 30  # pictures, and not 48 times the same


def test_bundled_crops_follow_their_seed() -> None:
    first, again, other = (bundled_crops(SPEC, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.fit, again.fit) and np.array_equal(first.held_out, again.held_out)
    assert first.record == again.record and not np.array_equal(first.fit, other.fit)


def test_bundled_crops_come_from_every_photograph(photos: Path) -> None:
    """Each crop's colours are nearest to those of some photograph; together they are nearest to all five."""
    whole = [colours(preprocess(file, PreprocessSpec((64, 64), 64))) for file in sorted(photos.glob("*.jpg"))]
    crops = bundled_crops(PreprocessSpec((64, 64), 64)).fit
    nearest = [int(np.argmin([np.abs(colours(crop) - known).sum() for known in whole])) for crop in crops]
    assert np.bincount(nearest, minlength=5).min() >= 4


def colours(pixels: Pixels) -> np.ndarray[Any, Any]:
    """Histogram of 4 x 4 x 4 colours."""
    coarse = pixels.reshape(-1, 3) // 64
    return np.bincount(coarse @ np.array([16, 4, 1]), minlength=64) / len(coarse)
