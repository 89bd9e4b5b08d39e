"""What several rooms' tests share. Nothing here or elsewhere in the tests needs a network.

Which tests a run takes, and what each needs: support/resources.py. How they call the command: support/command.py.
"""

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
from .support.bundles import exported
from .support.command import OFFLINE, Run, run_here, run_in_process
from .support.refusals import Refused, refuser
from .support.resources import RESOURCES, Turns, give_marks, is_alone, marks_of, share_out
from .support.seconds import Costs, measured

Mediapipe = Callable[..., str]
MakeBundle = Callable[..., Path]

# Of this process and all that it starts, before a library reads them: no network; and no threads of PyTorch, which wait
# in a loop for each other and so take the time of other workers.
os.environ |= {**OFFLINE, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


# ---- which tests run, where, and what they cost ----


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mvit2")
    group.addoption("--quick", action="store_true", help="leave out tests with a resource mark, as make test does")
    group.addoption(
        "--command",
        choices=("here", "process"),
        default="here",
        help="run the command in this process where that tells the same, or always in one of its own",
    )


def pytest_configure(config: pytest.Config) -> None:
    for resource in RESOURCES:
        config.addinivalue_line("markers", f"{resource.mark}: {resource.what}")
    config.addinivalue_line("markers", "xdist_group(name): stays on one worker, where there are workers")
    config.stash[_COSTS] = Costs()
    if hasattr(config, "workerinput"):
        config.stash[_TURNS] = Turns(config.workerinput["testrunuid"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    give_marks(items)
    if config.getoption("--quick"):
        left_out = [item for item in items if marks_of(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not marks_of(item)]
    if hasattr(config, "workerinput"):
        share_out(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    with turns.turn(alone=is_alone(item), next_alone=nextitem is not None and is_alone(nextitem)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with measured(item, _marks(item)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with measured(item, _marks(item)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with measured(item, _marks(item)):
        return (yield)


def _marks(item: pytest.Item) -> list[str]:
    return [resource.mark for resource in marks_of(item)]


_COSTS = pytest.StashKey[Costs]()
_TURNS = pytest.StashKey[Turns]()  # of a worker


class _Reporter:
    def __init__(self, config: pytest.Config) -> None:
        self.costs = config.stash[_COSTS]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.costs.add(report)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Reporter(session.config))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_COSTS].lines(files=12):
        terminalreporter.section("seconds by mark, and of the longest files")
        terminalreporter.write("\n".join([*lines, ""]))


# ---- the command, and bundles ----


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    """The command with these words: exit code, stdout, stderr."""
    chosen = run_here if request.config.getoption("--command") == "here" else run_in_process
    if not request.config.getoption("--quick"):
        return chosen

    def run_quickly(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        done = chosen(*words, **options)
        exported = words[:1] == ("export",) and done.returncode == 0 and "--help" not in words
        assert not exported or "--version" in words, "a test that exports needs the mark exports: support/resources.py"
        return done

    return run_quickly


@pytest.fixture(scope="session")
def refused(run: Run) -> Refused:
    """``refused(code, parts, *arguments)``: the command refuses them in one line that holds these parts."""
    return refuser(run)


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """The bundle that ``mvit2 export`` makes of these words, from the cache where it is there; a copy of its own."""
    return lambda *words: exported(*words, into=tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint as float32 and float16. Copy it to change it."""
    words = ("--weights", "demo", "--variant", "0.5", "--quantize", "float16")
    return exported(*words, into=tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def int8_bundle(make_bundle: MakeBundle) -> Path:
    """The same as int8, TFLite and ONNX, calibrated on the bundled photographs; dynamic and fully int8 TFLite, too."""
    schemes = [word for scheme in ("dynamic", "int8", "full-int8") for word in ("--quantize", scheme)]
    return make_bundle("--weights", "demo", "--variant", "0.5", *schemes, "--learning-steps", "4", "--force")


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
