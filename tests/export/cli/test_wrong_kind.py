"""A path of another kind than the command takes: the message says what it is, and which command takes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ...support.command import Run
from ...support.refusals import Refused
from ...support.tree import ROOT

CHECKPOINT = ROOT / "mvit2" / "checkpoints" / "0.5"
SEGMENTS = ROOT / "mvit2" / "checkpoints" / "0.5-segment"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("predict {checkpoint} {photo}", 1, "is a checkpoint, not a bundle; export it first: mvit2-export --weights"),
        ("bench {bundle}/model_float16.tflite", 1, "one model file of a bundle; name the bundle, and the file by --"),
        ("check {w}/alone.tflite", 1, "lies in no bundle; mvit2 info FILE and mvit2 bench --against FILE take it."),
        ("info {bundle}/model_int9.tflite", 1, "does not exist. The bundle {bundle} holds: model_float16.tflite, mod"),
        ("compare {photo} {bundle}", 2, "cat.jpg is neither a bundle nor a model file"),
        ("predict {photo} {bundle}", 1, "In a command the bundle comes first."),
        ("export --weights {bundle}", 1, "is a bundle, what an export makes; name the checkpoint that it was made"),
        ("audit {segments} {w}", 2, "holds a segmentation network; audit is for image classifiers. Export it once"),
    ],
)
def test_another_kind(
    words: str, code: int, said: str, refused: Refused, demo_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copy(demo_bundle / "model_float16.tflite", tmp_path / "alone.tflite")
    places = {"bundle": demo_bundle, "checkpoint": CHECKPOINT, "segments": SEGMENTS, "w": tmp_path}
    places["photo"] = photos / "cat.jpg"
    refused(code, said.format(**places), *(word.format(**places) for word in words.split()))


@pytest.mark.parametrize("words", [("predict", "{bundle}", ""), ("info", ""), ("export", "--weights", "")])
def test_an_empty_argument_is_no_folder(words: tuple[str, ...], refused: Refused, demo_bundle: Path) -> None:
    refused(2, "an argument is empty", *(word.format(bundle=demo_bundle) for word in words))


def test_an_app_is_not_made_of_an_edited_manifest(refused: Refused, demo_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"bilinear"', '"bicubic"'))
    refused(1, "one of them was edited", "app", "--target", "web", bundle, "--output", tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_info_describes_a_checkpoint(run: Run) -> None:
    answer = json.loads(run("info", SEGMENTS, "--json").stdout)
    assert (answer["variant"], answer["task"], len(answer["labels"])) == ("0.5", "semantic-segmentation", 11)
    text = run("info", CHECKPOINT).stdout
    assert "image-classification, 20 classes" in text and f"next: mvit2-export --weights {CHECKPOINT}" in text
