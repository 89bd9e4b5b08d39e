"""``mvit2 predict`` on a segmentation network's bundle: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.manifest import read_manifest, record, write_manifest
from mvit2.runtime import Segmenter

Run = Callable[..., subprocess.CompletedProcess[str]]
MODEL, SECOND = "model_float32.onnx", "model_float16.onnx"
KINDS = ("mask", "overlay")


@pytest.fixture(scope="session")
def bundle(segments: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that sees the middle of a picture."""
    spec = replace(segments.SPEC, resize_exact=None, resize_shortest=64)
    return Path(segments.write_bundle(tmp_path_factory.mktemp("bundle") / "segments", spec=spec))


@pytest.fixture(scope="session")
def two(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a second artifact, of the same numbers."""
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("two") / "segments"))
    shutil.copy(folder / MODEL, folder / SECOND)
    manifest = read_manifest(folder)
    second = replace(manifest.artifacts[0], file=record(folder, SECOND), precision="float16")
    write_manifest(folder, replace(manifest, artifacts=(*manifest.artifacts, second)))
    return folder


@pytest.fixture
def picture(segments: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(segments.gradient(400, 200)).save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_mask_overlay_and_areas(run: Run, bundle: Path, picture: Path, tmp_path: Path) -> None:
    done = run("predict", bundle, picture, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path / "out") == ["street.mask.png", "street.overlay.png"]
    expected = Segmenter.open(bundle).predict(picture)
    mask = Image.open(tmp_path / "out" / "street.mask.png")
    assert mask.mode == "P" and np.array_equal(np.asarray(mask), expected.mask)
    overlay = np.asarray(Image.open(tmp_path / "out" / "street.overlay.png"))
    assert np.array_equal(overlay, np.asarray(expected.overlay(picture)))
    lines = done.stdout.splitlines()
    assert lines[0] == str(picture) and lines[1].split() == ["label", MODEL]
    assert [line.rsplit(None, 1) for line in lines[2:-2]] == [
        *([area.label, f"{area.share:.1%}"] for area in expected.classes),
        ["(not seen)", "25.0%"],
    ]
    assert lines[-2] == f"written: {tmp_path / 'out' / 'street.mask.png'}  {tmp_path / 'out' / 'street.overlay.png'}"
    assert lines[-1] == f"next: mvit2 check {bundle}"


def test_json_of_several_artifacts_and_pictures(run: Run, two: Path, picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "field.png"
    shutil.copy(picture, other)
    done = run("predict", two, picture, other, "--output", tmp_path / "out", "--json")
    answer = json.loads(done.stdout)
    files = [f"{p}.{model}.{kind}.png" for p in ("field", "street") for model in (SECOND, MODEL) for kind in KINDS]
    assert names(tmp_path / "out") == sorted(files)
    assert list(answer) == [MODEL, SECOND]
    assert all(list(found) == [str(picture), str(other)] for found in answer.values())
    first = answer[MODEL][str(picture)]
    assert set(first) == {"mask", "overlay", "classes", "seen", "box"}
    assert (first["mask"], first["seen"]) == (str(tmp_path / "out" / f"street.{MODEL}.mask.png"), 0.75)
    assert first["box"] == [50, 0, 350, 200]
    assert set(first["classes"][0]) == {"label", "share", "index"}
    assert sum(area["share"] for area in first["classes"]) == pytest.approx(0.75)
    assert answer[MODEL][str(other)]["classes"] == first["classes"] == answer[SECOND][str(picture)]["classes"]


def test_several_artifacts_stand_side_by_side(run: Run, two: Path, picture: Path, tmp_path: Path) -> None:
    lines = run("predict", two, picture, "--output", tmp_path / "out").stdout.splitlines()
    assert lines[1].split() == ["label", MODEL, SECOND]
    assert all(line.split()[-1] == line.split()[-2] for line in lines[2 : lines.index(f"next: mvit2 check {two}") - 2])


def test_one_artifact_by_name_gives_the_short_names(run: Run, two: Path, picture: Path, tmp_path: Path) -> None:
    done = run("predict", two, picture, "--artifact", SECOND, "--output", tmp_path / "out")
    assert done.returncode == 0 and names(tmp_path / "out") == ["street.mask.png", "street.overlay.png"]


def test_files_go_to_the_current_folder(bundle: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    command = [sys.executable, "-m", "mvit2", "predict", str(bundle), str(picture), "--quiet"]
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == "" and names(tmp_path / "here") == ["street.mask.png", "street.overlay.png"]


def test_nothing_is_overwritten_unasked(run: Run, bundle: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "street.overlay.png").write_text("mine")
    done = run("predict", bundle, picture, "--output", out)
    assert done.returncode == 1 and names(out) == ["street.overlay.png"]
    assert "street.overlay.png exists already; replace it with --overwrite" in done.stderr
    done = run("predict", bundle, picture, "--output", out, "--overwrite")
    assert done.returncode == 0 and names(out) == ["street.mask.png", "street.overlay.png"]
    with Image.open(out / "street.overlay.png") as overlay:
        assert overlay.size == (400, 200)


@pytest.mark.parametrize(
    ("words", "code", "wrong"),
    [
        (["{w}/none.png"], 1, "none.png' does not exist"),
        (["{picture}", "{w}/other/street.png"], 2, "would both become street.mask.png; accepted: images"),
        (["{picture}", "--top-k", "3"], 2, "--top-k is of no use for {bundle}, a segmentation network;"),
        (["{picture}", "--output", "{picture}"], 1, "{picture} is a file; name a folder."),
        (["{picture}", "--artifact", "model_float32.tflite"], 1, "Did you mean 'model_float32.onnx'?"),
        (["{picture}", "--threads", "0"], 2, "threads is 0, accepted: 1 to 128."),
    ],
)
def test_what_is_refused_leaves_nothing(
    words: list[str], code: int, wrong: str, refused: Callable[..., str], bundle: Path, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(picture, tmp_path / "other")
    places = {"picture": picture, "bundle": bundle, "w": tmp_path}
    arguments = [word.format(**places) for word in words]
    if "--output" not in arguments:
        (tmp_path / "out").mkdir()
        arguments += [] if "--top-k" in arguments else ["--output", str(tmp_path / "out")]
    refused(code, wrong.format(**places), "predict", bundle, *arguments, env={"COLUMNS": "1000"})
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_an_image_that_cannot_be_read_leaves_the_others(run: Run, bundle: Path, picture: Path, tmp_path: Path) -> None:
    done = run("predict", bundle, tmp_path / "none.png", picture, "--output", tmp_path / "out")
    assert done.returncode == 1 and "none.png' does not exist" in done.stderr
    assert names(tmp_path / "out") == ["street.mask.png", "street.overlay.png"] and "street.mask.png" in done.stdout


@pytest.mark.parametrize("words", [["--output", "out"], ["--overwrite"]])
def test_options_that_are_of_no_use_for_classifiers(
    words: list[str], run: Run, demo_bundle: Path, picture: Path
) -> None:
    done = run("predict", demo_bundle, picture, *words)
    assert done.returncode == 2
    assert f"{words[0]} is of no use for {demo_bundle}, an image classifier; accepted: --top-k;" in done.stderr


def test_check_tells_logits_from_probabilities(run: Run, bundle: Path) -> None:
    done = run("check", bundle)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split("  ")[0] == "stage" and "max |Δ logit|" in done.stdout
    assert "same class" in done.stdout and "100%" in done.stdout
