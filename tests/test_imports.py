"""Who may import whom, read from every source file; and what a process has really loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .tree import ROOT, SOURCES, importable, name_of

STAGES = ("export", "quantize", "runtime")
HEAVY = {"torch", "tensorflow", "onnx", "transformers", "onnx2tf", "onnxsim", "safetensors", "huggingface_hub", "jax"}
ENGINES = {"onnxruntime", "ai_edge_litert"}


# ---- the direction of imports, read from the source ----


@dataclass(frozen=True)
class Import:
    file: str
    module: str  # absolute
    relative: bool
    at_module_level: bool  # runs when the file is imported

    @property
    def stage(self) -> str:
        """The folder that an import of ours reaches."""
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 and parts[1] in STAGES else "mvit2"

    @property
    def ours(self) -> bool:
        return self.module.split(".")[0] == "mvit2"


def _absolute(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """The modules that a statement imports; of ``from a import b`` also a.b, which may be one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = ".".join([package] * bool(node.level) + [node.module] * bool(node.module))
    assert node.level <= 1, "no import reaches out of its folder by dots"
    yield base
    yield from (f"{base}.{alias.name}" for alias in node.names)


def _imports(path: Path) -> Iterator[Import]:
    package = importable(path.parent)
    lazy: set[ast.AST] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            lazy.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            for module in _absolute(node, package):
                yield Import(name_of(path), module, relative, node not in lazy)


IMPORTS = [found for path in SOURCES for found in _imports(path)]
# The rooms of export/ that make and read graphs stand on mvit2/ alone; the others conduct, and see every stage.
GRAPHS = {
    f"export/{name}.py"
    for name in (
        *("fold", "network", "pyramid", "to_onnx", "to_ort", "to_tflite", "ort_worker", "onnx2tf_worker", "onnx_facts"),
        *("float16", "rewrite", "metadata", "metadata_schema", "output", "request"),
    )
}
ENTRY_POINT = "mvit2/__main__.py"


def test_the_reader_reads() -> None:
    """Else every test below would pass on nothing."""
    seen = {(found.file, found.module, found.at_module_level) for found in IMPORTS}
    assert ("export/pipeline.py", "mvit2.runtime.golden", True) in seen
    assert ("export/pipeline.py", "torch", False) in seen
    assert ("mvit2/model.py", "torch", True) in seen
    assert ("runtime/check.py", "mvit2.runtime.outputs", True) in seen
    assert ("mvit2/__main__.py", "mvit2.export.entry", False) in seen
    assert len(SOURCES) > 25 and len(IMPORTS) > 200


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_direction(path: Path) -> None:
    """Stages stand on mvit2/ and never import each other; mvit2/ imports no stage."""
    name = name_of(path)
    folder = name.split("/")[0]
    conducts = folder == "export" and name not in GRAPHS
    allowed = {folder, "mvit2"} | (set(STAGES) if conducts else {"export"} if name == ENTRY_POINT else set())
    reached = {found.stage for found in IMPORTS if found.file == name and found.ours}
    assert reached <= allowed


MODULES = {importable(path): path for path in SOURCES}


def _in_its_folder(found: Import) -> bool:
    """Whether it reaches a neighbour: a file beside the one that imports, or a name in such a file."""
    target = MODULES.get(found.module) or MODULES.get(found.module.rpartition(".")[0])
    return target is not None and target.parent == (ROOT / found.file).parent


def test_relative_inside_a_folder_absolute_across() -> None:
    wrong = [
        found
        for found in IMPORTS
        if found.ours
        and found.module not in ("mvit2", "mvit2.__version__")  # the package itself: its version, its folder
        and found.relative != _in_its_folder(found)
    ]
    assert wrong == []


AT_MODULE_LEVEL = {
    "torch": {
        *("mvit2/model.py", "mvit2/segmentation.py", "mvit2/initialise.py", "mvit2/weights.py"),
        *("export/answers.py", "export/fold.py", "export/network.py", "export/pyramid.py", "export/to_onnx.py"),
        *("quantize/point.py", "quantize/simulate.py", "quantize/ranges.py", "quantize/bias.py", "quantize/search.py"),
    },
    "onnx": {"export/to_onnx.py", "export/to_tflite.py", "quantize/onnx_edit.py", "quantize/qdq.py"},
    "ai_edge_litert": {
        "quantize/tflite.py",
        "quantize/full_int8.py",
        "quantize/flatbuffer_edit.py",
        "quantize/tensor_ranges.py",
    },
    "onnxsim": {"export/to_onnx.py"},
    **{name: set() for name in ("tensorflow", "onnx2tf", "transformers", "onnxruntime", "jax")},
    "typer": {
        "export/cli.py",
        "export/cli_audit.py",
        "export/cli_bench.py",
        "export/options.py",
        "export/entry.py",
    },
    "rich": {"export/console.py"},
}


@pytest.mark.parametrize("library", AT_MODULE_LEVEL)
def test_heavy_libraries_are_imported_where_they_are_needed(library: str) -> None:
    files = {f.file for f in IMPORTS if f.module.split(".")[0] == library and f.at_module_level}
    assert files == AT_MODULE_LEVEL[library]


# Ranges are learned in torch; what writes files knows none, and only the writer of ONNX knows onnx.
KNOWS = {
    **{f"quantize/{name}.py": {"torch"} for name in ("point", "simulate", "ranges", "bias", "search")},
    **{f"quantize/{name}.py": {"onnx"} for name in ("onnx_edit", "qdq")},
    "runtime/product.py": {"onnx"},  # where it is there
}


SHIPPED = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("runtime", "quantize")]


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_a_stage_that_ships_knows_no_torch(path: Path) -> None:
    name = name_of(path)
    known = {found.module.split(".")[0] for found in IMPORTS if found.file == name}
    heavy = {"torch", "tensorflow", "onnx", "transformers", "safetensors", "typer", "rich"}
    assert known & heavy == KNOWS.get(name, set())


# ---- what a process has loaded ----


def _loaded(code: str, *arguments: object, env: dict[str, str] | None = None) -> set[str]:
    """Top-level modules in ``sys.modules`` after ``code``."""
    script = (
        "import sys\ntry:\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "except SystemExit as done:\n    assert not done.code, done.code\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())


_PREDICT = """
from mvit2.runtime import open_bundle
assert len(open_bundle(sys.argv[1], sys.argv[2]).predict(sys.argv[3])) == 5
"""
_CHECK = """
from mvit2.runtime import check_bundle
assert check_bundle(sys.argv[1]).passed
"""


def test_importing_mvit2_loads_nothing() -> None:
    assert not _loaded("import mvit2") & {*HEAVY, *ENGINES, "numpy", "PIL", "typer", "rich"}


def test_importing_the_runtime_loads_no_engine() -> None:
    loaded = _loaded("import mvit2.runtime")
    assert {"numpy", "PIL"} <= loaded
    assert not loaded & {*HEAVY, *ENGINES, "typer", "rich"}


@pytest.mark.parametrize("main", ["main", "main_export"])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing_heavy(main: str, option: str) -> None:
    loaded = _loaded(f"sys.argv = ['mvit2', {option!r}]\nfrom mvit2.__main__ import {main}\n{main}()")
    assert "typer" in loaded
    assert not loaded & {*HEAVY, *ENGINES, "numpy", "PIL"}


@pytest.mark.parametrize(
    ("artifact", "engine"), [("model_float32.onnx", "onnxruntime"), ("model_float16.tflite", "ai_edge_litert")]
)
def test_a_prediction_loads_its_engine_only(artifact: str, engine: str, demo_bundle: Path, photos: Path) -> None:
    loaded = _loaded(_PREDICT, demo_bundle, artifact, photos / "cat.jpg")
    assert loaded & {*HEAVY, *ENGINES} == {engine}


def test_a_check_loads_the_engines_only(demo_bundle: Path) -> None:
    assert _loaded(_CHECK, demo_bundle) & {*HEAVY, *ENGINES} == ENGINES


@pytest.mark.parametrize("command", ["predict", "check", "info"])
def test_commands_that_need_no_torch_load_none(command: str, demo_bundle: Path, photos: Path) -> None:
    arguments = [command, str(demo_bundle), *([str(photos / "cat.jpg")] if command == "predict" else [])]
    loaded = _loaded(f"sys.argv = ['mvit2', *{arguments}]\nfrom mvit2.__main__ import main\nmain()")
    assert not loaded & HEAVY
