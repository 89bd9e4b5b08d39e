"""What is refused of a segmentation network's bundle: the other task, forged manifests, damaged golden vectors."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mvit2.errors import BundleError, CheckFailed, ImageError
from mvit2.runtime import Classifier, Segmenter, check_bundle, open_bundle
from mvit2.runtime.audit.candidates import open_subject
from mvit2.runtime.verify.golden import GOLDEN

Edit = Callable[[dict[str, Any]], Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
MODEL = "model_float32.onnx"
SCORES, MASK = f"golden/{MODEL}.f32", f"golden/{MODEL}.u8"
CLASSES = 8


@pytest.fixture
def bundle(segments: ModuleType, tmp_path: Path) -> Path:
    """Of scores."""
    return Path(segments.write_bundle(tmp_path / "scores"))


@pytest.mark.parametrize(
    "use",
    [
        Classifier.open,
        open_subject,
    ],
    ids=["Classifier.open", "audit"],
)
def test_what_is_for_classifiers_alone(use: Callable[[Path], Any], bundle: Path) -> None:
    with pytest.raises(BundleError) as caught:
        use(bundle)
    assert str(caught.value) == (
        f"{bundle} holds a segmentation network, accepted here: an image classifier; mvit2 predict and "
        "mvit2.runtime.open_bundle take either."
    )


@pytest.mark.timing
def test_bench_measures_the_way_to_the_mask(run: Run, bundle: Path) -> None:
    done = run("bench", bundle, "--runs", 6, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(done.stdout)["trials"][0]["results"]
    assert measured["postprocessing"]["median"] > 0


def test_a_classifier_is_no_segmenter(demo_bundle: Path) -> None:
    with pytest.raises(BundleError, match="holds an image classifier, accepted here: a segmentation network"):
        Segmenter.open(demo_bundle)
    assert isinstance(open_bundle(demo_bundle), Classifier)


MANIFESTS: dict[str, tuple[str, Edit, str]] = {
    "mask for scores": ("mask", lambda m: m.update(output_kind="scores"), "returns [64, 96], accepted for 64x96 pixe"),
    "scores for mask": (
        "scores",
        lambda m: m.update(output_kind="mask"),
        "the manifest says ('uint8', (64, 96, 3), 'ui",
    ),
    "another task": (
        "scores",
        lambda m: m.update(task="image-classification", colors=[]),
        "the manifest says ('uint8'",
    ),
    "no color": ("scores", lambda m: m["colors"].pop(), "the manifest has 7 colors, accepted: 8, one for each class"),
    "odd color": (
        "scores",
        lambda m: m["colors"].__setitem__(2, "red"),
        "has the color 'red', accepted: like '#80ff00'",
    ),
    "too many": (
        "mask",
        lambda m: m.update(classes=257, colors=["#000000"] * 257),
        "has masks of 257 classes for semantic-segmentation, accepted: semantic-segmentation with at most 256",
    ),
    "other classes": ("scores", lambda m: m.update(classes=9, colors=["#000000"] * 9), "has 8 lines, the network 9 cl"),
    "other map": (
        "scores",
        lambda m: m["artifacts"][0]["outputs"][0].update(shape=[1, 5, 6, 8]),
        "returns [5, 6, 8], accepted for 64x96 pixels: [8, 12, 8], [4, 6, 8], [2, 3, 8].",
    ),
    "another stride": (
        "scores",
        lambda m: m["artifacts"][0]["outputs"][0].update(shape=[1, 8, 12, 8]),
        "'float32', (4, 6, 8)), the manifest says ('uint8', (64, 96, 3), 'float32', (8, 12, 8)). Export it again.",
    ),
}


@pytest.mark.parametrize(("kind", "edit", "wrong"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_does_not_fit(
    kind: str, edit: Edit, wrong: str, segments: ModuleType, forge: ModuleType, tmp_path: Path
) -> None:
    bundle = segments.write_bundle(tmp_path / "bundle", output_kind=kind)
    forge.edit_manifest(bundle, edit)
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


GOLDENS: dict[str, tuple[str, Callable[[Path, ModuleType], Any], str]] = {
    "a NaN": (
        "scores",
        lambda b, forge: forge.edit_numbers(b, SCORES, "<f4", lambda n: n.__setitem__(5, np.nan)),
        "holds numbers that are no logits",
    ),
    "no such class": (
        "mask",
        lambda b, forge: forge.edit_numbers(b, MASK, np.uint8, lambda n: n.__setitem__(5, 8)),
        "holds numbers that are no masks",
    ),
    "cut": (
        "mask",
        lambda b, forge: forge.edit_numbers(b, MASK, np.uint8, lambda n: n[:-1]),
        "has 12287 bytes, expected 12288",
    ),
    "shape": (
        "scores",
        lambda b, forge: forge.edit_json(b, GOLDEN, lambda g: g["output"].update(shape=[8])),
        "2 cases of [64, 96, 3] and float32 [8], expected one or more of [64, 96, 3] and float32 [4, 6, 8]",
    ),
    "dtype": (
        "mask",
        lambda b, forge: forge.edit_json(b, GOLDEN, lambda g: g["output"].update(dtype="float32")),
        "and float32 [64, 96], expected one or more of [64, 96, 3] and uint8 [64, 96]",
    ),
}


@pytest.mark.parametrize(("kind", "damage", "wrong"), GOLDENS.values(), ids=GOLDENS)
def test_golden_vectors_that_cannot_be_used(
    kind: str,
    damage: Callable[[Path, ModuleType], Any],
    wrong: str,
    segments: ModuleType,
    forge: ModuleType,
    tmp_path: Path,
) -> None:
    bundle = segments.write_bundle(tmp_path / "bundle", output_kind=kind)
    damage(bundle, forge)
    with pytest.raises(BundleError, match=r"golden\.json cannot be used") as caught:
        check_bundle(bundle)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "edit", "figures"),
    [
        ("scores", lambda n: n.__setitem__(0, n[0] + 0.01 * np.ptp(n)), (0.01, 1.0)),
        ("mask", lambda n: n.__setitem__(slice(64 * 96, 64 * 96 + 61), 1), (0.01, 0.5)),  # of the black picture
    ],
)
def test_another_answer_is_seen(
    kind: str, edit: Edit, figures: tuple[float, float], segments: ModuleType, forge: ModuleType, tmp_path: Path
) -> None:
    bundle = segments.write_bundle(tmp_path / "bundle", output_kind=kind)
    file, number = (SCORES, "<f4") if kind == "scores" else (MASK, np.uint8)
    forge.edit_numbers(bundle, file, number, edit)
    (difference,) = check_bundle(bundle).differences
    assert not difference.passed
    assert (difference.max_relative, difference.top1_agreement) == pytest.approx(figures, rel=0.02)


def test_a_model_that_answers_nan(
    segments: ModuleType, forge: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "reds", lambda classes: np.full(classes, np.nan, np.float32))
    segments.write_model(tmp_path / MODEL, CLASSES, segments.SPEC, "image", "scores")
    broken = (tmp_path / MODEL).read_bytes()
    monkeypatch.undo()
    bundle = segments.write_bundle(tmp_path / "bundle")
    (bundle / MODEL).write_bytes(broken)
    forge.resign(bundle, MODEL)
    with pytest.raises(CheckFailed, match="returned NaN, Inf or a class that it does not have"):
        Segmenter.open(bundle).predict(segments.gradient(10, 10))


def test_more_classes_than_a_byte(segments: ModuleType, tmp_path: Path) -> None:
    assert Segmenter.open(segments.write_bundle(tmp_path / "256", 256)).labels[255] == "class 255"
    bundle = segments.write_bundle(tmp_path / "257", 257)
    assert check_bundle(bundle).passed
    with pytest.raises(BundleError, match="segments has 257 classes, accepted: at most 256"):
        Segmenter.open(bundle)


@pytest.mark.parametrize(
    ("picture", "wrong"),
    [("none.png", "'none.png' does not exist"), (b"GIF89a", "is damaged"), (np.zeros(3), "is not an image")],
)
def test_what_is_no_picture(picture: Any, wrong: str, bundle: Path) -> None:
    with pytest.raises(ImageError) as caught:
        Segmenter.open(bundle).predict(picture)
    assert wrong in str(caught.value)
