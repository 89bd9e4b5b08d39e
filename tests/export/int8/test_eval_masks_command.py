"""``mvit2-export --eval`` with masks: the manifest's figures are those of ``mvit2 evaluate``, and int8 has a target."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.manifest import read_manifest
from mvit2.bundle.measurements import Accuracy, Fidelity, MaskAccuracy
from mvit2.image.dataset import Reading
from mvit2.runtime.evaluate.plan import plan
from mvit2.runtime.evaluate.results_file import Progress
from mvit2.runtime.evaluate.run import evaluate
from mvit2.runtime.tasks.outputs import LOGITS, MASKS
from mvit2.strict_json import decode

Run = Callable[..., subprocess.CompletedProcess[str]]
INT8 = "model_int8.onnx"


@pytest.fixture(scope="module")
def weights(oracles: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "lively"
    oracles.saved_segmenter(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled photographs with masks of stripes: three classes, and an index to be ignored."""
    folder = tmp_path_factory.mktemp("pictures")
    for photo in sorted(photos.glob("*.jpg")):
        shutil.copy(photo, folder)
        with Image.open(photo) as image:
            width, height = image.size
        stripes = np.broadcast_to(np.arange(width) * 4 // width, (height, width)).astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(stripes)).save(folder / f"{photo.stem}.png")
    return folder


@pytest.mark.exports
@pytest.mark.parametrize(
    ("kind", "target", "falls_back"),
    [("scores", ("--max-drop", "100"), False), ("mask", ("--min-agreement", "0.999"), True)],
)
def test_the_figures_of_the_export_are_those_of_evaluate(
    kind: str,
    target: tuple[str, str],
    falls_back: bool,
    weights: Path,
    pictures: Path,
    photos: Path,
    run: Run,
    tmp_path: Path,
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    Image.open(photos / "cat.jpg").rotate(180).save(few / "turned.png")  # not one of the pictures with masks
    done = run(
        *("export", "--weights", weights, "--output", tmp_path / "out", "--no-report", "--format", "onnx"),
        *("--quantize", "int8", "--learning-steps", "0", "--calibration", few, "--force"),
        *("--output-kind", kind, "--eval", pictures, "--ignore", "3", *target),
    )
    assert done.returncode == 0, done.stderr
    (bundle,) = (tmp_path / "out").iterdir()
    quantisation = read_manifest(bundle).artifacts[-1].quantisation
    assert quantisation is not None and quantisation.fidelity.source == "evaluation pictures"
    found = evaluate(plan(bundle, pictures, reading=Reading(ignore=(3,))), Progress(), 1)
    written = (quantisation.fidelity.float_accuracy, quantisation.fidelity.accuracy)
    for accuracy, figures in zip(written, found.artifacts, strict=True):
        assert isinstance(accuracy, MaskAccuracy) and accuracy.images == found.images == 5
        assert accuracy.mean_iou == pytest.approx(figures.mean_iou, abs=1e-4)  # another number of threads
        assert accuracy.pixel_accuracy == pytest.approx(figures.pixel_accuracy, abs=1e-4)
        assert accuracy.iou == pytest.approx(figures.iou, abs=1e-4) and 0.05 < figures.mean_iou < 0.95
    assert "mIoU / float32" in done.stdout and f"{written[1].share:.1%} / {written[0].share:.1%}" in done.stdout
    assert ("what the target costs" in done.stdout) == bool(quantisation.float_blocks) == falls_back
    if falls_back:
        assert quantisation.fidelity.agreement >= 0.999
        columns = done.stdout.split("what the target costs")[1].splitlines()[1]
        assert columns.split("  ")[1:3] == ["pixel agreement", "mIoU"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--eval", "{pictures}"), "has pixels of index 3, accepted: 0 to 2, the network's classes, and 255; where"),
        (("--eval", "{pictures}", "--split", "val"), "--split is for a PASCAL VOC folder"),
        (("--ignore", "3"), "--split, --ignore and --reduce-labels are about images with masks: add --eval FOLDER."),
        (("--eval", "{pictures}", "--ignore", "x"), "--ignore is 'x', accepted: indices"),
    ],
)
def test_refused(
    words: tuple[str, ...], wrong: str, weights: Path, pictures: Path, photos: Path, run: Run, tmp_path: Path
) -> None:
    words = tuple(word.format(pictures=pictures) for word in words)
    few = ("--calibration", photos, "--force", "--quantize", "int8", "--format", "onnx")
    done = run("export", "--weights", weights, "--output", tmp_path, *few, *words)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert wrong in done.stderr.splitlines()[-1]


def test_a_manifest_holds_either_accuracy() -> None:
    for accuracy in (Accuracy(50, 40, 48), MaskAccuracy(50, 0.5, 0.75, (0.5, None, 0.25)), None):
        fidelity = Fidelity("evaluation pictures", 50, 0.9, 20.0, 0.1, accuracy, accuracy)
        content = asdict(fidelity)
        for side in ("accuracy", "float_accuracy"):
            if isinstance(accuracy, MaskAccuracy):
                content[side]["iou"] = list(content[side]["iou"])
        assert decode(Fidelity, content, "fidelity") == fidelity


@pytest.mark.parametrize(
    ("ours", "reference", "metric", "share", "points"),
    [
        (Accuracy(500, 264, 400), Accuracy(500, 267, 400), "top-1", 0.528, 0.6),  # where 53.4 - 52.8 is not 0.6
        (MaskAccuracy(9, 0.25, 0.5, (0.25,)), MaskAccuracy(9, 0.5, 0.5, (0.5,)), "mIoU", 0.25, 25.0),
        (MaskAccuracy(9, 0.5, 0.5, ()), MaskAccuracy(9, 0.25, 0.5, ()), "mIoU", 0.5, -25.0),
    ],
)
def test_points(
    ours: Accuracy | MaskAccuracy, reference: Accuracy | MaskAccuracy, metric: str, share: float, points: float
) -> None:
    assert (ours.metric, ours.share, ours.points_below(reference)) == (metric, share, points)


@pytest.mark.parametrize(
    "wrong", [(0, 0.5, 0.5, ()), (1, 1.5, 0.5, ()), (1, 0.5, float("nan"), ()), (1, 0.5, 0, (-1,))]
)
def test_impossible_figures_are_refused(wrong: tuple[int, float, float, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="accepted: shares on 1 or more"):
        MaskAccuracy(*wrong)


def test_logits_become_what_artifacts_answer() -> None:
    """What a simulated network says, as masks of its input: the larger logit, interpolated."""
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[0, :, 1, 1] = 1  # class 1 at the right, 0 everywhere else
    logits[0, :, :, 0] = 0.4
    assert LOGITS.of_logits(logits, (4, 4)) is logits
    assert MASKS.of_logits(logits, (4, 4)).tolist() == [[[0, 0, 1, 1]] * 4]
