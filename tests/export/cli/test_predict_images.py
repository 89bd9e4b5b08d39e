"""What `mvit2 predict` takes: many images, folders, videos; what cannot be read is named, the rest is answered."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from ...support.command import Run

ONE = ("--artifact", "float16", "--top-k", 1)
MODEL = "model_float16.tflite"


@pytest.fixture
def mixed(tmp_path: Path, photos: Path) -> Path:
    """Three images in two folders, one of them broken, and what is no image."""
    folder = tmp_path / "mixed"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    shutil.copy(photos / "cat.jpg", folder / "cat.jpg")
    shutil.copy(photos / "coffee.jpg", folder / "deep" / "coffee.jpg")
    shutil.copy(photos / "coffee.jpg", folder / "deep" / ".hidden" / "coffee.jpg")
    (folder / "deep" / "broken.png").write_bytes(b"x\0")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_is_answered_but_for_what_is_broken(run: Run, demo_bundle: Path, mixed: Path) -> None:
    done = run("predict", demo_bundle, mixed, *ONE)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith(str(mixed))] == [f"{mixed}/cat.jpg", f"{mixed}/deep/coffee.jpg"]
    (said,) = done.stderr.splitlines()
    assert done.returncode == 1 and said.startswith(f"error: '{mixed}/deep/broken.png' is not an image")


def test_json_names_what_is_broken(run: Run, demo_bundle: Path, mixed: Path) -> None:
    done = run("predict", demo_bundle, mixed / "cat.jpg", mixed / "none.jpg", mixed / "cat.jpg", *ONE, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and list(answer) == [MODEL, "errors"]
    assert list(answer[MODEL]) == [str(mixed / "cat.jpg")] and "does not exist" in answer["errors"][f"{mixed}/none.jpg"]


def test_format_csv(run: Run, demo_bundle: Path, mixed: Path) -> None:
    done = run("predict", demo_bundle, mixed / "cat.jpg", "--artifact", "fp16", "--top-k", 2, "--format", "csv")
    answer = json.loads(run("predict", demo_bundle, mixed / "cat.jpg", "--artifact", MODEL, "--format", "json").stdout)
    header, *rows = csv.reader(io.StringIO(done.stdout))
    assert (done.returncode, done.stderr) == (0, "")
    assert header == ["image", "artifact", "rank", "index", "label", "score"]
    assert [(row[:4], row[4]) for row in rows] == [
        ([str(mixed / "cat.jpg"), MODEL, str(rank), str(one["index"])], one["label"])
        for rank, one in enumerate(answer[MODEL][str(mixed / "cat.jpg")][:2], 1)
    ]


def test_frames_of_a_video(run: Run, demo_bundle: Path, mixed: Path) -> None:
    """One a second; OpenCV's BGR is turned, or the answers would be others."""
    cv2 = pytest.importorskip("cv2")
    frame = cv2.imread(str(mixed / "cat.jpg"))
    writer = cv2.VideoWriter(str(mixed / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, frame.shape[1::-1])
    for _ in range(25):
        writer.write(frame)
    writer.release()
    words = ("predict", demo_bundle, mixed / "v.avi", mixed / "cat.jpg", *ONE, "--json")
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    answers = json.loads(done.stdout)[MODEL]
    assert list(answers) == [*(f"{mixed}/v.avi#{number}" for number in (0, 10, 20)), f"{mixed}/cat.jpg"]
    scores = [answer[0]["score"] for answer in answers.values()]
    assert scores == pytest.approx([scores[-1]] * 4, abs=0.05)
    assert len(json.loads(run(*words, "--every", 0, "--frames", 4).stdout)[MODEL]) == 5
