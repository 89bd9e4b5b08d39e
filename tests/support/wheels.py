"""The real sdist and wheel, and a Python that sees nothing of this environment's editable installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .tree import FOLDERS, ROOT

__all__ = ["build_sdist", "build_wheel", "done", "run"]


def run(
    *command: object, cwd: Path, python: str | Path = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``python`` with these arguments, without the PYTHON* variables of this process."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *map(str, command)],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def done(*command: object, cwd: Path) -> str:
    """What it printed; it must succeed, and needs no network."""
    ended = run(*command, cwd=cwd, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def build_sdist(tree: Path) -> Path:
    """In ``tree``, which becomes a copy of the repository with tests and litter, because building writes into it."""
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    (tree / "runtime" / "litter.tmp").write_text("left by an editor")
    code = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"
    return tree / "dist" / done("-c", code, cwd=tree).split()[-1]


def build_wheel(sdist: Path) -> Path:
    folder = sdist.parents[1] / "wheel"
    done("-m", "pip", "wheel", sdist, "--no-deps", "--no-build-isolation", "-w", folder, cwd=sdist.parent)
    (found,) = folder.iterdir()
    return found
