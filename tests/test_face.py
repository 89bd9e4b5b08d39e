"""``import mvit2``: the names that it has, what they load, and that they do what the commands do."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

import mvit2
from mvit2.export.option import options_of
from mvit2.export.request import ExportRequest
from mvit2.network.mobilevit_config import SIZES
from mvit2.network.mobilevitv2_config import VARIANTS
from mvit2.runtime import Classifier

Run = Callable[..., subprocess.CompletedProcess[str]]
NAME = "mobilevitv2-0.125-insects"
TINY = {"width_multiplier": 0.125, "base_attn_unit_dims": [16] * 3, "n_attn_blocks": [1, 1, 1], "image_size": 64}
PREPROCESSOR = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}, "resample": 2}
HEAVY = {"torch", "tensorflow", "onnx", "transformers", "onnxruntime", "ai_edge_litert", "typer", "rich"}


# ---- the names ----


def test_every_name_is_there() -> None:
    assert len(mvit2.__all__) == len(set(mvit2.__all__)) == 14
    assert set(mvit2.__all__) <= set(dir(mvit2))
    for name in mvit2.__all__:
        value = getattr(mvit2, name)
        assert value is getattr(mvit2, name)
        assert name == "__version__" or value.__doc__


@pytest.mark.parametrize("name", ["exprt", "export_bundles", "__wrapped__"])
def test_no_other_name_is_there(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'mvit2' has no attribute '{name}'"):
        getattr(mvit2, name)


def test_every_error_can_be_caught_by_its_name() -> None:
    from mvit2 import errors

    classes = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert classes <= set(mvit2.__all__)


@pytest.mark.parametrize(
    ("code", "also"),
    [
        ("mvit2.__version__, mvit2.UsageError, dir(mvit2)", {"numpy", "PIL"}),
        ("mvit2.list_variants()", {"numpy", "PIL"}),
        ("mvit2.export_bundle, mvit2.load, mvit2.Bundle", set()),
    ],
)
def test_a_name_loads_nothing_heavy(code: str, also: set[str]) -> None:
    script = f"import sys, mvit2\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "mvit2" in loaded and not loaded & (HEAVY | also)


def test_variants() -> None:
    assert mvit2.list_variants() == (*VARIANTS.values(), *SIZES.values())


# ---- the arguments ----


def test_arguments_are_the_fields_of_the_request() -> None:
    signature = inspect.signature(mvit2.export_bundle)
    weights, *others = signature.parameters.values()
    assert (weights.name, weights.default, weights.kind) == ("weights", "auto", weights.POSITIONAL_OR_KEYWORD)
    assert {one.name for one in others} == {one.name for one in fields(ExportRequest)} - {"weights"} | {"progress"}
    assert all(one.kind is one.KEYWORD_ONLY for one in others)
    for name, option in options_of(ExportRequest).items():
        assert f"    {name}: {option.help}" in str(mvit2.export_bundle.__doc__)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantise": "int8"}, TypeError, "unexpected keyword argument 'quantise'"),
        ({"formats": "onx"}, mvit2.UsageError, "Did you mean 'onnx'?"),
        ({"weights": "no/such/folder"}, mvit2.UsageError, "is no file, no folder and no hub id"),
        ({"weights": 5}, mvit2.UsageError, "weights is a int"),
        ({"weights": torch.nn.Linear(2, 2)}, mvit2.CheckpointError, "the Linear in memory: not a MobileViTV2"),
        ({"weights": "demo", "variant": "1.1"}, mvit2.UsageError, "did you mean 1.0 or 1.25?"),
        ({"weights": "demo", "variant": "0.5", "labels": "none.txt"}, mvit2.CheckpointError, "none.txt cannot be read"),
    ],
)
def test_refused(options: Any, error: type[Exception], message: str, capfd: Any) -> None:
    with pytest.raises(error) as refused:
        mvit2.export_bundle(**options)
    assert message in str(refused.value) and capfd.readouterr() == ("", "")


# ---- a bundle ----


@pytest.fixture(scope="module")
def module() -> Any:
    """A network of transformers with lively weights, as somebody who trains has it."""
    import transformers

    torch.manual_seed(7)
    config = transformers.MobileViTV2Config(id2label={0: "ant", 1: "bee", 2: "cat"}, **TINY)
    model = transformers.MobileViTV2ForImageClassification(config)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if name.endswith("_var") else torch.randn(value.shape) * 0.3)
    return model.train()


class Heard:
    """A Listener that writes down what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.warnings: list[str] = []

    def step(self, title: str) -> AbstractContextManager[None]:
        self.steps.append(title)
        return nullcontext()

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        pass


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def bundle(module: Any, heard: Heard, tmp_path_factory: pytest.TempPathFactory) -> mvit2.Bundle:
    output = tmp_path_factory.mktemp("python")
    options: Any = {"formats": ["onnx"], "quantize": ["none"], "report": False}
    return mvit2.export_bundle(module, name=NAME, preprocess=PREPROCESSOR, output=output, progress=heard, **options)


@pytest.mark.exports
def test_a_module_in_memory_gives_the_files_that_its_folder_gives(
    module: Any, bundle: mvit2.Bundle, run: Run, tmp_path: Path
) -> None:
    assert module.training  # and so it stayed
    module.save_pretrained(tmp_path / NAME)
    (tmp_path / NAME / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    words = ("--format", "onnx", "--quantize", "none", "--no-report", "--output", tmp_path / "command", "--json")
    done = run("export", "--weights", tmp_path / NAME, *words)
    assert done.returncode == 0, done.stderr
    command = Path(json.loads(done.stdout)["bundle"])
    assert bundle.path.name == command.name == NAME
    ours, theirs = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (bundle.path, command)
    )
    assert ours == theirs and "model_float32.onnx" in ours


def test_steps_are_heard(bundle: mvit2.Bundle, heard: Heard) -> None:
    assert [title.split()[0] for title in heard.steps] == ["load", "torch:", "ONNX:", "ONNX:", "bundle:"]
    assert heard.steps[0] == "load weights of the MobileViTV2ForImageClassification in memory"
    (said,) = bundle.warnings
    assert said.startswith("the parity proves NOTHING") and heard.warnings == [said]  # as nobody trained the module


def test_a_bundle_is_the_folder(bundle: mvit2.Bundle) -> None:
    opened = mvit2.Bundle.open(str(bundle.path))
    assert (opened.path, opened.manifest, opened.warnings) == (bundle.path, bundle.manifest, ())
    assert bundle.check().passed
    with pytest.raises(mvit2.BundleError):
        mvit2.Bundle.open(bundle.path.parent)


def test_a_bundle_predicts(bundle: mvit2.Bundle, photos: Path) -> None:
    models = mvit2.load(bundle.path), mvit2.load(str(bundle.path), "model_float32.onnx", threads=1), bundle.load()
    answers = []
    for model in models:
        assert isinstance(model, Classifier)
        answers.append(model.predict(photos / "cat.jpg"))
    assert len(answers[0]) == 3 and answers[0] == answers[1] == answers[2]


def test_a_bundle_is_benched(bundle: mvit2.Bundle) -> None:
    trial = bundle.bench(runs=6, warmup=0)
    (measured,) = trial.results
    assert (trial.threads, measured.turns, measured.engine) == (1, 6, "onnxruntime") and measured.inference.median > 0
    for options in ({"threads": 0}, {"runs": 0}):
        with pytest.raises(mvit2.UsageError):
            bundle.bench(**options)
    with pytest.raises(mvit2.BundleError, match=r"Did you mean 'model_float32\.onnx'"):
        bundle.bench(["model_float23.onnx"])


def test_a_bundle_is_evaluated(bundle: mvit2.Bundle, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{p},cat\n" for p in sorted(photos.glob("*.jpg"))))
    found = bundle.evaluate(tmp_path / "labels.csv", processes=1)
    assert found.images == len(list(photos.glob("*.jpg")))
    assert [one.artifact for one in found.artifacts] == ["model_float32.onnx"]
    with pytest.raises(mvit2.UsageError, match="is not for an image classifier"):
        bundle.evaluate(tmp_path / "labels.csv", split="val")


def test_warnings_are_heard_and_kept(module: Any, tmp_path: Path, capfd: Any) -> None:
    lines: list[str] = []
    options: Any = {"formats": ("onnx",), "output": str(tmp_path), "report": False}
    made = mvit2.export_bundle(module, **options, progress=lines.append)
    assert lines[0].startswith("load weights")
    assumed, same = made.warnings
    assert "ASSUMED: the MobileViTV2ForImageClassification in memory does not say" in assumed
    assert same.startswith("the parity proves NOTHING")
    assert [line for line in lines if line.startswith("WARNING: ")] == [f"WARNING: {assumed}", f"WARNING: {same}"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(mvit2.OutputError):
        mvit2.export_bundle(module, **options)
