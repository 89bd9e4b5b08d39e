"""Ctrl-C, SIGTERM and kill -9 in every step of a real export, on a pseudo-terminal whose progress names the step."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

NAME = "mobilevitv2-0.5-demo20-256px"  # more pixels than the checkpoint's: writing the bundle takes long enough to hit
EXPORT = ("export", "--weights", "demo", "--variant", "0.5", "--image-size", "256", "--overwrite")
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "150"}
SECONDS = 120  # of patience; on an idle machine every wait here is below five


class Session:
    """The command at work on a terminal, with an older bundle in the place of its result."""

    def __init__(self, folder: Path, bundle: Path, *options: str) -> None:
        self.out, self.tmp, self.seen = folder / "out", folder / "tmp", ""
        self.out.mkdir()
        self.tmp.mkdir()
        shutil.copytree(bundle, self.out / NAME)
        self.before = tree(self.out)
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mvit2", *EXPORT, "--output", str(self.out), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=slave,
            env={**os.environ, **ENVIRONMENT, "TMPDIR": str(self.tmp)},
            preexec_fn=_as_started_by_hand,
        )
        os.close(slave)

    def wait_for_text(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < deadline and self.read(), self.seen

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline and self.process.poll() is None, self.seen
            time.sleep(0.001)

    def read(self) -> bool:
        """Add what was printed, without colours; False at the end of it."""
        if not select.select([self.master], [], [], SECONDS)[0]:
            return False
        try:
            printed = os.read(self.master, 1 << 16)
        except OSError:  # the other end was closed
            return False
        self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode(errors="replace"))
        return bool(printed)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        while self.read():
            pass
        return self.process.wait(SECONDS)

    @property
    def workers(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children(True) if "onnx2tf_worker" in line(child)]


def _as_started_by_hand() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for what it starts in the background
    os.nice(15)  # so that what watches it is never late


def line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below, hidden ones too, with the content of files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def is_writing(out: Path) -> bool:
    return any(out.glob(f".{NAME}.*/golden/*"))


@pytest.fixture
def start(tmp_path: Path, demo_bundle: Path) -> Iterator[Callable[..., Session]]:
    sessions: list[Session] = []

    def open_session(*options: str) -> Session:
        folder = tmp_path / str(len(sessions))
        folder.mkdir()
        sessions.append(Session(folder, demo_bundle, *options))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.process.kill()
        session.process.wait()
        os.close(session.master)


def until_working(session: Session, step: str) -> None:
    """Wait until the step has begun; where another sign than its title tells that it is at work, until that."""
    session.wait_for_text(step)
    if step == "TFLite: convert":
        session.wait_for(lambda: bool(session.workers))
    if step == "bundle: labels":
        session.wait_for(lambda: is_writing(session.out))


ONNX = ("--format", "onnx")
STEPS = {
    "load weights demo": ONNX,
    "torch: the model": ONNX,
    "ONNX: convert": ONNX,
    "TFLite: convert": ("--quantize", "none"),
    "int8: measure ranges": (*ONNX, "--quantize", "int8"),
    "bundle: labels": ONNX,
    "report": ONNX,
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("step", STEPS)
def test_nothing_changes(step: str, number: signal.Signals, start: Callable[..., Session]) -> None:
    session = start(*STEPS[step])
    until_working(session, step)
    workers = session.workers
    assert session.end(number) == 128 + number, session.seen
    assert f"✓ {step}" not in session.seen  # it was the step that ended
    error = f"error: interrupted by {number.name}; no unfinished files are left."
    assert session.seen.count("error:") == 1 and error in session.seen.splitlines()
    assert "Traceback" not in session.seen
    assert tree(session.out) == session.before
    assert list(session.tmp.iterdir()) == []
    assert len(workers) == (step == "TFLite: convert")
    assert not any(worker.is_running() for worker in workers)


def test_a_second_signal_does_not_disturb_the_clean_up(start: Callable[..., Session]) -> None:
    session = start(*ONNX)
    until_working(session, "ONNX: convert")
    session.process.send_signal(signal.SIGINT)
    session.process.send_signal(signal.SIGTERM)
    assert session.end(signal.SIGINT) in (130, 143)
    assert session.seen.count("error:") == 1 and "Traceback" not in session.seen
    assert tree(session.out) == session.before


def test_a_kill_leaves_the_old_bundle(start: Callable[..., Session], run: Callable[..., object]) -> None:
    session = start(*ONNX)
    until_working(session, "bundle: labels")
    assert session.end(signal.SIGKILL) == -signal.SIGKILL
    after = tree(session.out)
    assert {path: after.get(path) for path in session.before} == session.before
    assert run("check", session.out / NAME, "--quiet").returncode == 0


def test_a_library_that_swallows_the_interrupt_ends_with_its_step() -> None:
    code = (
        "import os, signal\n"
        "from mvit2.export.cli.console import screen\n"
        "from mvit2.export.cli.interrupt import Interrupted, install\n"
        "install()\n"
        "try:\n"
        "    with screen.step('convert'):\n"
        "        try:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "        except BaseException:\n"
        "            print('swallowed')\n"
        "    print('went on')\n"
        "except Interrupted as error:\n"
        "    print(error.number)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.stdout.split() == ["swallowed", str(int(signal.SIGTERM))], ended.stderr
