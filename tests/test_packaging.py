"""The real wheel, made from the real sdist, installed into an empty folder and used from another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path
from types import ModuleType

import pytest

import mvit2

from .support.tree import FOLDERS, ROOT, SOURCES, data_files, importable, installed, packages_of_the_tree

Python = Callable[..., subprocess.CompletedProcess[str]]
BASE = ("numpy", "numpy.libs", "PIL", "pillow.libs")  # what an installation without extras has
CLI = ("typer", "rich", "pygments", "markdown_it", "mdurl", "shellingham", "click", "annotated_doc")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(wheel: Path, wheels: ModuleType) -> Path:
    """A folder into which nothing but the wheel was installed."""
    target = wheel.parents[1] / "site"
    wheels.done("-m", "pip", "install", "--no-deps", "--target", target, wheel, cwd=wheel.parent)
    return target


@pytest.fixture(scope="module")
def python(site: Path, wheels: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Run Python in an empty folder with the wheel and only the named packages of this environment.

    -S keeps site-packages out, and with it the editable installation, which would lend what the wheel lacks.
    """
    libraries = Path(sysconfig.get_path("purelib"))

    def run(*command: object, packages: tuple[str, ...] = BASE) -> subprocess.CompletedProcess[str]:
        others = tmp_path_factory.mktemp("others")
        for name in packages:
            if (libraries / name).exists():
                (others / name).symlink_to(libraries / name)
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        path = os.pathsep.join(map(str, (site, others)))
        ended: subprocess.CompletedProcess[str] = wheels.run(
            "-S", *command, cwd=elsewhere, PYTHONPATH=path, COLUMNS="200"
        )
        return ended

    return run


SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
DATA = data_files()


def test_every_folder_with_sources_is_a_package_that_is_listed() -> None:
    """setuptools installs what ``packages`` names; a folder that is missing there works in a checkout only."""
    packages = packages_of_the_tree()
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages)
    assert [name for name, folder in packages.items() if not (folder / "__init__.py").is_file()] == []
    assert SETUPTOOLS["package-dir"] == {name: folder for folder, name in FOLDERS.items()}


def test_the_wheel_holds_the_sources_and_nothing_else(wheel: Path) -> None:
    names = _packaged(wheel)
    assert {name for name in names if name.endswith(".py")} == {installed(path) for path in SOURCES}
    assert len(SOURCES) > 100


def test_the_wheel_holds_all_data_and_nothing_else(wheel: Path) -> None:
    names = _packaged(wheel)
    assert {name for name in names if not name.endswith(".py")} == {installed(path) for path in DATA}


def _packaged(wheel: Path) -> set[str]:
    info = f"mvit2-{mvit2.__version__}.dist-info/"
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith(info)}


def test_the_wheel_holds_what_a_user_looks_for(wheel: Path) -> None:
    """Named one by one: the tests above would not miss a file that the tree has lost, too."""
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"mvit2-{mvit2.__version__}.dist-info"
    assert {f"mvit2/photos/{name}.jpg" for name in ("astronaut", "cat", "coffee", "rocket", "tripod")} <= names
    assert {"mvit2/py.typed", "mvit2/checkpoints/0.5/model.safetensors", "mvit2/runtime/verify/check.py"} <= names
    assert {
        f"mvit2/export/report/templates/{name}" for name in ("report.html.jinja", "report.css", "card.md.jinja")
    } <= names
    assert {
        f"mvit2/runtime/sources/{name}"
        for name in ("c/mvit2.c", "js/mvit2.mjs", "kotlin/Mvit2.kt", "swift/Mvit2.swift")
    } <= names
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/mvit2/photos/LICENSES.md"} <= names


def test_no_generic_name_is_installed(site: Path) -> None:
    """``import export`` belongs to the user."""
    top = {path.name for path in site.iterdir()}
    assert top == {"mvit2", f"mvit2-{mvit2.__version__}.dist-info", "bin"}
    assert (site / f"mvit2-{mvit2.__version__}.dist-info/top_level.txt").read_text().split() == ["mvit2"]


def test_the_data_are_those_of_the_tree(site: Path) -> None:
    for path in DATA:
        assert (site / installed(path)).read_bytes() == path.read_bytes()


def test_the_sdist_can_be_built_from(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "export/cli/commands/export.py",
        "runtime/verify/check.py",
        "quantize/__init__.py",
    } <= names
    assert not any("litter" in name or "tests/golden" in name for name in names)


def test_make_dist(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """The same two files, from the target that a developer runs; this environment is the one that make would make."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    for file in ("Makefile", "constraints.txt"):
        shutil.copy(ROOT / file, tree)
    installed_here = Path(sys.prefix) / "test.installed"
    command = ["make", "dist", f"VENV={sys.prefix}", f"--old-file={installed_here}"]
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, cwd=tree, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(file.name for file in (tree / "dist").iterdir()) == sorted([sdist.name, wheel.name])
    assert set(zipfile.ZipFile(tree / "dist" / wheel.name).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_metadata(wheel: Path) -> None:
    text = zipfile.ZipFile(wheel).read(f"mvit2-{mvit2.__version__}.dist-info/METADATA").decode()
    metadata = message_from_string(text)
    assert (metadata["Name"], metadata["Version"]) == ("mvit2", mvit2.__version__)
    assert metadata["License-Expression"] == "MIT"
    assert set(metadata.get_all("Provides-Extra")) == set(PYPROJECT["project"]["optional-dependencies"])
    needed = {requirement for requirement in metadata.get_all("Requires-Dist") if "extra ==" not in requirement}
    assert needed == {"numpy>=2.0", "pillow>=11"}


def test_the_test_extra_brings_what_builds_the_wheel() -> None:
    build = set(PYPROJECT["build-system"]["requires"])
    assert build <= set(PYPROJECT["project"]["optional-dependencies"]["test"])


# ---- installed, from another folder ----


def test_the_version(python: Python) -> None:
    done = python("-m", "mvit2", "--version", packages=(*BASE, *CLI))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mvit2 {mvit2.__version__}\n", "")
    code = "from importlib.metadata import version; print(version('mvit2'))"
    assert python("-c", code).stdout.strip() == mvit2.__version__


def test_every_subpackage_comes_from_the_wheel(python: Python, site: Path) -> None:
    code = (
        "import mvit2, mvit2.export, mvit2.quantize, mvit2.runtime.verify.check as c; print(mvit2.__file__, c.__file__)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(site) for file in done.stdout.split())


@pytest.mark.parametrize("name", ["export", "runtime", "quantize", "tests"])
def test_generic_names_stay_free(name: str, python: Python) -> None:
    assert f"No module named '{name}'" in python("-c", f"import {name}").stderr


def test_every_module_can_be_imported(python: Python) -> None:
    """With the libraries of this environment beside it, again without the editable installation."""
    modules = sorted(importable(path) for path in SOURCES if path.name != "__main__.py")
    everything = tuple(
        path.name for path in Path(sysconfig.get_path("purelib")).iterdir() if "mvit2" not in path.name.lower()
    )
    code = f"import importlib\nfor name in {modules}:\n    importlib.import_module(name)\nprint('all')"
    done = python("-c", code, packages=everything)
    assert done.stdout == "all\n", done.stderr
    assert len(modules) > 100


@pytest.mark.parametrize("arguments", [["predict", "bundle", "photo.jpg"], ["--version"], ["export", "--help"], []])
def test_without_the_command_line_s_libraries_it_says_what_to_install(arguments: list[str], python: Python) -> None:
    done = python("-m", "mvit2", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: the command line needs typer; install it with: pip install 'mvit2[cli]'\n"


def test_a_prediction_needs_one_engine_only(python: Python, demo_bundle: Path, photos: Path) -> None:
    """Base installation and LiteRT, as on a Raspberry Pi: no command line, no ONNX Runtime, no torch."""
    code = (
        "import sys; from mvit2.runtime import open_bundle, check_bundle; c = open_bundle(sys.argv[1]);"
        "print(c.artifact.file.path, c.predict(sys.argv[2])[0].label, check_bundle(sys.argv[1]).passed)"
    )
    engine = ("ai_edge_litert", "flatbuffers")
    done = python("-c", code, demo_bundle, photos / "coffee.jpg", packages=(*BASE, *engine))
    from mvit2.runtime import open_bundle

    label = open_bundle(demo_bundle).predict(photos / "coffee.jpg")[0].label
    assert done.stdout == f"model_float32.tflite {label} True\n", done.stderr
