"""Checkpoints as training scripts write them: wrapped, prefixed, averaged, in several files, beside settings."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import mvit2
from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.pickles import read_pickle
from mvit2.checkpoint.tensors import read_weights
from mvit2.errors import CheckpointError, UsageError
from mvit2.export.request import ExportRequest
from mvit2.image.preprocess_choice import PreprocessChoice

DEMO = Path(mvit2.__file__).parent / "checkpoints/0.5"
STEMS = {
    "huggingface": "mobilevitv2.conv_stem.convolution.weight",
    "timm": "stem.conv.weight",
    "cvnets": "conv_1.block.conv.weight",
    "cvnets segmentation": "encoder.conv_1.block.conv.weight",
}


def weights(stem: str = STEMS["timm"], value: float = 1.0) -> dict[str, Tensor]:
    return {stem: torch.full((2, 3), value), "head.fc.bias": torch.full((4,), value)}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def read(content: Any, folder: Path, key: str | None = None, name: str = "m.pth") -> tuple[dict[str, Tensor], str]:
    torch.save(content, folder / name)
    tensors, notes = read_weights(folder / name, key)
    return tensors, " ".join(notes)


# ---- what wraps them ----

PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "module._orig_mod.",
    "model.module.net.",
    "timm_model.",
    "a.b.c.",
)


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
def test_a_common_prefix_is_taken_off(prefix: str, stem: str, tmp_path: Path) -> None:
    tensors, notes = read(prefixed(prefix, weights(stem)), tmp_path)
    assert list(tensors) == list(weights(stem)) and notes == ""


@pytest.mark.parametrize(
    "path",
    [
        ("state_dict",),
        ("model_state_dict",),
        ("model",),
        ("net",),
        ("weights",),
        ("student", "state_dict"),
        ("a", "b", "c", "d"),
    ],
)
def test_any_wrapping(path: tuple[str, ...], tmp_path: Path) -> None:
    content: Any = prefixed("module.", weights())
    for key in reversed(path):
        content = {"epoch": 3, key: content, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "lr": 0.1}}
    assert list(read(content, tmp_path)[0]) == list(weights())


def test_what_belongs_to_the_loss_is_left_out_and_said(tmp_path: Path) -> None:
    tensors, notes = read({"state_dict": {**prefixed("model.", weights()), "loss.weight": torch.ones(4)}}, tmp_path)
    assert (
        list(tensors) == list(weights()) and "1 tensors that are not the network's are left out (loss.weight)" in notes
    )


# ---- averaged weights ----

AVERAGED: dict[str, tuple[dict[str, Any], str, str]] = {
    "ml-cvnets": (
        {"model_state_dict": weights(), "ema_model_state_dict": weights(value=2)},
        "ema_model_state_dict",
        "",
    ),
    "timm": ({"state_dict": weights(), "state_dict_ema": weights(value=2)}, "state_dict_ema", ""),
    "torchvision": (
        {"model": weights(), "model_ema": {"n_averaged": torch.tensor(5), **prefixed("module.", weights(value=2))}},
        "model_ema.module",
        "n_averaged",
    ),
    "one dictionary": (
        {"state_dict": {**prefixed("model.", weights()), **prefixed("model.ema.", weights(value=2))}},
        "state_dict.model.ema",
        "",
    ),
    "swa": ({"model": weights(), "swa_model": weights(value=2)}, "swa_model", ""),
    "camel case": ({"model": weights(), "modelEMA": weights(value=2)}, "modelEMA", ""),
    "nested": ({"model": weights(), "ema": {"state_dict": weights(value=2)}}, "ema.state_dict", ""),
}


@pytest.mark.parametrize(("content", "key", "left_out"), AVERAGED.values(), ids=AVERAGED)
def test_averaged_weights_are_taken_and_said(content: dict[str, Any], key: str, left_out: str, tmp_path: Path) -> None:
    tensors, notes = read(content, tmp_path)
    assert tensors["head.fc.bias"][0] == 2
    assert f"the averaged ones (EMA) under {key} are taken" in notes and "--weights-key" in notes and left_out in notes
    raw = re.search(r"--weights-key (\S+)\.(\s|$)", notes)
    assert raw is not None and read(content, tmp_path, raw[1])[0]["head.fc.bias"][0] == 1


def test_equal_sets_are_one(tmp_path: Path) -> None:
    tensors, notes = read({"state_dict": weights(), "model": weights()}, tmp_path)
    assert list(tensors) == list(weights()) and notes == ""


@pytest.mark.parametrize("key", ["teacher", "teacher.model", "teacher.model."])
def test_the_key_chooses(key: str, tmp_path: Path) -> None:
    content = {"student": prefixed("model.", weights()), "teacher": prefixed("model.", weights(value=3))}
    assert read(content, tmp_path, key)[0]["head.fc.bias"][0] == 3
    with pytest.raises(CheckpointError, match=r"2 networks: student\.model, teacher\.model; choose one: --weights-key"):
        read(content, tmp_path)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("techer", r"'techer' is none of those in .*: student\.model, teacher\.model\. Did you mean 'teacher\.model'"),
        ("model", r"'model' means several of those in"),
    ],
)
def test_a_key_that_chooses_nothing(key: str, wrong: str, tmp_path: Path) -> None:
    content = {"student": prefixed("model.", weights()), "teacher": prefixed("model.", weights(value=3))}
    with pytest.raises(UsageError, match=wrong):
        read(content, tmp_path, key)


# ---- beside settings ----


class Custom:
    """A class that nobody here knows."""


HARMLESS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, names=["a"], inner=argparse.Namespace(x=1)),
    "path": Path("out/epoch=3.ckpt"),
    "time": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "numpy number": np.float64(0.7),
    "numpy array": np.arange(3.0),
    "ordered": OrderedDict(a=1),
    "version": torch.__version__,
}


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("value", HARMLESS.values(), ids=HARMLESS)
def test_harmless_objects_beside_the_weights(value: Any, modern: bool, tmp_path: Path) -> None:
    file = tmp_path / "model_best.pth.tar"
    torch.save({"args": value, "state_dict": weights()}, file, _use_new_zipfile_serialization=modern)
    assert list(read_weights(file)[0]) == list(weights())


def test_nothing_of_them_is_made(tmp_path: Path) -> None:
    """Stand-ins take their places: not even a harmless class of the file is called."""
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "m.pt")
    content = read_pickle(tmp_path / "m.pt")
    assert isinstance(content, dict) and type(content["args"]) is not argparse.Namespace


@pytest.mark.parametrize("name", ["m.pth", 'it\'s "$(touch owned)" `touch owned` \\ \u00e9\U0001f40d.pth'])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"state_dict": weights(), "config": Custom()}, 'weights_only=False)["state_dict"]; '),
        ({"epoch": 1, "model": nn.Linear(2, 2)}, 'weights_only=False)["model"]; '),
        (nn.Linear(2, 2), r"weights_only=False); "),
    ],
)
def test_others_are_refused_with_the_line_that_saves_the_weights(
    content: Any, line: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that a shell takes as it is, whatever the file is called."""
    torch.save(content, tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / name)
    said = str(caught.value)
    assert "refused" in said and line in said and "\n" not in said
    command = said.split(": python -c ", 1)[1]
    monkeypatch.chdir(tmp_path)
    shown = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, text=True, check=True).stdout
    assert not (tmp_path / "owned").exists()
    exec(shown, {})  # the line does what it promises
    assert set(torch.load(tmp_path / "weights.pth", weights_only=True)) in ({"weight", "bias"}, set(weights()))


# ---- the whole way ----


@pytest.fixture(scope="module")
def demo() -> dict[str, Tensor]:
    return load_file(DEMO / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "wrapper", "prefix"),
    [
        ("epoch=3.ckpt", "state_dict", "model."),
        ("model_best.pth.tar", "state_dict", "module."),
        ("last.bin", "model_state_dict", "module._orig_mod."),
    ],
)
def test_the_network_is_the_one_that_was_trained(
    name: str, wrapper: str, prefix: str, demo: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({wrapper: prefixed(prefix, demo), "args": argparse.Namespace(lr=1)}, tmp_path / name)
    opened = load_checkpoint(str(tmp_path / name))
    assert opened.sha256 == load_checkpoint("demo", "0.5").sha256
    assert opened.name in ("epoch-3", "model_best", "last")


def shards(folder: Path, tensors: dict[str, Tensor], suffix: str = ".safetensors") -> Path:
    names = list(tensors)
    parts = {f"model-0000{i + 1}-of-00003{suffix}": names[i::3] for i in range(3)}
    for file, held in parts.items():
        part = {name: tensors[name] for name in held}
        save_file(part, folder / file) if suffix == ".safetensors" else torch.save(part, folder / file)
    stem = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
    index = folder / f"{stem}.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, held in parts.items() for name in held}}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("named", ["folder", "index"])
def test_several_files_by_their_index(suffix: str, named: str, demo: dict[str, Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    index = shards(folder, prefixed("module.", demo), suffix)
    opened = load_checkpoint(str(folder if named == "folder" else index))
    assert opened.sha256 == load_checkpoint("demo", "0.5").sha256 and opened.name == "net"
    assert opened.config.labels[0] != "LABEL_0"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{}", "not an index of a checkpoint's files"),
        ('{"weight_map": {"a": "../../other.safetensors"}}', "names the file '../../other.safetensors'"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "names the file '/etc/passwd'"),
        ('{"weight_map": {"a": 3}}', "names the file"),
        ('{"weight_map": {}}', "names the file 'none'"),
        ('{"weight_map": {"a": "b.safetensors"}}', "lists 1 files, b.safetensors is not beside it"),
        ('{"weight_map": {"a": "model.safetensors.index.json"}}', "names the file"),
    ],
)
def test_a_wrong_index(content: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(tmp_path))
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


# ---- config.json ----


@pytest.mark.parametrize("field", ["finetuning_task", "gradient_checkpointing", "windows", "hub_mixin_info"])
def test_fields_that_the_network_does_not_read_are_a_note(field: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEMO, tmp_path / "net"))
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, field: "x"}))
    opened = load_checkpoint(str(folder))
    assert opened.sha256 == load_checkpoint("demo", "0.5").sha256
    assert len(opened.warnings) == 1 and field in opened.warnings[0]


LABELS = [f"thing {i}" for i in range(20)]
CFG = {
    "input_size": [3, 160, 160],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
TIMM: dict[str, Any] = {
    "architecture": "mobilevitv2_050",
    "num_classes": 20,
    "label_names": LABELS,
    "pretrained_cfg": CFG,
}


def timm_folder(folder: Path, **changes: Any) -> Path:
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("*.json"))
    (folder / "config.json").write_text(json.dumps({**TIMM, **changes}))
    return folder


def test_what_timm_writes_arrives(tmp_path: Path) -> None:
    opened = load_checkpoint(str(timm_folder(tmp_path / "net")))
    spec = opened.preprocess
    assert opened.config.labels == tuple(LABELS) and opened.warnings == ()
    assert (spec.image_size, spec.resize_shortest) == ((160, 160), 177)
    assert (spec.resample, spec.channel_order) == ("bicubic", "RGB")
    assert (spec.mean, spec.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert opened.sha256 == load_checkpoint("demo", "0.5").sha256


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pretrained_cfg": {**CFG, "crop_pct": 1.0}}, {"resize_shortest": 160}),
        ({"pretrained_cfg": {**CFG, "crop_mode": "squash"}}, {"resize_shortest": None, "resize_exact": (177, 177)}),
        ({"pretrained_cfg": {**CFG, "interpolation": "bilinear"}}, {"resample": "bilinear"}),
        ({"pretrained_cfg": {"input_size": [3, 160, 160]}}, {"resize_shortest": 182, "std": (0.229, 0.224, 0.225)}),
        ({"pretrained_cfg": {}, **CFG}, {"resize_shortest": 177}),  # older files
        ({"model_type": "timm_wrapper"}, {"resize_shortest": 177}),  # transformers' wrapper
    ],
)
def test_timm_transforms(changes: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    spec = load_checkpoint(str(timm_folder(tmp_path / "net", **changes))).preprocess
    assert {name: getattr(spec, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"architecture": "resnet50"}, r"architecture is 'resnet50', expected timm's mobilevitv2"),
        ({"pretrained_cfg": {**CFG, "interpolation": "lanczos"}}, r"interpolation is 'lanczos'"),
        ({"pretrained_cfg": {**CFG, "crop_pct": 3}}, r"crop_pct is 3"),
        ({"pretrained_cfg": {**CFG, "crop_mode": "border"}}, r"crop_mode is 'border'"),
        ({"pretrained_cfg": {**CFG, "mean": [0.5]}, "label_names": "x"}, r"label_names is 'x'"),
        ({"pretrained_cfg": {**CFG, "std": [0, 1, 1]}}, r"std = "),
        ({"label_names": ["a"]}, r"the head has 20 classes, config\.json says 1"),
    ],
)
def test_what_timm_cannot_mean(changes: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=wrong) as caught:
        load_checkpoint(str(timm_folder(tmp_path / "net", **changes)))
    assert "config.json" in str(caught.value) and "\n" not in str(caught.value)


# ---- where preprocessing is written ----

NORMAL = {"do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def demo_with(folder: Path, **files: Any) -> str:
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("preprocessor_config.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(folder)


def preprocessor(**changes: Any) -> dict[str, Any]:
    return {**json.loads((DEMO / "preprocessor_config.json").read_text()), **changes}


@pytest.mark.parametrize(
    "files",
    [
        {"preprocessor_config": preprocessor()},
        {"processor_config": {"processor_class": "X", "image_processor": preprocessor()}},
        {"processor_config": {"feature_extractor": preprocessor()}},
        {"preprocessor_config": preprocessor(), "processor_config": {"image_processor": preprocessor(resample=3)}},
    ],
)
def test_every_place_of_transformers_is_read(files: dict[str, Any], tmp_path: Path) -> None:
    opened = load_checkpoint(demo_with(tmp_path / "net", **files))
    assert opened.preprocess == load_checkpoint("demo", "0.5").preprocess
    assert (opened.warnings, opened.assumptions) == ((), ())


def test_mean_and_standard_deviation_are_read_and_questioned(tmp_path: Path) -> None:
    opened = load_checkpoint(demo_with(tmp_path / "net", preprocessor_config=preprocessor(**NORMAL)))
    assert (opened.preprocess.mean, opened.preprocess.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    (said,) = opened.assumptions
    assert said in opened.warnings and "MobileViTImageProcessor of transformers never applies them" in said


@pytest.mark.parametrize(
    ("content", "reduced"),
    [
        ({}, False),
        ({"do_reduce_labels": False}, False),
        ({"do_reduce_labels": True}, True),
        ({"reduce_labels": True}, True),
    ],
)
def test_reduced_labels_are_kept(content: dict[str, Any], reduced: bool, tmp_path: Path) -> None:
    opened = load_checkpoint(demo_with(tmp_path / "net", preprocessor_config=preprocessor(**content)))
    assert opened.reduce_labels is reduced


@pytest.mark.parametrize(
    ("choice", "missing"),
    [
        (PreprocessChoice(), "--channel-order --resize --crop --resample."),
        (PreprocessChoice(channel_order="RGB"), "--resize --crop --resample."),
        (PreprocessChoice("RGB", 144, (128, 128), "bicubic"), None),
        (PreprocessChoice("RGB", "none", (128, 128), "bicubic"), None),
    ],
)
def test_what_is_not_said_is_assumed_and_named(choice: PreprocessChoice, missing: str | None, tmp_path: Path) -> None:
    opened = load_checkpoint(demo_with(tmp_path / "net"), choice=choice)
    assert opened.preprocess.channel_order == (choice.channel_order or "BGR")
    assert opened.preprocess.resample == (choice.resample or "bilinear")
    if missing is None:
        assert opened.assumptions == () and opened.warnings == ()
        return
    (said,) = opened.assumptions
    assert said.endswith(f"or say it: {missing}") and "mvit2 audit" in said and said in opened.warnings


@pytest.mark.parametrize("damaged", [{"resample": 1}, {"size": 0}, {"crop_size": "x"}, {"do_flip_channel_order": 3}])
def test_a_choice_mends_a_wrong_file(damaged: dict[str, Any], tmp_path: Path) -> None:
    folder = demo_with(tmp_path / "net", preprocessor_config=preprocessor(**damaged))
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    choice = PreprocessChoice("BGR", 144, (128, 128), "bilinear")
    assert load_checkpoint(folder, choice=choice).preprocess == load_checkpoint("demo", "0.5").preprocess


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"channel_order": "BRG"}, r"unknown --channel-order 'BRG'.* Did you mean 'RGB' or 'BGR'"),
        ({"resample": "nearest"}, r"unknown --resample 'NEAREST'|unknown --resample 'nearest'"),
        ({"resize": "big"}, r"--resize is 'big', accepted: pixels such as 256"),
        ({"crop": "1x2x3"}, r"--crop is '1x2x3'"),
        ({"crop": "128", "image_size": "128"}, r"--crop and --image-size both say"),
    ],
)
def test_choices_that_cannot_be(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        ExportRequest(**options)
