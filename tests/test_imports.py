"""Who may import whom, read from every source file; and what a process has really loaded."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from .support.tree import FOLDERS, ROOT, SOURCES, importable, name_of

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
# Where somebody enters: the command line, and the names of ``import mvit2``. They know the stages, lazily.
ENTRANCES = {"mvit2/__main__.py": {"export"}, "mvit2/__init__.py": {"export", "runtime"}}
# What makes and reads graphs, and what is asked of an export, stand on mvit2/ alone; the rest of export/ conducts.
ON_THE_GROUND = (
    "export/convert/*",
    *(f"export/{name}.py" for name in ("request", "export_options", "parsers", "option", "atomic")),
)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def test_the_reader_reads() -> None:
    """Else every test below would pass on nothing."""
    seen = {(found.file, found.module, found.at_module_level) for found in IMPORTS}
    assert ("export/steps/manifest.py", "mvit2.runtime.verify.golden", True) in seen
    assert ("export/steps/reference.py", "torch", False) in seen
    assert ("mvit2/network/mobilevitv2.py", "torch", True) in seen
    assert ("runtime/verify/check.py", "mvit2.runtime.tasks.outputs", True) in seen
    assert ("mvit2/__main__.py", "mvit2.export.cli.main", False) in seen
    assert len(SOURCES) > 25 and len(IMPORTS) > 200


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_direction(path: Path) -> None:
    """Stages stand on mvit2/ and never import each other; mvit2/ imports no stage."""
    name = name_of(path)
    folder = name.split("/")[0]
    conducts = folder == "export" and not _matches(name, ON_THE_GROUND)
    allowed = {folder, "mvit2"} | (set(STAGES) if conducts else ENTRANCES.get(name, set()))
    reached = {found.stage for found in IMPORTS if found.file == name and found.ours}
    assert reached <= allowed


def test_what_makes_graphs_stands_on_the_ground_alone() -> None:
    """export/convert/ sees mvit2/ and itself, no other room of export/."""
    files = {found.file for found in IMPORTS if found.file.startswith("export/convert/")}
    assert len(files) > 10
    rooms = [f for f in IMPORTS if f.file in files and f.stage == "export"]
    assert [f for f in rooms if not f"{f.module}.".startswith("mvit2.export.convert.")] == []


MODULES = {importable(path): path for path in SOURCES}


def _in_its_folder(found: Import) -> bool:
    """Whether it reaches a neighbour: a file beside the one that imports, or a name in such a file."""
    target = MODULES.get(found.module) or MODULES.get(found.module.rpartition(".")[0])
    return target is not None and target.parent == (ROOT / found.file).parent


def test_the_entrances_import_stages_lazily() -> None:
    found = [found for found in IMPORTS if found.file in ENTRANCES and found.stage != "mvit2"]
    assert {one.file for one in found} == set(ENTRANCES)
    assert [one for one in found if one.at_module_level] == []


def test_relative_inside_a_folder_absolute_across() -> None:
    wrong = [
        found
        for found in IMPORTS
        if found.ours
        and found.module not in ("mvit2", "mvit2.__version__")  # the package itself: its version, its folder
        and found.relative != _in_its_folder(found)
    ]
    assert wrong == []


# ---- circles, and how much a folder holds ----


def _graph() -> dict[str, set[str]]:
    """File -> the files that it imports, at module level, in a function, or for its types only."""
    graph: dict[str, set[str]] = {name_of(path): set() for path in SOURCES}
    for found in IMPORTS:
        target = MODULES.get(found.module) or MODULES.get(found.module.rpartition(".")[0])
        if target is not None:
            graph[found.file].add(name_of(target))
    return graph


def _circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """For each file on a circle, the files that it reaches and that reach it."""
    reached = {file: _reach(graph, file) for file in graph}
    return [{other for other in reached[file] if file in reached[other]} for file in graph if file in reached[file]]


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for file in graph[waiting.pop()] - seen:
            seen.add(file)
            waiting.append(file)
    return seen


def test_circles_are_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}, {"b", "c"}]


def test_no_circle_of_imports() -> None:
    """Not even one for types only: what two files need of each other is a third one."""
    assert _circles(_graph()) == []


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_no_folder_holds_more_than_a_reader_takes_in(folder: str) -> None:
    counts = Counter(name_of(path.parent) for path in (ROOT / folder).rglob("*.py"))
    assert {name: count for name, count in counts.items() if count > 20} == {}


# ---- heavy libraries ----

# Where torch is at home; it may be imported inside of functions elsewhere, but never in what ships.
TORCH = (
    "mvit2/network/*",
    *(f"mvit2/checkpoint/{name}.py" for name in ("tensors", "pickles", "weight_sets")),
    "quantize/learn/*",
    *(
        f"export/convert/{name}.py"
        for name in ("fold*", "contract", "block_costs", "half_precision", "to_onnx", "to_coreml")
    ),
    "export/convert/to_executorch.py",
)
AT_MODULE_LEVEL = {
    "onnx": {
        "export/convert/onnx_input.py",
        "export/convert/to_onnx.py",
        "export/convert/to_tflite.py",
        "quantize/write/onnx_graph.py",
        "quantize/write/onnx_norms.py",
        "quantize/write/onnx_qdq.py",
    },
    "ai_edge_litert": {
        "quantize/write/tflite.py",
        "quantize/write/tflite_full_int8.py",
        "quantize/write/tflite_graph.py",
        "quantize/write/tflite_means.py",
        "quantize/write/tflite_ranges.py",
    },
    "onnxsim": {"export/convert/to_onnx.py"},
    **{name: set() for name in ("tensorflow", "onnx2tf", "transformers", "onnxruntime", "jax")},
}


def _importers(library: str, at_module_level: bool = False) -> set[str]:
    return {
        found.file
        for found in IMPORTS
        if found.module.split(".")[0] == library and (found.at_module_level or not at_module_level)
    }


def test_torch_is_imported_where_it_is_at_home() -> None:
    importers = _importers("torch", at_module_level=True)
    assert {
        "mvit2/network/mobilevitv2.py",
        "quantize/learn/simulate.py",
        "export/convert/fold/parts.py",
    } <= importers
    assert {name for name in importers if not _matches(name, TORCH)} == set()


@pytest.mark.parametrize("library", AT_MODULE_LEVEL)
def test_heavy_libraries_are_imported_where_they_are_needed(library: str) -> None:
    assert _importers(library, at_module_level=True) == AT_MODULE_LEVEL[library]


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_only_the_command_line_knows_its_libraries(library: str) -> None:
    importers = _importers(library)
    assert importers and {name for name in importers if not name.startswith("export/cli/")} == set()


# Ranges are learned in torch; what writes files knows none, and only the writers of ONNX know onnx.
KNOWS = {
    "quantize/learn/*": {"torch"},
    "quantize/write/onnx_*": {"onnx"},
    "runtime/bench/gemm_peak.py": {"onnx"},  # where it is there
}
SHIPPED = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("runtime", "quantize")]


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_a_stage_that_ships_knows_no_torch(path: Path) -> None:
    name = name_of(path)
    known = {found.module.split(".")[0] for found in IMPORTS if found.file == name}
    heavy = {"torch", "tensorflow", "onnx", "transformers", "safetensors", "typer", "rich"}
    allowed = {library for pattern, some in KNOWS.items() if fnmatch(name, pattern) for library in some}
    assert known & heavy <= allowed


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


@pytest.mark.timing
def test_importing_mvit2_takes_no_time() -> None:
    """In microseconds, by Python's own watch; the best of three, for others may be at work here."""
    command = [sys.executable, "-X", "importtime", "-c", "import mvit2"]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stderr for _ in range(3)]
    lines = [line for text in runs for line in text.splitlines() if line.rpartition("|")[2].strip() == "mvit2"]
    assert len(lines) == 3
    assert min(int(line.split("|")[1]) for line in lines) < 150_000


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


# ---- one way to do a thing ----

ONE_WAY = [
    # what may stand in the source once: the call, and the files that hold it
    (r"ort\.InferenceSession\(|import InferenceSession", {"runtime/engines/onnx_runtime.py"}),
    # quantize/ stands on the ground alone, and reads the tensors between the operators, which no engine of ours shows
    (r"\bInterpreter\(", {"runtime/engines/litert.py", "quantize/write/tflite_ranges.py"}),
    # esbuild is no module of ours
    (r"subprocess\.(run|Popen|check_)", {"mvit2/worker_process.py", "export/apps/web_engines.py"}),
    (r"ORT_DISABLE_TELEMETRY", {"mvit2/telemetry.py"}),
    (r"os\.replace\(", {"mvit2/atomic_write.py"}),
    (r"math\.log10\(", {"mvit2/metrics/fidelity.py"}),
]


@pytest.mark.parametrize(("pattern", "files"), ONE_WAY, ids=[pattern for pattern, _ in ONE_WAY])
def test_there_is_one_way(pattern: str, files: set[str]) -> None:
    assert {name_of(path) for path in SOURCES if re.search(pattern, path.read_text(encoding="utf-8"))} == files
