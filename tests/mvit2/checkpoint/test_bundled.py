"""The checkpoints that come with the package: small, described, and in transformers the same networks."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageClassification, AutoModelForSemanticSegmentation

import mvit2
from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.locate import bundled_variants
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.tasks import CLASSIFY, SEGMENT, TASKS, Task

FOLDER = Path(mvit2.__file__).parent / "checkpoints"
HELD = [(task, variant) for task in TASKS.values() for variant in bundled_variants(task)]
TRANSFORMERS: dict[Task, Any] = {
    CLASSIFY: AutoModelForImageClassification,
    SEGMENT: AutoModelForSemanticSegmentation,
}
MOST_BYTES = 12_000_000
TOLERANCE = 1e-5  # of the range of the expected values

every = pytest.mark.parametrize(("task", "variant"), HELD, ids=lambda value: getattr(value, "name", value))


def home(task: Task, variant: str) -> Path:
    return FOLDER / f"{variant}{task.suffix}"


def test_each_task_has_one_and_nothing_else_lies_there() -> None:
    assert {task for task, _ in HELD} == set(TASKS.values())
    assert sorted(FOLDER.iterdir()) == sorted(home(*held) for held in HELD)


@every
def test_files(task: Task, variant: str) -> None:
    folder = home(task, variant)
    names = {file.name for file in folder.iterdir()}
    assert names == {"config.json", "preprocessor_config.json", "model.safetensors", "RECIPE.md"}
    assert sum(file.stat().st_size for file in folder.iterdir()) < MOST_BYTES
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.offset_keys()} <= {"F16", "I64"}


@every
def test_recipe(task: Task, variant: str) -> None:
    """It names the data, how it was trained, and what became of it through every format."""
    recipe = (home(task, variant) / "RECIPE.md").read_text(encoding="utf-8")
    for said in ("## Data", "## Training", task.metric, "torch", "ONNX", "TFLite", "int8", "mvit2 evaluate"):
        assert said in recipe, said


@every
@torch.no_grad()
def test_equals_transformers(task: Task, variant: str, oracles: ModuleType, photos: Path) -> None:
    theirs = TRANSFORMERS[task].from_pretrained(home(task, variant), dtype=torch.float32, local_files_only=True)
    checkpoint = load_checkpoint("demo", variant, task=task.name)
    pixels = [preprocess(photo, checkpoint.preprocess) for photo in sorted(photos.glob("*.jpg"))]
    x = torch.cat([torch.from_numpy(to_pixel_values(one, checkpoint.preprocess)) for one in pixels])
    seen, expected = checkpoint.model(x), theirs.eval()(x).logits
    oracles.assert_varied(expected)
    assert oracles.gap(seen, expected) < TOLERANCE
    assert len(seen.argmax(1).unique()) > 1
    assert (seen.argmax(1) == expected.argmax(1)).float().mean() > 0.9999
    labels = json.loads((home(task, variant) / "config.json").read_text())["id2label"]
    assert checkpoint.config.labels == tuple(theirs.config.id2label.values()) and len(labels) == expected.shape[1]
