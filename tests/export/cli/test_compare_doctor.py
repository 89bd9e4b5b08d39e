"""``mvit2 compare`` and ``mvit2 doctor``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mvit2.export.doctor import examine

from ...support.command import Run
from ...support.refusals import Refused

FLOAT, HALF = "model_float32.tflite", "model_float16.tflite"


@pytest.fixture
def labelled(tmp_path: Path, photos: Path) -> Path:
    for photo, label in (("cat.jpg", "golden retriever"), ("coffee.jpg", "espresso")):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        shutil.copy(photos / photo, tmp_path / "labelled" / label)
    return tmp_path / "labelled"


def test_two_files_of_a_bundle(run: Run, demo_bundle: Path, labelled: Path) -> None:
    words = ("compare", demo_bundle / FLOAT, demo_bundle, labelled, "--no-bench", "--processes", 1)
    answer = json.loads(run(*words, "--json").stdout)
    assert [answer[side]["file"] for side in "AB"] == [str(demo_bundle / FLOAT), str(demo_bundle / HALF)]
    assert answer["A"]["bytes"] == (demo_bundle / FLOAT).stat().st_size > answer["B"]["bytes"]
    found = answer["accuracy"]
    assert (found["images"], found["first"], found["second"]) == (2, 2, 2)
    assert found["agreement"] == 1 and found["interval"][0] < 0 < found["interval"][1] and found["classes"] == []
    text = run(*words).stdout
    assert "top-1 on 2 images: no difference that these images can show" in text
    assert "B - A (95 %, paired)" in text and "top-1 agreement" in text


def test_a_file_by_its_precision(run: Run, demo_bundle: Path) -> None:
    answer = json.loads(run("compare", demo_bundle / "float16", demo_bundle / FLOAT, "--no-bench", "--json").stdout)
    assert answer["A"] == {"file": str(demo_bundle / HALF), "bytes": (demo_bundle / HALF).stat().st_size}


def test_an_image_that_cannot_be_read_is_said(run: Run, demo_bundle: Path, labelled: Path) -> None:
    (labelled / "espresso" / "broken.jpg").write_bytes(b"no image")
    words = ("compare", demo_bundle / FLOAT, demo_bundle, labelled, "--no-bench", "--processes", 1)
    assert "A: 1 of 3 images cannot be read and count nowhere." in run(*words).stderr


def test_latency_side_by_side(run: Run, demo_bundle: Path) -> None:
    answer = json.loads(run("compare", demo_bundle / FLOAT, demo_bundle / HALF, "--runs", 6, "--json").stdout)
    assert all(answer["latency"][side]["inference"]["median"] > 0 for side in "AB") and "accuracy" not in answer


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("{bundle} {bundle}", 2, "A and B are the same file"),
        ("{bundle} {w}/none", 1, "/none does not exist"),
        ("{bundle} {bundle}/model_float99.tflite", 1, "Did you mean 'model_float32.tflite'"),
        ("{bundle} {w}/foreign.onnx {w} --no-bench", 2, "foreign.onnx lies in no bundle, so nobody knows its"),
        ("{bundle}", 2, "Missing argument 'B'"),
    ],
)
def test_refused(words: str, code: int, said: str, refused: Refused, demo_bundle: Path, tmp_path: Path) -> None:
    shutil.copy(demo_bundle / "model_float32.onnx", tmp_path / "foreign.onnx")
    command = [word.format(bundle=demo_bundle, w=tmp_path) for word in words.split()]
    refused(code, said, "compare", *command, "--quiet")


def test_doctor(run: Run) -> None:
    """One table of what is here, one of what is missing, with the command that brings it."""
    answer = json.loads(run("doctor", "--json").stdout)
    assert answer["system"]["mvit2"] and answer["packages"]["numpy"]
    text = run("doctor").stdout
    for ability in examine().abilities:
        (line,) = [line for line in text.splitlines() if line.startswith(f"{ability.name} ")]
        assert line.endswith(" yes") if ability.missing is None else "pip install" in line or "mvit2 serve" in line


def test_doctor_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvit2.export.doctor.find_spec", lambda module: None)
    missing = {ability.name: ability.missing for ability in examine().abilities}
    assert missing["engine LiteRT"] == "no ai_edge_litert: pip install 'mvit2[litert]'"
    assert "torch" in (missing["export to ONNX"] or "") and "'mvit2[export]'" in (missing["export to ONNX"] or "")
