"""The tree of errors is the one that is drawn, every promise of a message exists, and ``__all__`` is complete."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from mvit2 import errors
from mvit2.difference import Difference
from mvit2.errors import CheckFailed, MissingEngineError, Mvit2Error, did_you_mean
from mvit2.export.formats import FORMATS

from .support.tree import ROOT, SOURCES, importable, name_of

EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Mvit2Error)]


def _module(path: Path) -> ModuleType:
    return importlib.import_module(importable(path))


# ---- the tree ----


def test_the_drawing_is_the_tree() -> None:
    """Indentation by four characters a level, as `tree` draws it."""
    drawn: list[tuple[str, str, int]] = []
    parents = ["Exception"]
    for indent, name, code in re.findall(r"^    ([│├└─ ]*)(\w+) +exit (\d)  ", str(errors.__doc__), re.MULTILINE):
        level = len(indent) // 4
        drawn.append((name, parents[level], int(code)))
        parents[level + 1 :] = [name]
    real = [(c.__name__, c.__base__.__name__, c.exit_code) for c in CLASSES if c.__base__]
    assert sorted(drawn) == sorted(real)
    assert len(drawn) == 9


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not MissingEngineError])
def test_an_error_survives_the_way_out_of_a_worker(kind: type[Mvit2Error]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what was wrong")))
    assert (type(copy), str(copy)) == (kind, "what was wrong")


def test_what_errors_carry_survives_it_too() -> None:
    difference = Difference("x", 1, 0.5, 0.5, 0.0, 1e-4)
    assert pickle.loads(pickle.dumps(CheckFailed("no", (difference,)))).differences == (difference,)
    missing = pickle.loads(pickle.dumps(MissingEngineError("onnxruntime", "ort")))
    assert (missing.library, missing.extra) == ("onnxruntime", "ort")
    assert str(missing) == "onnxruntime is not installed; install it with: pip install 'mvit2[ort]'"


# ---- what a message tells to install exists ----


OF_ROWS = {"export/pipeline.py"}  # asks the rows of the formats


def _missing_engines() -> list[tuple[str, str]]:
    """(library, extra) of every MissingEngineError that the source raises with literals, or with a format's extra."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingEngineError":
                library, extra = (getattr(argument, "value", None) for argument in node.args)
                assert isinstance(extra, str) or name_of(path) in OF_ROWS, f"{path}: the extra is no literal"
                found += [(str(library), str(extra))] if library else []
    return found


def test_the_named_extra_brings_the_library() -> None:
    assert {("onnxruntime", "ort"), ("ai-edge-litert", "litert")} <= set(_missing_engines())
    for library, extra in _missing_engines():
        assert any(re.match(rf"{library}\b", requirement) for requirement in EXTRAS[extra]), (library, extra)


def test_every_extra_that_a_message_names_exists() -> None:
    named = {extra for path in SOURCES for extra in re.findall(r"mvit2\[(\w+)\]", path.read_text(encoding="utf-8"))}
    assert {"ort", "litert", "cli"} <= named <= set(EXTRAS)
    assert {row.extra for row in FORMATS.values()} <= set(EXTRAS)


# ---- suggestions ----


@pytest.mark.parametrize(
    ("received", "accepted", "expected"),
    [
        ("tflit", ("onnx", "tflite"), " Did you mean 'tflite'?"),
        ("TFLite", ("onnx", "tflite"), " Did you mean 'tflite'?"),
        ("rgb", ("RGB",), " Did you mean 'RGB'?"),
        ("model_float.tflite", ("model_float32.tflite",), " Did you mean 'model_float32.tflite'?"),
        ("abd", ("abc", "abe", "xyz"), " Did you mean 'abe' or 'abc'?"),
        ("banana", ("onnx", "tflite"), ""),
        ("", ("onnx", "tflite"), ""),
        ("onnx", (), ""),
    ],
)
def test_did_you_mean(received: str, accepted: tuple[str, ...], expected: str) -> None:
    assert did_you_mean(received, accepted) == expected


# ---- __all__ ----

# Public names that are no interface: blocks of the network, steps that tests call.
SHORTER = {"mvit2/network/mobilevit.py", "mvit2/network/mobilevitv2.py", "export/convert/onnx2tf_worker.py"}
LISTED = [path for path in SOURCES if "__all__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", LISTED, ids=name_of)
def test_all_is_complete(path: Path) -> None:
    module = _module(path)
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)
    if name_of(path) not in SHORTER:
        assert defined <= set(module.__all__)


def test_every_module_but_entry_points_has_all() -> None:
    without = {name_of(path) for path in SOURCES if path not in LISTED and path.name != "__init__.py"}
    assert without <= {"mvit2/__main__.py", "export/convert/ort_worker.py"}
