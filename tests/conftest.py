"""What several rooms' tests share. Nothing here or elsewhere in the tests needs a network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .support.browser import chromium

Run = Callable[..., subprocess.CompletedProcess[str]]
Mediapipe = Callable[..., str]

OFFLINE = {"HF_HUB_OFFLINE": "1"}


def run_mvit2(
    *arguments: object, env: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "mvit2", *map(str, arguments)]
    environment = {**os.environ, **OFFLINE, "COLUMNS": "200", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="session")
def run() -> Run:
    return run_mvit2


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint as float32 and float16 by the real command, once a session. Copy it to change it."""
    return _exported(tmp_path_factory.mktemp("bundles"), "--quantize", "float16")


@pytest.fixture(scope="session")
def int8_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as int8, TFLite and ONNX, calibrated on the bundled photographs; dynamic and fully int8 TFLite, too."""
    schemes = [word for scheme in ("dynamic", "int8", "full-int8") for word in ("--quantize", scheme)]
    return _exported(tmp_path_factory.mktemp("int8"), *schemes, "--learning-steps", "4", "--force")


def _exported(parent: Path, *options: str) -> Path:
    done = run_mvit2("export", "--weights", "demo", "--variant", "0.5", "--output", parent, *options)
    assert done.returncode == 0, done.stderr
    return parent / "mobilevitv2-0.5-demo20"


@pytest.fixture(scope="session")
def photos() -> Path:
    """The freely licensed photographs that come with the package."""
    import mvit2

    return Path(mvit2.__file__).parent / "photos"


# Rooms beside this one, opened by the tests that ask for them: some import torch.


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    from .support import oracles

    return oracles


@pytest.fixture(scope="session")
def forge() -> ModuleType:
    from .support import forge

    return forge


@pytest.fixture(scope="session")
def segments() -> ModuleType:
    from .support import segments

    return segments


@pytest.fixture(scope="session")
def wheels() -> ModuleType:
    from .support import wheels

    return wheels


@pytest.fixture(scope="session")
def sdist(wheels: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(wheels.build_sdist(tmp_path_factory.mktemp("tree")))


@pytest.fixture(scope="session")
def wheel(wheels: ModuleType, sdist: Path) -> Path:
    return Path(wheels.build_wheel(sdist))


@pytest.fixture(scope="session")
def mediapipe() -> Mediapipe:
    """Runs Python with MediaPipe; returns what it prints. Without a network: MediaPipe reports its use to Google."""
    offline = ("unshare", "--map-root-user", "--net")  # no network interface at all
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("NO MEDIAPIPE: pip install 'mvit2[mediapipe]'")
    try:
        subprocess.run([*offline, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NO UNSHARE: no process can be kept from the network here")

    def run(*arguments: object) -> str:
        command = [*offline, sys.executable, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture
def bundle(demo_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the demo bundle, to damage."""
    return Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Any]]:
    """Chromium, with these flags."""
    with chromium() as launch:
        yield launch
