"""``mvit2 evaluate``: its figures against scripts that share no code with it, and what happens when it is cut short."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from mvit2.bundle.manifest import MANIFEST, record
from mvit2.errors import CheckFailed, ImageError
from mvit2.metrics.fidelity import centred_logits, confidence_interval, logit_snr
from mvit2.runtime.evaluate.plan import Plan, plan
from mvit2.runtime.evaluate.results_file import Progress, open_progress
from mvit2.runtime.evaluate.run import evaluate
from mvit2.runtime.tasks.record import Row

Run = Callable[..., CompletedProcess[str]]
ONNX, TFLITE, HALF = "model_float32.onnx", "model_float32.tflite", "model_float16.tflite"
CLASSES = {"cat.jpg": "tabby", "coffee.jpg": "espresso", "rocket.jpg": "school_bus", "tripod.jpg": "7"}


@pytest.fixture(scope="module")
def pictures(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cuts of each of four photographs, in folders called by label or index."""
    root = tmp_path_factory.mktemp("pictures")
    for photo, folder in CLASSES.items():
        (root / folder).mkdir()
        with Image.open(photos / photo) as image:
            width, height = image.size
            for i in range(6):
                box = (i * width // 10, i * height // 12, width // 2 + i * width // 12, height // 2 + i * height // 12)
                image.crop(box).save(root / folder / f"{i}.{('jpg', 'png')[i % 2]}")
    return root


@pytest.fixture(scope="module")
def ready(demo_bundle: Path, pictures: Path) -> Plan:
    return plan(demo_bundle, pictures)


@pytest.fixture(scope="module")
def rows(ready: Plan) -> list[Row]:
    """What one process finds."""
    progress = Progress()
    evaluate(ready, progress, processes=1)
    return list(progress.rows.values())


# ---- the figures ----


def script(bundle: Path, pictures: Path, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N, classes] and truth [N] by nothing but PIL, an engine and the manifest's JSON."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    labels = (bundle / "labels.txt").read_text().splitlines()
    spec, scores, truth = manifest["preprocess"], [], []
    assert spec["resample"] == "bilinear" and spec["resize_exact"] is None
    if model.endswith(".tflite"):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(bundle / model), num_threads=1)
        interpreter.allocate_tensors()
    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(bundle / model), options)
    for path in sorted(pictures.rglob("*.*")):
        image = Image.open(path).convert("RGB")
        short, side = spec["resize_shortest"], spec["image_size"][0]
        size = tuple(short if edge == min(image.size) else int(short * edge / min(image.size)) for edge in image.size)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        pixels = np.asarray(image.crop((left, top, left + side, top + side)))[None]
        if model.endswith(".tflite"):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
            interpreter.invoke()
            scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
        else:
            scores.append(session.run(None, {"image": pixels})[0][0])
        name = path.parent.name.replace("_", " ")
        truth.append(labels.index(name) if name in labels else int(name))
    return np.array(scores), np.array(truth)


def test_figures_equal_an_independent_script(demo_bundle: Path, pictures: Path, ready: Plan, rows: list[Row]) -> None:
    found = evaluate(ready, Progress(rows))
    expected = {model: script(demo_bundle, pictures, model) for model in (ONNX, TFLITE, HALF)}
    reference = expected[ONNX][0]
    assert [figures.artifact for figures in found.artifacts] == list(expected)
    assert (found.images, found.reference, found.unreadable) == (24, ONNX, {})
    for i, (scores, truth) in enumerate(expected.values()):
        order = np.lexsort((np.arange(20)[None].repeat(24, 0), -scores))
        for row in rows:
            assert row.answers[i].classes == tuple(order[row.picture][:5])
            assert row.answers[i].scores == tuple(scores[row.picture][order[row.picture][:5]].astype(float))
        figures = found.artifacts[i]
        assert figures.top1 == int((order[:, 0] == truth).sum())
        assert figures.top5 == int((order[:, :5] == truth[:, None]).any(1).sum())
        assert figures.top1_interval == confidence_interval(figures.top1, 24)
        if i:
            firsts = reference.argmax(1)
            assert figures.agreement == float(np.mean(firsts == order[:, 0])) == found.agreement[ONNX][figures.artifact]
            assert figures.snr_db == pytest.approx(logit_snr(*map(centred_logits, (reference, scores))), rel=1e-9)
            drift = np.abs(np.log(scores.astype(float)) - np.log(reference.astype(float)))[np.arange(24), firsts]
            assert figures.max_drift == pytest.approx(drift.max(), rel=1e-9)
    assert 0 < found.artifacts[0].top1 < 24  # else a constant would pass
    firsts_of_all = np.array([scores.argmax(1) for scores, _ in expected.values()])
    wrong = np.flatnonzero((firsts_of_all != expected[ONNX][1]).all(0))
    assert found.all_wrong == tuple(ready.names[i] for i in wrong)


@pytest.mark.parametrize("processes", [2, 3])
def test_figures_do_not_depend_on_the_processes(processes: int, ready: Plan, rows: list[Row]) -> None:
    alone, told, together = evaluate(ready, Progress(rows)), [], Progress()
    assert evaluate(ready, together, processes, advance=told.append) == alone
    assert sorted(together.rows.values(), key=lambda row: row.picture) == rows
    assert sum(told) == 24 and len(told) == 3  # chunk by chunk


def test_going_on_gives_the_same_figures(ready: Plan, rows: list[Row], tmp_path: Path) -> None:
    path, told = tmp_path / "progress.jsonl", []
    with open_progress(path, ready.header) as progress:
        progress.add(rows[3:12])
    path.write_bytes(path.read_bytes()[:-7])
    with open_progress(path, ready.header) as progress:
        assert evaluate(ready, progress, 2, advance=told.append) == evaluate(ready, Progress(rows))
    assert sum(told) == 24 - 8 and len(path.read_bytes().splitlines()) == 25


# ---- pictures and models that cannot be used ----


def test_unreadable_pictures_count_nowhere(demo_bundle: Path, pictures: Path, run: Run, tmp_path: Path) -> None:
    good = shutil.copytree(pictures, tmp_path / "good")
    bad = shutil.copytree(pictures, tmp_path / "bad")
    (bad / "tabby" / "a.jpg").write_bytes((bad / "tabby" / "0.jpg").read_bytes()[:500])
    (bad / "7" / "z.png").write_text("no picture")
    (bad / "lion").mkdir()
    words = ("--artifact", TFLITE, "--json")
    found, expected = run("evaluate", demo_bundle, bad, *words), run("evaluate", demo_bundle, good, *words)
    assert found.returncode == expected.returncode == 0 and expected.stderr == ""
    empty, unreadable = found.stderr.splitlines()
    assert empty == " WARNING  1 class folder(s) without an image: lion"
    assert unreadable.startswith(" WARNING  2 of 26 images cannot be read and count nowhere: 7/z.png, tabby/a.jpg; ")
    answer, reference = json.loads(found.stdout), json.loads(expected.stdout)
    assert sorted(answer["unreadable"]) == ["7/z.png", "tabby/a.jpg"] and len(answer["warnings"]) == 2
    figures = ("images", "artifacts", "classes", "all_wrong", "agreement")
    assert {name: answer[name] for name in figures} == {name: reference[name] for name in figures}


def test_only_unreadable_pictures(demo_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "lion").mkdir()
    (tmp_path / "lion" / "a.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"none of the 1 images in .* can be read; the first: .*a\.jpg' is a text"):
        evaluate(plan(demo_bundle, tmp_path, [TFLITE]), Progress())


def _resign(bundle: Path, path: str) -> None:
    """Bring the manifest's size and sha256 of a changed model up to date."""
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    for artifact in manifest["artifacts"]:
        if artifact["file"]["path"] == path:
            artifact["file"] = asdict(record(bundle, path))
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_a_model_that_answers_nan_is_named(demo_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(demo_bundle, tmp_path / "bundle")
    model = onnx.load(str(bundle / ONNX))
    tensor = max(model.graph.initializer, key=lambda t: np.prod(t.dims))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32("nan"), tensor.name))
    onnx.save(model, str(bundle / ONNX))
    _resign(bundle, ONNX)
    with pytest.raises(CheckFailed, match=f"{ONNX} returned NaN, Inf or a class .* for '.*', instead of probab"):
        evaluate(plan(bundle, pictures), Progress(), 1)


@pytest.mark.parametrize("resigned", [False, True])
def test_a_corrupt_artifact_is_one_line(
    resigned: bool, demo_bundle: Path, pictures: Path, run: Run, tmp_path: Path
) -> None:
    bundle = shutil.copytree(demo_bundle, tmp_path / "bundle")
    (bundle / TFLITE).write_bytes((bundle / TFLITE).read_bytes()[:1000])
    if resigned:
        _resign(bundle, TFLITE)
    done = run("evaluate", bundle, pictures)
    wrong = "LiteRT cannot open it" if resigned else "was changed"
    assert done.returncode == 1 and wrong in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("", 0, " WARNING  model_float32.onnx was left out: {missing}"),
        ("--artifact model_float32.onnx", 1, "error: {missing}"),
    ],
)
def test_without_onnxruntime(
    options: str, code: int, said: str, run: Run, demo_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError")
    done = run("evaluate", demo_bundle, pictures, *options.split(), "--json", env={"PYTHONPATH": str(tmp_path)})
    missing = "onnxruntime is not installed; install it with: pip install 'mvit2[ort]'"
    assert (done.returncode, done.stderr) == (code, said.format(missing=missing) + "\n")
    answer = json.loads(done.stdout)
    assert answer.get("reference") == (TFLITE if code == 0 else None)
    assert answer.get("skipped") == ({ONNX: missing} if code == 0 else None)


@pytest.mark.parametrize(
    ("words", "code", "wrong"),
    [
        ("{bundle} {pictures} --artifact model_int8.tflite", 1, "has no artifact 'model_int8.tflite'. Did you mean"),
        ("{bundle} {pictures} --processes 0", 2, "processes is 0, accepted: 1 to 256; this machine has"),
        ("{bundle} {pictures} --processes two", 2, "'two' is not a whole number"),
        ("{bundle} {pictures} --worst -1", 2, "worst is -1, accepted: 0 or more"),
        ("{bundle} {tmp}/empty", 2, "holds no images; accepted"),
        ("{bundle} {tmp}/nowhere", 2, "cannot be read as CSV"),
        ("{bundle} {tmp}/unknown", 2, "'tabbi' is none of the network's 20 classes. Did you mean 'tabby'?"),
        ("{tmp} {pictures}", 1, "holds no manifest.json"),
        ("{bundle} {pictures} --synsets {tmp}/none.txt", 2, "cannot be read as text"),
        (
            "{bundle} {pictures} --save-worst {tmp}/unknown",
            1,
            "exists already; accepted: a new folder, or an empty one",
        ),
        ("{bundle} {pictures} --save-worst {tmp}/x --artifact model_float32.onnx", 2, "compares a float32 artifact"),
        ("{bundle} {pictures} --resume {tmp}/nowhere/p", 1, "cannot be read or written"),
    ],
)
def test_refused(
    words: str,
    code: int,
    wrong: str,
    refused: Callable[..., str],
    demo_bundle: Path,
    pictures: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "unknown" / "tabbi").mkdir(parents=True)
    (tmp_path / "unknown" / "tabbi" / "a.jpg").touch()
    refused(code, wrong, "evaluate", *words.format(bundle=demo_bundle, pictures=pictures, tmp=tmp_path).split())


# ---- what people see ----


def test_tables_and_the_worst_as_pictures(demo_bundle: Path, pictures: Path, run: Run, tmp_path: Path) -> None:
    words = ("evaluate", demo_bundle, pictures, "--worst", "3", "--resume", tmp_path / "p")
    shown = run(*words, "--save-worst", tmp_path / "worst" / "here")
    content = json.loads(run(*words, "--json").stdout)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [line.split() for line in shown.stdout.splitlines()]
    for figures in content["artifacts"]:
        assert [figures["artifact"], f"{figures['top1'] / 24:.1%}"] in [line[:2] for line in lines]
    assert f"{len(content['all_wrong'])} image(s)" in shown.stdout and "next: mvit2 predict" in shown.stdout
    saved = sorted((tmp_path / "worst" / "here").iterdir())
    originals = [pictures / worst["picture"] for worst in content["worst"]]
    assert [p.read_bytes() for p in saved] == [p.read_bytes() for p in originals] and len(saved) == 3
    assert all(
        re.fullmatch(r"0\d_[\w-]+_as_[\w-]+__float32-.*-\d\.\d\d__float16-.*-\d\.\d\d\.(jpg|png)", p.name)
        for p in saved
    )
    assert [p.name for p in (tmp_path / "worst").iterdir()] == ["here"]  # nothing half-made is left
    again = (*words[:3], "--worst", "1", "--resume", tmp_path / "p", "--save-worst", tmp_path / "worst" / "here")
    assert run(*again).returncode == 1
    assert run(*again, "--overwrite").returncode == 0 and list((tmp_path / "worst" / "here").iterdir()) == saved[:1]
    for mine in ("mine.txt", "20240131_142233.jpg"):  # as a camera names its photographs
        (tmp_path / "worst" / "here" / mine).touch()
        done = run(*again, "--overwrite")
        assert done.returncode == 1 and f"holds {mine}, which is not of an evaluation" in done.stderr
        (tmp_path / "worst" / "here" / mine).unlink()


def test_a_terminal_shows_a_bar_with_the_time_left(demo_bundle: Path, pictures: Path) -> None:
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "mvit2", "evaluate", demo_bundle, pictures, "--artifact", TFLITE]
    process = subprocess.Popen(words, stderr=slave, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    seen = b""
    try:
        while printed := os.read(master, 1 << 16):
            seen += printed
    except OSError:  # the other end was closed
        pass
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert process.wait() == 0
    assert re.search(r"evaluating 1 artifact\(s\) on 24 images .* +0/24 -:--:--", text)
    assert re.search(r"24/24 0:00:00", text) and "✓ evaluating" in text
