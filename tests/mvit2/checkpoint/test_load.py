"""Checkpoints opened: as transformers wrote them, the bundled one, damaged, foreign, malicious ones."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.checkpoint.locate import locate
from mvit2.errors import CheckpointError
from mvit2.image.preprocess_spec import PreprocessSpec

SAFE, PICKLE, CONFIG, PREPROCESSOR = "model.safetensors", "pytorch_model.bin", "config.json", "preprocessor_config.json"
TINY = {"width_multiplier": 0.125, "base_attn_unit_dims": [16] * 3, "n_attn_blocks": [1, 1, 1], "image_size": 64}


def said(opened: Checkpoint) -> tuple[str, ...]:
    """Its warnings but the one that the preprocessing is assumed, which a folder without any must give."""
    (assumed,) = opened.assumptions
    assert "ASSUMED" in assumed and "mvit2 audit" in assumed and opened.preprocess.in_words() in assumed
    return tuple(note for note in opened.warnings if note != assumed)


def transformers_folder(folder: Path, kind: str = "MobileViTV2ForImageClassification", **options: Any) -> Any:
    """A network of transformers with lively weights and statistics, saved by transformers itself."""
    import transformers

    torch.manual_seed(7)
    settings = {"id2label": {0: "ant", 1: "bee", 2: "cat"}, **TINY} if "V2" in kind else {}
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**settings)).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if name.endswith("_var") else torch.randn(value.shape) * 0.3)
    model.save_pretrained(folder, **options)
    return model


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("hf") / "mobilevitv2-0.1-insects"
    return folder, transformers_folder(folder)


@pytest.fixture
def folder(saved: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved[0], tmp_path / saved[0].name))


@pytest.fixture(scope="session")
def demo() -> Checkpoint:
    return load_checkpoint("demo", "0.5")


def changed(**fields: object) -> Callable[[Path], Any]:
    """Damage, or a change: fields of config.json."""
    return lambda folder: (folder / CONFIG).write_text(
        json.dumps({**json.loads((folder / CONFIG).read_text()), **fields})
    )


# ---- as transformers saves them ----


def test_a_folder_of_transformers_computes_the_same(saved: tuple[Path, Any]) -> None:
    folder, reference = saved
    opened = load_checkpoint(str(folder))
    picture = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, logits = reference(picture).logits, opened.model(picture)
    assert expected.std() > 0.1
    assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert (opened.name, opened.origin, opened.layout) == ("insects", "mobilevitv2-0.1-insects", "huggingface")
    assert (opened.variant, opened.config.labels, said(opened)) == ("0.125", ("ant", "bee", "cat"), ())
    assert not opened.model.training and {p.dtype for p in opened.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "wrapped"),
    [
        (SAFE, None),
        *((name, None) for name in (PICKLE, "best.pt", "best.pth", "best.bin", "BEST.PT")),
        *(("best.pt", key) for key in ("state_dict", "model_state_dict", "model")),
    ],
)
def test_containers(name: str, wrapped: str | None, saved: tuple[Path, Any], folder: Path) -> None:
    tensors = load_file(folder / SAFE)
    (folder / SAFE).unlink()
    if name == SAFE:
        save_file(tensors, folder / name)
    else:
        torch.save({wrapped: tensors, "epoch": 3} if wrapped else tensors, folder / name)
    assert load_checkpoint(str(folder)).sha256 == load_checkpoint(str(saved[0])).sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_float_types_become_float32(dtype: torch.dtype, folder: Path) -> None:
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in load_file(folder / SAFE).items()}
    save_file(tensors, folder / SAFE)
    for name, value in load_checkpoint(str(folder)).model.state_dict().items():
        assert torch.equal(value, tensors[name].to(value.dtype)), name


@pytest.mark.parametrize("size", [384, [320, 256]])
def test_the_size_is_that_of_the_config(size: Any, folder: Path) -> None:
    changed(image_size=size)(folder)
    pair = (size, size) if isinstance(size, int) else tuple(size)
    opened = load_checkpoint(str(folder))
    assert opened.config.image_size == pair
    assert opened.preprocess == PreprocessSpec(pair, max(pair) + 32, resample="bilinear", channel_order="BGR")


def test_the_preprocessor_config_decides(folder: Path) -> None:
    content = {
        "size": {"height": 96, "width": 64},
        "resample": 3,
        "do_center_crop": False,
        "do_flip_channel_order": False,
    }
    (folder / PREPROCESSOR).write_text(json.dumps(content))
    expected = PreprocessSpec((96, 64), None, (96, 64), resample="bicubic", channel_order="RGB")
    assert load_checkpoint(str(folder)).preprocess == expected


# ---- what comes with the package, what was never trained ----


def test_the_bundled_checkpoint(demo: Checkpoint) -> None:
    source = locate("demo", "0.5")
    assert source.weights is not None and source.weights.stat().st_size < 12_000_000
    kept = load_file(source.weights)
    assert {t.dtype for n, t in kept.items() if t.is_floating_point()} == {torch.float16}
    for name, value in demo.model.state_dict().items():
        assert torch.equal(value, kept[name].to(value.dtype)) if name in kept else name.endswith("_tracked"), name
    assert (demo.variant, demo.name, demo.origin, demo.warnings) == ("0.5", "demo20", "bundled", ())
    assert len(set(demo.config.labels)) == 20 and "goldfish" in demo.config.labels
    assert demo.preprocess == PreprocessSpec((128, 128), 144, None, "bilinear", "BGR", 0.00392156862745098)


def test_untrained_is_the_same_every_time() -> None:
    first = load_checkpoint("untrained", "0.5")
    torch.manual_seed(99)
    torch.rand(5)
    second = load_checkpoint("untrained", "0.50")
    assert (first.sha256, first.variant) == (second.sha256, second.variant)
    assert (first.name, first.preprocess.image_size, first.config.num_labels) == ("untrained", (256, 256), 1000)
    assert "never trained" in first.origin and len(first.warnings) == 1 and "scores mean nothing" in first.warnings[0]
    parameters = sum(p.numel() for p in first.model.parameters())
    assert parameters == 1_370_593  # table 1 of arXiv 2206.02680, as published on the hub
    with torch.no_grad():
        logits = first.model(torch.rand(2, 3, 64, 64))
    assert torch.isfinite(logits).all() and logits.std() > 1e-3 and not torch.equal(logits[0], logits[1])


# ---- refused ----


def other_network(kind: str, config: bool = True) -> Callable[[Path], None]:
    def replace_folder(folder: Path) -> None:
        shutil.rmtree(folder)
        transformers_folder(folder, kind)
        if not config:
            (folder / CONFIG).unlink()

    return replace_folder


def called(model_type: str) -> Callable[[Path], None]:
    """A network of version 1 whose config.json says another family."""

    def change_folder(folder: Path) -> None:
        other_network("MobileViTForImageClassification")(folder)
        changed(model_type=model_type)(folder)

    return change_folder


def retensored_version_1(folder: Path) -> None:
    other_network("MobileViTForImageClassification")(folder)
    retensored(headless, False)(folder)


def retensored(change: Callable[[dict[str, Tensor]], Any], keep_config: bool = True) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        tensors = load_file(folder / SAFE)
        change(tensors)
        save_file(tensors, folder / SAFE)
        if not keep_config:
            (folder / CONFIG).unlink()

    return change_file


def text(file: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_text(content)


def headless(tensors: dict[str, Tensor]) -> None:
    for name in ("classifier.weight", "classifier.bias"):
        del tensors[name]


STEM = "mobilevitv2.conv_stem.convolution.weight"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "version 1 called 2": (called("mobilevitv2"), r"the tensors do not fit this network: .*mobilevit\.conv_1x1_exp"),
    "version 1, no head": (retensored_version_1, r"no classifier among its tensors"),
    "resnet": (changed(model_type="resnet"), r"model_type is 'resnet', expected 'mobilevitv2'"),
    "backbone": (
        other_network("MobileViTV2Model"),
        r"not a MobileViTV2 or MobileViT classifier or segmenter: none of the stems",
    ),
    "no head": (retensored(headless), r"2 missing \(classifier\.weight, classifier\.bias\)"),
    "no head, no config": (retensored(headless, False), r"no classifier among its tensors"),
    "scalar stem": (retensored(lambda t: t.update({STEM: torch.ones(())}), False), r"a stem of \(\) and a head of"),
    "no channels": (retensored(lambda t: t.update({STEM: torch.ones(0, 3, 3, 3)}), False), r"a stem of \(0, 3, 3, 3\)"),
    "flat head": (retensored(lambda t: t.update({"classifier.bias": torch.ones(())}), False), r"a head of \(\) are"),
    "nan": (retensored(lambda t: t["classifier.bias"].fill_(float("nan"))), r"1 with NaN or Inf \(classifier\.bias\)"),
    "more classes": (changed(id2label={str(i): str(i) for i in range(9)}), r"head has 3 classes, config\.json says 9"),
    "gap": (changed(id2label={"0": "a", "1": "b", "3": "d"}), r"id2label .*without \[2\]"),
    "no index": (changed(id2label={"a": "b"}), r"id2label .*class indices"),
    "another width": (changed(width_multiplier=0.5), r"the tensors do not fit this network: .*misshapen"),
    "unknown field": (changed(width_multiplyer=3), r"field 'width_multiplyer' .* Did you mean 'width_multiplier'"),
    "timm's config": (changed(pretrained_cfg={}), r"architecture is 'None', expected timm's mobilevitv2_"),
    "no JSON": (text(CONFIG, "{'a': 1}"), r"config\.json: not readable JSON"),
    "empty": (text(CONFIG, ""), r"config\.json: not readable JSON"),
    "a list": (text(CONFIG, "[1]"), r"config\.json: expected an object, found list"),
    "null": (text(CONFIG, "null"), r"config\.json: expected an object, found NoneType"),
    "deep": (text(CONFIG, '{"a":' * 200_000), r"config\.json: not readable JSON"),
    "long number": (text(CONFIG, '{"a":' + "9" * 5_000 + "}"), r"config\.json: not readable JSON"),
    "infinite": (changed(width_multiplier=float("inf")), r"width_multiplier is inf"),
    "latin-1": (lambda f: (f / CONFIG).write_bytes(b'{"a": "\xe9"}'), r"config\.json: not readable JSON"),
    "huge": (
        lambda f: (f / CONFIG).write_bytes(b" " * (1 + (16 << 20))),
        r"16777217 bytes, accepted are at most 16777216",
    ),
    "preprocessor key": (text(PREPROCESSOR, '{"do_grayscale": true}'), rf"{PREPROCESSOR}: do_grayscale = True"),
    "preprocessor list": (text(PREPROCESSOR, "[]"), rf"{PREPROCESSOR}: expected an object"),
    "cut": (lambda f: (f / SAFE).write_bytes((f / SAFE).read_bytes()[:-9]), r"not a complete safetensors file .*again"),
    "empty weights": (lambda f: (f / SAFE).write_bytes(b""), r"not a complete safetensors file .*0 bytes"),
    "a page": (text(SAFE, "<html>not found</html>"), r"not a complete safetensors file"),
    "a pointer": (text(SAFE, "version https://git-lfs.github.com/spec/v1\n"), r"not a complete safetensors file"),
}


@pytest.mark.parametrize(("damage", "wrong"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(damage: Callable[[Path], Any], wrong: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=wrong) as caught:
        load_checkpoint(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_real_sharded_checkpoint_is_read_by_its_index(saved: tuple[Path, Any], tmp_path: Path) -> None:
    transformers_folder(tmp_path / "net", max_shard_size="50KB")
    assert (tmp_path / "net" / "model.safetensors.index.json").is_file()
    assert load_checkpoint(str(tmp_path / "net")).sha256 == load_checkpoint(str(saved[0])).sha256
    (tmp_path / "net" / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match=r"found model-00001-of-.*needs its model\.safetensors\.index\.json"):
        load_checkpoint(str(tmp_path / "net"))


def test_a_pickle_with_code_is_refused_unrun(folder: Path) -> None:
    marker = folder / "it ran"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    (folder / SAFE).unlink()
    for write in (lambda f: torch.save({"w": Malicious()}, f), lambda f: f.write_bytes(pickle.dumps(Malicious(), 2))):
        write(folder / PICKLE)
        with pytest.raises(CheckpointError, match=r"refused, .* save its weights alone, .*: python -c \S+"):
            load_checkpoint(str(folder))
    assert not marker.exists()
    pickle.loads((folder / PICKLE).read_bytes())
    assert marker.exists()  # it would have


# ---- --labels FILE ----


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"x\ny\nz\n", ("x", "y", "z")),
        (b"x\r\ny\r\nz", ("x", "y", "z")),
        ("\ufeffÄpfel\n  y\tt  \nz z\n".encode(), ("Äpfel", "y t", "z z")),
    ],
)
def test_labels(content: bytes, names: tuple[str, ...], folder: Path) -> None:
    (folder / "names.txt").write_bytes(content)
    opened = load_checkpoint(str(folder), labels=folder / "names.txt")
    assert (opened.config.labels, said(opened)) == (names, ())


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"x\ny\n", r"has 2 lines, the network 3 classes; give one line each"),
        (b"", r"has 0 lines, the network 3 classes"),
        (b"x\ny\nz\n\n", r"has 4 lines, the network 3 classes"),
        (b"\xff\xfex\n", r"cannot be read \('utf-8"),
        (None, r"cannot be read \(.*No such file"),
    ],
)
@pytest.mark.parametrize("weights", ["", "untrained"])
def test_labels_that_do_not_fit(content: bytes | None, wrong: str, weights: str, folder: Path) -> None:
    if content is not None:
        (folder / "names.txt").write_bytes(content)
    wrong = wrong.replace("3 classes", "1000 classes") if weights else wrong
    with pytest.raises(CheckpointError, match=rf"^--labels .*names\.txt {wrong}"):
        load_checkpoint(weights or str(folder), "0.5" if weights else None, folder / "names.txt")
