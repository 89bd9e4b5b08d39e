"""Bundles of segmentation networks, opened, predicted with and checked; against transformers, and where it must lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from mvit2.bundle.manifest import read_manifest
from mvit2.image.palette import voc_colors
from mvit2.image.placement import Placement
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime import Classifier, Segmenter, check_bundle, open_bundle
from mvit2.runtime.verify.golden import read_golden
from mvit2.tasks import CLASSIFY, SEGMENT, TASKS

Edit = Callable[[dict[str, Any]], Any]
MODEL = "model_float32.onnx"
SCORES, MASK = f"golden/{MODEL}.f32", f"golden/{MODEL}.u8"
CLASSES, STRIDE = 8, 16
SIZES = [(640, 480), (480, 640), (97, 131), (1200, 90)]  # width, height
SPECS = {
    "stretch": PreprocessSpec((64, 96), None, (64, 96)),
    "stretch, crop": PreprocessSpec((64, 96), None, (96, 128)),
    "shortest, crop": PreprocessSpec((64, 64), 72),
    "wide crop": PreprocessSpec((64, 128), 96, None, "bicubic"),
    "smaller than the crop": PreprocessSpec((96, 96), 48),
}


@pytest.fixture(scope="session")
def bundles(segments: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what they return and take."""
    folder = tmp_path_factory.mktemp("segments")
    return {
        "scores": segments.write_bundle(folder / "scores"),
        "mask": segments.write_bundle(folder / "mask", output_kind="mask"),
        "tensor": segments.write_bundle(folder / "tensor", io="tensor"),
    }


# ---- equal to transformers ----


@pytest.mark.parametrize("kind", ["scores", "tensor"])
@pytest.mark.parametrize("size", SIZES)
def test_a_stretched_picture_equals_transformers(kind: str, size: tuple[int, int], bundles: dict[str, Path]) -> None:
    from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

    picture = np.random.default_rng(3).integers(0, 256, (9, 12, 3), np.uint8)
    picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    segmenter = Segmenter.open(bundles[kind])
    logits = segmenter.scores(preprocess(picture, segmenter.manifest.preprocess)[None])
    outputs = SimpleNamespace(logits=torch.from_numpy(logits).permute(0, 3, 1, 2))
    (expected,) = MobileViTImageProcessorPil().post_process_semantic_segmentation(outputs, [size[::-1]])
    found = segmenter.predict(picture).mask
    assert (found.dtype, found.shape) == (np.uint8, size[::-1])
    assert np.mean(found == expected.numpy()) > 0.9999  # what is left are ties in float32


# ---- it lies on the picture ----


def border_columns(mask: np.ndarray[Any, Any]) -> dict[int, int]:
    """Class -> the column at which the middle row passes from it to the next one."""
    row = mask[mask.shape[0] // 2].astype(int)
    return {int(row[x]): x + 1 for x in range(len(row) - 1) if row[x] < row[x + 1] < 255}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("output_kind", ["scores", "mask"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("size", SIZES)
def test_a_gradient_s_classes_lie_where_its_colours_are(
    size: tuple[int, int], spec: PreprocessSpec, output_kind: str, turned: bool, segments: ModuleType, tmp_path: Path
) -> None:
    """``turned``: the same along the other axis."""
    bundle = segments.write_bundle(tmp_path / "bundle", CLASSES, spec, "image", output_kind)
    picture = segments.gradient(*size[::-1]).transpose(1, 0, 2) if turned else segments.gradient(*size)
    found = Segmenter.open(bundle).predict(np.ascontiguousarray(picture))
    assert found.mask.shape == size[::-1]
    left, top, right, bottom = found.box
    outside = np.ones(found.mask.shape, bool)
    outside[top:bottom, left:right] = False
    assert (found.mask[outside] == 255).all() and (found.mask[~outside] < CLASSES).all()
    borders = border_columns(found.mask.T if turned else found.mask)
    extent, seen = (size[1], bottom - top) if turned else (size[0], right - left)
    placement = Placement.of(size, spec)
    axis = placement.rows if turned else placement.columns
    cell = axis.picture / axis.resized * (STRIDE if output_kind == "scores" else 1)
    step = extent / 256  # of red, which has this many values
    assert len(borders) >= seen * CLASSES // extent - 3  # the outermost cells may hold zeros beside the picture
    for index, border in borders.items():
        assert abs(border - (index + 1) * extent / CLASSES) <= cell + step + 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_lie_on_the_upright_picture(
    orientation: int, segments: ModuleType, bundles: dict[str, Path], tmp_path: Path
) -> None:
    stored = Image.fromarray(segments.gradient(300, 200))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    segmenter = Segmenter.open(bundles["scores"])
    found = segmenter.predict(tmp_path / "turned.png")
    assert found.mask.shape == ((300, 200) if orientation > 4 else (200, 300))
    assert found.overlay(tmp_path / "turned.png").size == found.mask.shape[::-1]
    columns = np.unique(found.mask, axis=0)
    assert (len(columns) == 1) == (orientation <= 4)  # red runs along the rows, or along the columns
    ends = (found.mask[0, 0], found.mask[-1, -1])
    assert (ends[0] > ends[1]) == (orientation in (2, 3, 7, 8))


# ---- as a bundle ----


def test_open_bundle_opens_what_it_is(bundles: dict[str, Path]) -> None:
    for kind, bundle in bundles.items():
        segmenter = open_bundle(bundle)
        assert isinstance(segmenter, Segmenter), kind
        assert segmenter.artifact.file.path == MODEL and segmenter.labels[3] == "class 3"
    assert {task.manifest for task in TASKS.values()} == {kind.task.manifest for kind in (Classifier, Segmenter)}
    assert (Classifier.task, Segmenter.task) == (CLASSIFY, SEGMENT)


@pytest.mark.parametrize("kind", ["scores", "mask", "tensor"])
def test_predict(kind: str, segments: ModuleType, bundles: dict[str, Path]) -> None:
    segmenter = Segmenter.open(bundles[kind], threads=1)
    picture = segments.gradient(480, 320)
    found = segmenter.predict(picture)
    assert (found.seen, found.colors) == (1.0, voc_colors(CLASSES))
    assert sorted(area.label for area in found.classes) == [f"class {index}" for index in range(CLASSES)]
    assert sum(area.share for area in found.classes) == pytest.approx(1)
    assert all(abs(area.share - 1 / CLASSES) < 0.05 for area in found.classes)
    both = segmenter.predict([picture, picture[:, ::-1].copy()])
    assert np.array_equal(both[0].mask, found.mask) and not np.array_equal(both[1].mask, found.mask)
    assert segmenter.predict([]) == []


def test_the_shapes_of_scores(bundles: dict[str, Path]) -> None:
    pixels = np.zeros((2, 64, 96, 3), np.uint8)
    found = {kind: Segmenter.open(bundle).scores(pixels) for kind, bundle in bundles.items()}
    described = {kind: (scores.dtype.name, scores.shape) for kind, scores in found.items()}
    assert described == {
        "scores": ("float32", (2, 4, 6, 8)),
        "mask": ("uint8", (2, 64, 96)),
        "tensor": ("float32", (2, 4, 6, 8)),
    }
    assert np.abs(found["scores"] - found["tensor"]).max() <= 1e-3 * np.ptp(found["scores"])


@pytest.mark.parametrize("kind", ["scores", "mask", "tensor"])
def test_check(kind: str, bundles: dict[str, Path]) -> None:
    report = check_bundle(bundles[kind])
    (difference,) = report.differences
    assert report.passed and difference.measure == ("masks" if kind == "mask" else "logits")
    assert (difference.max_relative, difference.top1_agreement, difference.inputs) == (0.0, 1.0, 2)


def test_golden_vectors_are_raw_numbers(bundles: dict[str, Path]) -> None:
    for kind, file, shape in (("scores", SCORES, (2, 4, 6, 8)), ("mask", MASK, (2, 64, 96))):
        golden = read_golden(bundles[kind], read_manifest(bundles[kind]))
        raw = np.fromfile(bundles[kind] / file, "<f4" if kind == "scores" else np.uint8)
        assert np.array_equal(golden.scores[MODEL], raw.reshape(shape))
