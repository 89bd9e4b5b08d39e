"""Segmentation checkpoints opened: as transformers saves them, untrained, damaged, of the other task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    PreTrainedModel,
)

from mvit2.checkpoint.load import load_checkpoint
from mvit2.errors import CheckpointError, UsageError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architectures import MOBILEVITV2
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.tasks import CLASSIFY, SEGMENT, TASKS, find_task, task_of

SAFE, CONFIG = "model.safetensors", "config.json"
HEAD = "segmentation_head"


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, oracles: ModuleType) -> tuple[Path, PreTrainedModel]:
    folder = tmp_path_factory.mktemp("hf") / "mobilevitv2-0.5-voc-deeplabv3"
    return folder, oracles.saved_segmenter(folder)


@pytest.fixture
def folder(saved: tuple[Path, PreTrainedModel], tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(saved[0], tmp_path / saved[0].name))


# ---- Hugging Face's naming ----


def test_a_folder_of_transformers_computes_the_same(saved: tuple[Path, PreTrainedModel], oracles: ModuleType) -> None:
    folder, reference = saved
    x = oracles.pictures(2, 128)
    for task in (None, "segment"):
        opened = load_checkpoint(str(folder), task=task)
        with torch.no_grad():
            assert oracles.gap(opened.model(x), reference(x).logits) < 1e-5
    assert (opened.task, opened.variant, opened.name, opened.layout) == (SEGMENT, "0.5", "voc-deeplabv3", "huggingface")
    assert (opened.config.labels, opened.config.dilation_rule, opened.warnings) == (
        ("background", "bee", "cat"),
        "transformers",
        opened.assumptions,
    )
    assert opened.preprocess == PreprocessSpec((128, 128), 160, None, "bilinear", "BGR")
    assert not opened.model.training


# ---- never trained ----


@pytest.mark.parametrize("task", [None, "classify", "segment"])
def test_untrained(task: str | None, tmp_path: Path) -> None:
    opened = load_checkpoint("untrained", "0.5", task=task)
    assert opened.task is (SEGMENT if task == "segment" else CLASSIFY)
    assert opened.sha256 == load_checkpoint("untrained", "0.5", task=task).sha256
    if task == "segment":
        assert (opened.config.output_stride, opened.config.image_size) == (16, (512, 512))
        assert opened.config.num_labels == 21 and "scores mean nothing" in opened.warnings[0]
        with torch.no_grad():
            assert opened.model(torch.rand(1, 3, 64, 96)).shape == (1, 21, 4, 6)


def test_labels_replace_the_names(folder: Path) -> None:
    (folder / "names.txt").write_text("sky\ngrass\nroad\n")
    assert load_checkpoint(str(folder), labels=folder / "names.txt").config.labels == ("sky", "grass", "road")


# ---- tasks ----


def test_tasks() -> None:
    assert [(task.name, task.manifest, task.head, task.metric) for task in TASKS.values()] == [
        ("classify", "image-classification", "classifier", "top-1"),
        ("segment", "semantic-segmentation", "segmentation_head", "mIoU"),
    ]
    config = ModelConfig(width_multiplier=0.5, labels=("a", "b"))
    for task in TASKS.values():
        assert find_task(task.name) is task
        tensors = MOBILEVITV2.build(task, config).state_dict()
        assert task_of(tensors) is task and f"{task.last_layer}.bias" in tensors
        assert len(tensors[f"{task.last_layer}.weight"]) == 2
    assert task_of(["mobilevitv2.conv_stem.convolution.weight"]) is None


@pytest.mark.parametrize(("name", "hint"), [("segmentation", " Did you mean 'segment'?"), ("x", ""), ("", "")])
def test_unknown_tasks_are_refused(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_checkpoint("untrained", "0.5", task=name)
    assert str(caught.value) == f"unknown task {name!r}; choose one of classify, segment.{hint}"


# ---- refused ----


def change_config(**fields: object) -> Callable[[Path], Any]:
    return lambda folder: (folder / CONFIG).write_text(
        json.dumps({**json.loads((folder / CONFIG).read_text()), **fields})
    )


def retensored(change: Callable[[dict[str, Tensor]], Any], keep_config: bool = True) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        tensors = load_file(folder / SAFE)
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / SAFE)
        if not keep_config:
            (folder / CONFIG).unlink()

    return change_file


def other_head(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if ".aspp." in name]:
        del tensors[name]
    tensors[f"{HEAD}.psp_layer.weight"] = torch.ones(3)


def headless(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if name.startswith(HEAD)]:
        del tensors[name]


LAST = f"{HEAD}.classifier.convolution"
PROJECT = f"{HEAD}.aspp.project.convolution.weight"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other head": (
        retensored(other_head),
        rf"\d+ missing \({HEAD}\.aspp.*; 1 unexpected \({HEAD}\.psp_layer\.weight\)",
    ),
    "other head, no config": (retensored(other_head, False), r"a segmentation head without DeepLabV3's aspp\.project"),
    "no head": (retensored(headless), rf"\d+ missing \({HEAD}\."),
    "no head, no config": (retensored(headless, False), rf"no {LAST} among its tensors.*not a segmentation network"),
    "unexpected": (retensored(lambda t: t.update({f"{HEAD}.x": torch.ones(1)})), rf"1 unexpected \({HEAD}\.x\)"),
    "missing": (retensored(lambda t: t.pop(PROJECT)), rf"1 missing \({PROJECT}\)"),
    "misshapen": (retensored(lambda t: t.update({PROJECT: torch.ones(24, 5, 1, 1)})), rf"{PROJECT} is 24x5x1x1, expec"),
    "nan": (retensored(lambda t: t[f"{LAST}.bias"].fill_(float("nan"))), rf"1 with NaN or Inf \({LAST}\.bias\)"),
    "no published recipe": (
        lambda f: (f / CONFIG).unlink(),
        r"no published network has 3 classes, only 21 \(PASCAL VOC\) ",
    ),
    "scalar head": (retensored(lambda t: t.update({f"{LAST}.bias": torch.ones(())}), False), r"a head of \(\) are not"),
    "more classes": (
        change_config(id2label={str(i): str(i) for i in range(9)}),
        r"head has 3 classes, config.* says 9",
    ),
    "other channels": (change_config(aspp_out_channels=32), r"the tensors do not fit this network: .*misshapen"),
    "two rates": (change_config(atrous_rates=[6, 12]), r"atrous_rates is \(6, 12\), accepted: three integers\."),
    "four rates": (change_config(atrous_rates=[1, 2, 3, 4]), r"atrous_rates is .*, accepted: three integers\."),
    "rate 0": (change_config(atrous_rates=[6, 0, 18]), r"atrous_rates is \(6, 0, 18\), accepted: 1 to 256\."),
    "no channels": (change_config(aspp_out_channels=0), r"aspp_out_channels is 0, accepted: 1 to 4096\."),
    "dropout 1": (change_config(aspp_dropout_prob=1), r"aspp_dropout_prob is 1\.0, accepted: 0 to 0\.99\."),
    "far index": (change_config(semantic_loss_ignore_index=2**40), r"semantic_loss_ignore_index is .* -2147483648 to"),
    "stride": (change_config(output_stride=4), r"output_stride is 4, accepted: 8, 16 or 32\."),
    "our own field": (change_config(dilation_rule="ml-cvnets"), r"field 'dilation_rule' is not one of a MobileViTV2"),
}


@pytest.mark.parametrize(("damage", "wrong"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(damage: Callable[[Path], Any], wrong: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=wrong) as caught:
        load_checkpoint(str(folder), task="segment")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def classifier_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    fields = {"width_multiplier": 0.5, "n_attn_blocks": [1, 1, 1], "num_labels": 3}
    MobileViTV2ForImageClassification(MobileViTV2Config(**fields)).save_pretrained(folder)


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize(
    ("prepare", "task", "message"),
    [
        (
            lambda folder: None,
            "classify",
            "holds a segmentation network (segmentation_head.*), not an image classifier: give --task segment, or for "
            "--task classify other weights, such as apple/mobilevitv2-1.0-imagenet1k-256.",
        ),
        (
            classifier_folder,
            "segment",
            "holds an image classifier (classifier.*), not a segmentation network: give --task classify, or for "
            "--task segment other weights, such as apple/mobilevitv2-1.0-voc-deeplabv3.",
        ),
    ],
)
def test_the_other_task_is_refused(
    prepare: Callable[[Path], None], task: str, message: str, config: bool, folder: Path
) -> None:
    prepare(folder)
    if not config:
        (folder / CONFIG).unlink()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(folder), task=task)
    assert str(caught.value) == f"{folder / SAFE} {message}"
