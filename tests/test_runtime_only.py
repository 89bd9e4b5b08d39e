"""What `pip install 'mvit2[litert]'` or `'mvit2[ort]'` gives: the wheel and what that extra names, and nothing else.

pip would need a network for it. Instead, a virtual environment gets links to just those distributions of this one that
the wheel's own metadata ask for, each with what it asks for itself.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mvit2
from mvit2.runtime import open_bundle

Python = Callable[..., subprocess.CompletedProcess[str]]
MODELS = {"litert": ("model_float32.tflite", "model_int8.tflite"), "ort": ("model_float32.onnx", "model_int8.onnx")}
FOR_EXPORT = ("torch", "onnx", "tensorflow", "onnx2tf", "onnxsim", "safetensors", "matplotlib", "jinja2")


def needed(mine: Distribution, extras: Iterable[str], found: dict[str, Distribution]) -> dict[str, Distribution]:
    """``found`` with all that ``mine`` asks for under these extras; mvit2[cli] and the like are its own, too."""
    for text in mine.requires or ():
        requirement = Requirement(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        name = canonicalize_name(requirement.name)
        if name == "mvit2":
            needed(mine, requirement.extras, found)
        elif name not in found:
            found[name] = distribution(name)
            needed(found[name], requirement.extras, found)
    return found


def link(one: Distribution, site: Path) -> None:
    """Its files into ``site``; scripts and compiled Python stay where they are."""
    for file in one.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).symlink_to(Path(str(one.locate_file(file))))


@pytest.fixture(scope="module", params=MODELS)
def extra(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def python(extra: str, wheel: Path, wheels: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Python of an environment with one extra, in an empty folder."""
    home = tmp_path_factory.mktemp(extra)
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    wheels.done("-m", "pip", "install", "--no-deps", "--target", site, wheel, cwd=wheel.parent)
    for one in needed(Distribution.at(site / f"mvit2-{mvit2.__version__}.dist-info"), [extra], {}).values():
        link(one, site)

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        ended: subprocess.CompletedProcess[str] = wheels.run(
            *command, cwd=elsewhere, python=home / "bin" / "python", COLUMNS="200"
        )
        return ended

    return run


def test_nothing_of_an_export_is_there(python: Python, extra: str) -> None:
    other = {"litert": "onnxruntime", "ort": "ai_edge_litert"}[extra]
    code = f"from importlib.util import find_spec; print([n for n in {(*FOR_EXPORT, other)} if find_spec(n)])"
    assert python("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("precision", [0, 1])
def test_it_classifies(precision: int, python: Python, extra: str, int8_bundle: Path, photos: Path) -> None:
    """The same label and, to float rounding, the same score as in this environment."""
    file = MODELS[extra][precision]
    code = (
        "import sys; from mvit2.runtime import open_bundle; import mvit2;"
        "best = open_bundle(sys.argv[1], sys.argv[2]).predict(sys.argv[3])[0];"
        "print(best.label, best.score, mvit2.__file__, sep='|')"
    )
    done = python("-W", "error", "-c", code, int8_bundle, file, photos / "coffee.jpg")
    assert (done.returncode, done.stderr) == (0, "")
    label, score, where = done.stdout.strip().split("|")
    expected = open_bundle(int8_bundle, file).predict(photos / "coffee.jpg")[0]
    assert (label, float(score)) == (expected.label, pytest.approx(expected.score, rel=1e-4))
    assert Path(where).parents[1].name == "site-packages" and not Path(where).is_relative_to(Path(sys.prefix))


def test_the_engine_at_hand_is_taken(python: Python, extra: str, int8_bundle: Path) -> None:
    code = "import sys; from mvit2.runtime import open_bundle; print(open_bundle(sys.argv[1]).artifact.file.path)"
    assert python("-c", code, int8_bundle).stdout.strip() in MODELS[extra]


def test_the_other_engine_says_what_to_install(python: Python, extra: str, int8_bundle: Path, photos: Path) -> None:
    other = next(name for name in MODELS if name != extra)
    done = python("-m", "mvit2", "predict", int8_bundle, photos / "cat.jpg", "--artifact", MODELS[other][0])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and f"pip install 'mvit2[{other}]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "info", "predict"])
def test_the_commands_of_a_runtime(command: str, python: Python, int8_bundle: Path, photos: Path) -> None:
    """check skips the files of the other engine and passes."""
    pictures = [photos / "coffee.jpg"] if command == "predict" else []
    done = python("-m", "mvit2", command, int8_bundle, *pictures)
    assert done.returncode == 0, done.stderr
    assert done.stdout
