"""``mvit2 evaluate`` of a segmentation network: its figures against plain NumPy on what ``Segmenter.predict`` gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from mvit2.bundle.manifest import record
from mvit2.bundle.measurements import Fidelity, Quantisation
from mvit2.errors import CheckFailed, Mvit2Error, UsageError
from mvit2.image.dataset import PLAIN, Reading
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.metrics.fidelity import logit_snr
from mvit2.runtime import Segmenter
from mvit2.runtime.evaluate.plan import Plan, plan
from mvit2.runtime.evaluate.results_file import Progress, open_progress
from mvit2.runtime.evaluate.run import evaluate
from mvit2.runtime.tasks.classify.metrics import Subject
from mvit2.runtime.tasks.picture import File
from mvit2.runtime.tasks.record import Answer, MaskAnswer, Row
from mvit2.runtime.tasks.segment.metrics import MaskEvaluation, summarise_masks

Run = Callable[..., subprocess.CompletedProcess[str]]
FLOAT, INT8 = "model_float32.onnx", "model_int8.onnx"
CLASSES, IGNORED = 8, 6
SPECS = {"whole": PreprocessSpec((64, 96), None, (64, 96)), "cut": PreprocessSpec((64, 64), 72)}
SIZES = [(120, 90), (90, 120), (64, 48), (131, 97), (50, 50)]


def add_int8(bundle: Path, forge: ModuleType) -> None:
    """The same network with other biases, so that some pixels become of another class, told to be int8."""
    model = onnx.load(str(bundle / FLOAT))
    (biases,) = (tensor for tensor in model.graph.initializer if tensor.name == "b")
    shifted = numpy_helper.to_array(biases) + np.linspace(0, 2500, CLASSES, dtype=np.float32)
    biases.CopyFrom(numpy_helper.from_array(shifted, "b"))
    onnx.save(model, str(bundle / INT8))
    quantisation = Quantisation("made up", (), {}, Fidelity("held-out calibration pictures", 1, 0.9, 20.0, 0.1))

    def add(manifest: dict[str, Any]) -> None:
        known = manifest["artifacts"][0]
        changed = {"file": asdict(record(bundle, INT8)), "precision": "int8", "parity": None}
        manifest["artifacts"].append({**known, **changed, "quantisation": asdict(quantisation)})

    forge.edit_manifest(bundle, add)


@pytest.fixture(scope="module")
def pictures(segments: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of gradients of red with palette masks: bands of six classes, one that is ignored, lines of 255."""
    root = tmp_path_factory.mktemp("voc")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for i, (width, height) in enumerate(SIZES):
        picture = segments.gradient(width, height)
        picture[: height // 3] = np.roll(picture[: height // 3], 9 * i, axis=1)
        Image.fromarray(picture).save(root / f"JPEGImages/{i}.jpg")
        mask = (np.arange(width)[None] * 7 // width + (np.arange(height)[:, None] > height // 2) * (i % 2)) % 7
        mask[:, ::20] = 255
        image = Image.fromarray(mask.astype(np.uint8), "P")
        image.putpalette([i for color in range(256) for i in (color, 255 - color, 7)])
        image.save(root / f"SegmentationClass/{i}.png")
    shutil.copy(root / "JPEGImages/0.jpg", root / "JPEGImages/unlabelled.jpg")
    (root / "ImageSets/Segmentation/val.txt").write_text("3\n1\n")
    return root


@pytest.fixture(scope="module")
def bundles(segments: ModuleType, forge: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By preprocessing and kind of output."""
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for name, spec in SPECS.items():
        for kind in ("scores", "mask"):
            bundle = segments.write_bundle(folder / f"{name} {kind}", CLASSES, spec, output_kind=kind)
            add_int8(bundle, forge)
            found[f"{name} {kind}"] = bundle
    return found


@pytest.fixture(scope="module")
def ready(bundles: dict[str, Path], pictures: Path) -> Plan:
    return plan(bundles["whole scores"], pictures, reading=Reading(ignore=(IGNORED,)))


@pytest.fixture(scope="module")
def rows(ready: Plan) -> list[Row[Any]]:
    """What one process finds."""
    progress = Progress()
    evaluate(ready, progress, processes=1)
    return list(progress.rows.values())


# ---- the figures ----


def plainly(bundle: Path, pictures: Path, model: str) -> tuple[np.ndarray, list[np.ndarray], float]:
    """Counts [CLASSES, CLASSES], the masks, and how many labelled pixels count."""
    segmenter, counts, masks, labelled = Segmenter.open(bundle, model), np.zeros((CLASSES,) * 2, int), [], 0
    for i in range(len(SIZES)):
        found = segmenter.predict(pictures / f"JPEGImages/{i}.jpg")
        truth = np.asarray(Image.open(pictures / f"SegmentationClass/{i}.png"))
        masks.append(found.mask)
        labelled += int((truth < IGNORED).sum())
        for true, said in zip(truth.ravel(), found.mask.ravel(), strict=True):
            if true < IGNORED and said != 255:
                counts[true, said] += 1
    return counts, masks, counts.sum() / labelled


@pytest.mark.parametrize("kind", ["scores", "mask"])
@pytest.mark.parametrize("spec", SPECS)
def test_figures_equal_plain_numpy(spec: str, kind: str, bundles: dict[str, Path], pictures: Path) -> None:
    bundle = bundles[f"{spec} {kind}"]
    found = evaluate(plan(bundle, pictures, reading=Reading(ignore=(IGNORED,))), Progress(), 1)
    assert isinstance(found, MaskEvaluation)
    (reference, floats, seen), (_, masks, _) = (plainly(bundle, pictures, model) for model in (FLOAT, INT8))
    assert (found.images, found.pixels, found.reference) == (len(SIZES), reference.sum(), FLOAT)
    assert found.unseen == pytest.approx(1 - seen) and (found.unseen > 0.1) == (spec == "cut")
    for figures, model in zip(found.artifacts, (FLOAT, INT8), strict=True):
        counts = plainly(bundle, pictures, model)[0]
        union = counts.sum(0) + counts.sum(1) - np.diag(counts)
        iou = [np.diag(counts)[c] / union[c] if union[c] and c != IGNORED else None for c in range(CLASSES)]
        assert figures.iou == pytest.approx(iou) and figures.artifact == model
        assert figures.mean_iou == pytest.approx(np.mean([value for value in iou if value is not None]))
        assert figures.pixel_accuracy == np.trace(counts) / counts.sum()
        assert sorted(figures.confusion) == [(a, b, counts[a, b]) for a, b in np.argwhere(counts).tolist()]
    same = [float((a == b)[a != 255].mean()) for a, b in zip(floats, masks, strict=True)]
    every = np.concatenate([(a == b)[a != 255] for a, b in zip(floats, masks, strict=True)])
    assert found.artifacts[1].agreement == found.agreement[INT8][FLOAT] == every.mean() < 1
    assert [d.picture for d in found.worst] == [f"JPEGImages/{i}.jpg" for i in np.argsort(same, kind="stable")]
    assert [d.agreement for d in found.worst] == sorted(same) and found.worst[0].mask.startswith("SegmentationClass/")
    assert 0.1 < found.artifacts[1].mean_iou < found.artifacts[0].mean_iou < 1  # else constants would pass


def test_snr_is_that_of_all_logits(ready: Plan, rows: list[Row[Any]]) -> None:
    logits = []
    for model in (FLOAT, INT8):
        segmenter = Segmenter.open(ready.bundle, model)
        pixels = [preprocess(path, ready.manifest.preprocess) for path in ready.pictures]
        logits.append(np.concatenate([segmenter.scores(image[None]).reshape(-1, CLASSES) for image in pixels]))
    found = evaluate(ready, Progress(rows))
    assert found.artifacts[1].snr_db == pytest.approx(logit_snr(*logits), rel=1e-9)
    masked = replace(ready, bundle=ready.bundle.with_name("whole mask"))
    again = plan(masked.bundle, ready.source, reading=Reading(ignore=(IGNORED,)))
    assert evaluate(again, Progress(), 1).artifacts[1].snr_db is None


def test_figures_by_hand() -> None:
    subject = Subject(["a", "b", "c"], ["A", "B", "C"], ("sky", "road", "car"), {"f": "float32", "q": "int8"}, 0)
    given = [
        Row(2, error="damaged"),
        Row(1, 100.0, (MaskAnswer(6, ((0, 0, 2), (1, 0, 2)), (9, 6), 0.0), MaskAnswer(6, ((0, 1, 4),), (6, 9), 3.0))),
        Row(0, 900.0, (MaskAnswer(4, ((0, 0, 4),), (10, 9), 0.0), MaskAnswer(4, ((0, 0, 4),), (9, 10), 7.0))),
    ]
    found = summarise_masks(subject, given, worst=5)
    f, q = found.artifacts
    assert (found.images, found.pixels, found.unseen, found.unreadable) == (2, 8, 1 - 8 / 10, {"c": "damaged"})
    assert (f.iou, f.mean_iou, f.pixel_accuracy) == ((6 / 8, 0.0, None), 0.375, 0.75)
    assert (q.iou, q.agreement) == ((4 / 8, 0.0, None), 15 / 19) and q.snr_db == pytest.approx(20)
    assert (f.agreement, f.snr_db) == (None, None)
    assert [(c.label, c.pixels, c.mistaken_for) for c in found.classes] == [("sky", 6, "road"), ("road", 2, "sky")]
    assert [(d.picture, d.mask, d.agreement) for d in found.worst] == [("b", "B", 6 / 9), ("a", "A", 0.9)]
    assert [(d.reference, d.answer) for d in found.worst] == [(0.5, 0.0), (1.0, 1.0)]
    assert summarise_masks(subject, given[::-1], worst=5) == found
    unseen = Row(2, 0.0, (MaskAnswer(5, (), (0, 0), 0.0),) * 2)  # of two pixels, a crop may see none
    assert summarise_masks(subject, [*given[1:], unseen], worst=5).worst == found.worst
    assert summarise_masks(subject, given, worst=0).worst == ()


# ---- processes, interruptions, machines ----


@pytest.mark.parametrize("processes", [2, 3])
def test_figures_do_not_depend_on_the_processes(processes: int, ready: Plan, rows: list[Row[Any]]) -> None:
    many = replace(
        ready, pictures=ready.pictures * 5, sizes=ready.sizes * 5, truth=ready.truth * 5
    )  # several chunks for each
    together, alone = Progress(), Progress()
    assert evaluate(many, together, processes) == evaluate(many, alone, 1)
    assert together.rows == alone.rows and [together.rows[i] for i in range(len(rows))] == rows


def test_going_on_gives_the_same_figures(ready: Plan, rows: list[Row[Any]], tmp_path: Path) -> None:
    path, told = tmp_path / "progress.jsonl", []
    with open_progress(path, ready.header, MaskAnswer) as progress:
        progress.add(rows[1:4])
    path.write_bytes(path.read_bytes()[:-7])
    with open_progress(path, ready.header, MaskAnswer) as progress:
        assert [progress.rows[i] for i in (1, 2)] == rows[1:3]  # to the last bit
        assert evaluate(ready, progress, 1, advance=told.append) == evaluate(ready, Progress(rows))
    assert sum(told) == len(SIZES) - 2


@pytest.mark.ray
def test_ray_finds_the_same(ready: Plan, rows: list[Row[Any]]) -> None:
    from mvit2.runtime.evaluate.run import Executor

    progress = Progress()
    evaluate(ready, progress, 1, executor=Executor("ray"))
    assert [progress.rows[i] for i in range(len(rows))] == rows


@pytest.mark.parametrize(
    "edit",
    [
        lambda row: row["answers"][0]["cells"].append([0, CLASSES, 1]),
        lambda row: row["answers"][0]["cells"].append([0, 1, -1]),
        lambda row: row["answers"][0]["cells"].append([0, 1, 10**30]),
        lambda row: row["answers"][0]["equal"].pop(),
        lambda row: row["answers"][0].pop("labelled"),
        lambda row: row.update(answers=[asdict(Answer((1,), (0.5,), None, None))] * 2),
    ],
    ids=["class", "negative", "huge", "artifacts", "field", "of a classifier"],
)
def test_a_damaged_progress_file_is_refused(
    edit: Callable[[Any], Any], ready: Plan, rows: list[Row[Any]], tmp_path: Path
) -> None:
    path = tmp_path / "p"
    with open_progress(path, ready.header, MaskAnswer) as progress:
        progress.add(rows)
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    edit(row)
    path.write_text("\n".join([*lines[:2], json.dumps(row), *lines[3:], ""]))
    with pytest.raises(UsageError, match="is damaged in line 3"), open_progress(path, ready.header, MaskAnswer):
        pass


def test_another_evaluation_is_another_header(ready: Plan, bundles: dict[str, Path], pictures: Path) -> None:
    same = plan(ready.bundle, pictures, reading=Reading(ignore=(IGNORED,)))
    others = [plan(ready.bundle, pictures, reading=r) for r in (PLAIN, Reading(split="val", ignore=(IGNORED,)))]
    assert same.header == ready.header and ready.header not in [other.header for other in others]
    assert others[1].names == ["JPEGImages/1.jpg", "JPEGImages/3.jpg"]


def test_a_mask_that_changed_is_named(ready: Plan, tmp_path: Path) -> None:
    mask = tmp_path / "0.png"
    mask.write_bytes(b"another mask")
    changed = replace(ready, truth=(File(mask, 5), *ready.truth[1:]))
    with pytest.raises(Mvit2Error, match=r"0.png has 12 bytes on .*, but has 5 bytes where the evaluation was planned"):
        evaluate(changed, Progress(), 1)


# ---- what cannot be evaluated ----


def test_a_model_that_answers_nan_is_named(
    bundles: dict[str, Path], pictures: Path, forge: ModuleType, tmp_path: Path
) -> None:
    bundle = shutil.copytree(bundles["whole scores"], tmp_path / "bundle")
    model = onnx.load(str(bundle / INT8))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32("nan"), tensor.name))
    onnx.save(model, str(bundle / INT8))
    forge.resign(bundle, INT8)
    with pytest.raises(CheckFailed, match=f"{INT8} returned NaN, Inf or a class .*, instead of logits of 8 classes"):
        evaluate(plan(bundle, pictures), Progress(), 1)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (
            "{bundle} {pictures} --synsets x",
            "--synsets is not for a segmentation network, accepted with its labels: --ignore",
        ),
        ("{bundle} {pictures} --ignore six", "--ignore is 'six', accepted: indices such as 11"),
        ("{bundle} {pictures} --split vla", "no file. Did you mean 'val'?"),
        ("{small} {pictures}", "SegmentationClass/0.png has pixels of index 4, 5, 6, accepted: 0 to 3, the network's"),
        (
            "{demo} {pictures} --split val",
            "--split is not for an image classifier, accepted with its labels: --synsets",
        ),
    ],
)
def test_refused(
    words: str,
    wrong: str,
    refused: Callable[..., str],
    segments: ModuleType,
    bundles: dict[str, Path],
    pictures: Path,
    demo_bundle: Path,
    tmp_path: Path,
) -> None:
    small = segments.write_bundle(tmp_path / "small", 4)
    places = {"bundle": bundles["whole scores"], "pictures": pictures, "small": small, "demo": demo_bundle}
    refused(2, wrong, "evaluate", *(word.format(**places) for word in words.split()))


# ---- what people see ----


def test_tables_and_the_worst_as_masks(bundles: dict[str, Path], pictures: Path, run: Run, tmp_path: Path) -> None:
    bundle, progress = bundles["cut scores"], tmp_path / "p"
    (broken := tmp_path / "voc" / "JPEGImages").parent.mkdir()
    shutil.copytree(pictures, broken.parent, dirs_exist_ok=True)
    (broken / "4.jpg").write_text("no picture")
    words = ("evaluate", bundle, broken.parent, "--ignore", IGNORED, "--worst", 2, "--resume", progress)
    shown = run(*words, "--processes", 1, "--save-worst", tmp_path / "worst")
    assert shown.returncode == 0, shown.stderr
    assert "1 of 5 images cannot be read and count nowhere: JPEGImages/4.jpg" in shown.stderr
    content = json.loads(run(*words, "--json").stdout)
    lines = [line.split() for line in shown.stdout.splitlines()]
    for figures in content["artifacts"]:
        assert [figures["artifact"], f"{figures['mean_iou']:.1%}"] in [line[:2] for line in lines]
    assert f"{content['unseen']:.1%} of the labelled pixels count nowhere" in shown.stdout
    first = content["worst"][0]
    stem = Path(first["picture"]).stem
    names = ["picture.jpg", "truth.png", "float32.png", f"int8_{first['agreement']:.3f}.png"]
    saved = [tmp_path / "worst" / f"01_{stem}__{name}" for name in names]
    assert len(list((tmp_path / "worst").iterdir())) == 8
    assert saved[0].read_bytes() == (broken / f"{stem}.jpg").read_bytes()
    assert saved[1].read_bytes() == (pictures / first["mask"]).read_bytes()
    for file, model in zip(saved[2:], (FLOAT, INT8), strict=True):
        with Image.open(file) as image:
            assert np.array_equal(np.asarray(image), Segmenter.open(bundle, model).predict(saved[0]).mask)
