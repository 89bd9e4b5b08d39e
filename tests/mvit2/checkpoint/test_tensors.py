"""Which files and tensors are refused, and when two files hold the same weights."""

from __future__ import annotations

import json
import os
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mvit2
from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.tensors import fingerprint, load_weights, read_tensors
from mvit2.errors import CheckpointError
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig

StateDict = dict[str, Tensor]
CONFIG = ModelConfig(width_multiplier=0.5, labels=tuple("abcde"))
FEW: StateDict = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.tensor([1, 2])}


@pytest.fixture(scope="module")
def model(oracles: ModuleType) -> MobileViTV2Classifier:
    network: MobileViTV2Classifier = oracles.seeded(CONFIG)
    return network


# ---- load_weights ----

HEAD, STEM = "classifier.bias", "mobilevitv2.conv_stem.convolution.weight"
NORM = "mobilevitv2.encoder.layer.4.conv_projection.normalization.running_var"


def changed(tensors: StateDict, **new: Any) -> StateDict:
    result = {**tensors, **{name.replace("__", "."): value for name, value in new.items()}}
    return {name: value for name, value in result.items() if value is not None}


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({HEAD: None}, f"1 missing ({HEAD})."),
        ({HEAD: None, STEM: None}, f"2 missing ({STEM}, {HEAD})."),
        ({"x.1": torch.zeros(1), "x.2": torch.zeros(1)}, "2 unexpected (x.1, x.2)."),
        ({HEAD: torch.zeros(7)}, f"1 misshapen ({HEAD} is 7, expected 5)."),
        ({HEAD: torch.tensor(0.0)}, f"1 misshapen ({HEAD} is a scalar, expected 5)."),
        ({STEM: torch.zeros(16, 1, 3, 3)}, f"1 misshapen ({STEM} is 16x1x3x3, expected 16x3x3x3)."),
        ({HEAD: torch.tensor([0, 0, float("nan"), 0, 0])}, f"1 with NaN or Inf ({HEAD})."),
        ({NORM: torch.full((256,), float("inf"))}, f"1 with NaN or Inf ({NORM})."),
        ({HEAD: torch.full((5,), 1e300, dtype=torch.float64)}, f"1 with NaN or Inf ({HEAD})."),
        ({HEAD: None, STEM: torch.zeros(2), "x": torch.zeros(1)}, f"1 missing ({HEAD}); 1 unexpected (x); 1 misshapen"),
    ],
)
def test_tensors_that_do_not_fit_are_named(model: MobileViTV2Classifier, new: dict[str, Any], message: str) -> None:
    before = fingerprint(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, changed(model.state_dict(), **new), "file.bin")
    assert str(caught.value).startswith("file.bin: the tensors do not fit this network: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert fingerprint(model.state_dict()) == before


def test_a_long_list_is_cut(model: MobileViTV2Classifier) -> None:
    with pytest.raises(CheckpointError, match=r"244 missing \([^,]+, [^,]+, [^,]+, \.\.\.\)"):
        load_weights(model, {}, "file.bin")  # 269 less 25 counters that some exports leave out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_becomes_float32(model: MobileViTV2Classifier, dtype: torch.dtype) -> None:
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in model.state_dict().items()}
    fresh = MobileViTV2Classifier(CONFIG)
    load_weights(fresh, tensors, "x")
    assert all(parameter.dtype == torch.float32 for parameter in fresh.parameters())
    assert all(torch.equal(t.to(dtype), tensors[n]) for n, t in fresh.state_dict().items())


def test_counters_may_be_absent(model: MobileViTV2Classifier) -> None:
    fresh = MobileViTV2Classifier(CONFIG)
    load_weights(fresh, {n: t for n, t in model.state_dict().items() if not n.endswith("tracked")}, "x")
    assert fingerprint(fresh.state_dict()) == fingerprint(model.state_dict())


# ---- fingerprint ----


def test_fingerprint_is_that_of_the_weights(model: MobileViTV2Classifier, tmp_path: Path) -> None:
    tensors = model.state_dict()
    expected = fingerprint(tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.bin")
    backwards = dict(reversed(list(tensors.items())))
    same = [read_tensors(tmp_path / "a.safetensors"), read_tensors(tmp_path / "b.bin"), backwards]
    assert [fingerprint(one) for one in same] == [expected] * 3
    assert len(expected) == 64


@pytest.mark.parametrize("name", [HEAD, STEM, NORM])
def test_fingerprint_sees_every_value(model: MobileViTV2Classifier, name: str) -> None:
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    tensors[name].view(-1)[-1] += 1e-3
    assert fingerprint(tensors) != fingerprint(model.state_dict())
    tensors = dict(model.state_dict())
    assert fingerprint({**tensors, name: tensors[name][None]}) != fingerprint(tensors)
    assert fingerprint({n + "x" * (n == name): t for n, t in tensors.items()}) != fingerprint(tensors)


def test_the_bundled_checkpoint_is_identified_by_its_float32_values() -> None:
    stored = read_tensors(Path(mvit2.__file__).parent / "checkpoints/0.5/model.safetensors")
    assert {t.dtype for n, t in stored.items() if not n.endswith("tracked")} == {torch.float16}
    assert fingerprint(stored) == load_checkpoint("demo", "0.5").sha256


# ---- read_tensors ----


class Attack:
    """What a hostile checkpoint holds: unpickling it runs a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("container", ["plain pickle", "torch zip", "torch legacy"])
def test_code_in_a_pickle_is_not_run(container: str, tmp_path: Path) -> None:
    file, target = tmp_path / "pytorch_model.bin", tmp_path / "owned"
    content = {"weight": Attack(target)}
    if container == "plain pickle":
        file.write_bytes(pickle.dumps(content))
        pickle.loads(file.read_bytes())  # the attack is real
        target.unlink()
    else:
        torch.save(content, file, _use_new_zipfile_serialization=container == "torch zip")
    with pytest.raises(
        CheckpointError, match=r"refused, .* contains code .* save its weights alone, .*: python -c \S+"
    ) as caught:
        read_tensors(file)
    assert not target.exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["m.bin", "m.pt", "m.pth"])
@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_torch_checkpoints(tmp_path: Path, name: str, modern: bool, wrapper: str | None) -> None:
    content = {"epoch": 3, "best": 0.7, wrapper: FEW} if wrapper else FEW
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=modern)
    tensors = read_tensors(tmp_path / name)
    assert list(tensors) == list(FEW) and all(torch.equal(tensors[key], FEW[key]) for key in FEW)


def saved(content: Any, file: Path) -> bytes:
    torch.save(content, file)
    return file.read_bytes()


def safetensors(file: Path) -> bytes:
    save_file(FEW, file)
    return file.read_bytes()


BROKEN: list[tuple[str, Callable[[Path], bytes], str]] = [
    ("m.safetensors", lambda f: safetensors(f)[:-10], "not a complete safetensors file ("),
    ("m.safetensors", lambda f: safetensors(f)[:40], "40 bytes); fetch it again."),
    ("m.safetensors", lambda f: b"", "0 bytes); fetch it again."),
    ("m.safetensors", lambda f: saved(FEW, f), "not a complete safetensors file ("),
    ("m.safetensors", lambda f: b"version https://git-lfs.github.com/spec/v1\n", "not a complete safetensors file ("),
    ("m.bin", lambda f: b"", "not a readable torch checkpoint ("),
    (
        "m.bin",
        lambda f: b"these are my weights\n",
        "not a readable torch checkpoint (pop from empty list); fetch it again.",
    ),
    ("m.bin", lambda f: saved(FEW, f)[:-100], "not a readable torch checkpoint ("),
    ("m.bin", safetensors, "it is not a plain torch checkpoint"),
    ("m.bin", lambda f: saved([1, 2], f), "expected a dictionary of tensors, found list."),
    ("m.bin", lambda f: saved({}, f), "expected a dictionary of tensors, found dict."),
    ("m.bin", lambda f: saved({"lr": 0.1, "a": torch.zeros(1)}, f), "expected a dictionary of tensors, found dict."),
    ("m.bin", lambda f: saved({"state_dict": {}}, f), "expected a dictionary of tensors, found dict."),
    ("m.bin", lambda f: saved(torch.zeros(3), f), "expected a dictionary of tensors, found Tensor."),
]


@pytest.mark.parametrize(("name", "make", "message"), BROKEN)
def test_unreadable_files(tmp_path: Path, name: str, make: Callable[[Path], bytes], message: str) -> None:
    file = tmp_path / name
    file.write_bytes(make(file))
    with pytest.raises(CheckpointError) as caught:
        read_tensors(file)
    assert str(caught.value).startswith(f"{file}: ") and message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.bin"])
def test_absent_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damage_is_an_error_of_ours_or_nothing(tmp_path: Path, kind: str) -> None:
    """torch raises IndexError, struct.error, AssertionError ... at files that were cut or have a wrong byte."""
    file = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.bin")
    if kind == "safetensors":
        save_file(FEW, file)
    else:
        torch.save(FEW, file, _use_new_zipfile_serialization=kind == "zip")
    whole, chance, refused = file.read_bytes(), random.Random(0), 0
    for attempt in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged if attempt % 2 else damaged[: chance.randrange(len(whole))])
        try:
            read_tensors(file)
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= 75  # every cut file, and more


# ---- tensors that are none of numbers side by side ----


def _nested() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        return torch.nested.nested_tensor([torch.zeros(3), torch.zeros(4)])


def _quantised() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to be replaced
        return torch.quantize_per_tensor(torch.zeros(5), 1.0, 0, torch.quint8)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: torch.zeros(5, device="meta"), "on the device meta, without values here"),
        (lambda: torch.zeros(5).to_sparse(), "sparse (torch.sparse_coo)"),
        (_nested, "nested"),
        (_quantised, "of torch.quint8"),
        (lambda: torch.zeros(5, dtype=torch.uint8).view(torch.bits8), "of torch.bits8"),
        (lambda: torch.zeros(5, dtype=torch.complex64), "of torch.complex64"),
        (lambda: torch.zeros(5, dtype=torch.float8_e4m3fn), "of torch.float8_e4m3fn"),
        (lambda: torch.zeros(1).expand(10**12), "1000000000000 elements in 4 bytes"),
    ],
    ids=["meta", "sparse", "nested", "quantised", "bits", "complex", "float8", "stride 0"],
)
def test_odd_tensors_are_refused_by_name(
    make: Callable[[], Tensor], said: str, model: MobileViTV2Classifier, tmp_path: Path
) -> None:
    torch.save({**model.state_dict(), HEAD: make()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(tmp_path / "x.pt"))
    assert f"x.pt: the tensor '{HEAD}' is {said}; accepted: dense tensors" in str(caught.value)


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(CheckpointError, match=r"found none|it is a pipe or a device"):
            load_checkpoint(str(weights))


# ---- small files that ask for all memory ----

DEMO = Path(mvit2.__file__).parent / "checkpoints" / "0.5"
HUGE = {"base_attn_unit_dims": [2048] * 3, "width_multiplier": 8, "n_attn_blocks": [64] * 3, "ffn_multiplier": 16}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (HUGE, "the tensors do not fit this network: "),  # each value is possible, together they are terabytes
        (
            {"id2label": None, "num_labels": 10**12},
            "num_labels is 1000000000000, accepted: an integer from 1 to 65",
        ),
        ({"id2label": None, "num_labels": 10**8}, "num_labels is 100000000, accepted: an integer from 1 to 65536."),
        ({"id2label": None, "num_labels": -1}, "num_labels is -1, accepted: an integer from 1 to 65536."),
    ],
    ids=["terabytes", "10^12 classes", "10^8 classes", "-1 classes"],
)
def test_a_configuration_that_asks_for_all_memory(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = json.loads((DEMO / "config.json").read_text())
    config = {k: v for k, v in {**config, **changes}.items() if v is not None and k != "label2id"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).symlink_to(DEMO / name)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(tmp_path))
    assert said in str(caught.value)


def test_a_head_of_more_classes_than_anything_has(model: MobileViTV2Classifier, tmp_path: Path) -> None:
    bias, weight = torch.zeros(65_537), torch.zeros(65_537, 1)
    torch.save({**model.state_dict(), HEAD: bias, "classifier.weight": weight}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="number of classes is 65537, accepted: at most 65536"):
        load_checkpoint(str(tmp_path / "x.pt"))


def test_labels_are_read_from_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(CheckpointError, match="cannot be read \\(it is a pipe or a device"):
        load_checkpoint("demo", "0.5", tmp_path / "labels.txt")
