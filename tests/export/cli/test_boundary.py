"""Model files that kill or stop the native code that reads them: one line and exit code 1, whatever it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

# The real command, whose engine does something else than to open the file.
START = """
import ctypes, os, signal, sys, time
from mvit2.export.cli import boundary
from mvit2.runtime.engines import onnx_runtime

def engine(*_):
    os.write(2, b"the engine says this\\n\\x1b[31mdouble free or corruption\\n")
    {what}

boundary._LONGEST_CALL, boundary._TICK = 0.6, 0.2
onnx_runtime.open_session = engine
sys.argv = ["mvit2", *sys.argv[1:]]
from mvit2.__main__ import main
main()
"""
SAYS = r"(\x1b[31mdouble free or corruption)"
TODO = "; the file is damaged, or made for another version of its engine: check or replace it.\n"


def start(what: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START.format(what=what), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(b"")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("os.abort()", f"the process was killed by SIGABRT {SAYS}"),
        ("ctypes.string_at(0)", f"the process was killed by SIGSEGV {SAYS}"),
        ("time.sleep(60)", "it did not end in 0.6 s and was stopped"),
        ("os.kill(os.getpid(), signal.SIGKILL)", f"the process was killed by SIGKILL, probably out of memory {SAYS}"),
    ],
    ids=["abort", "segmentation fault", "hang", "kill"],
)
def test_one_line_whatever_the_library_does(what: str, said: str, model: Path) -> None:
    out, err = (process := start(what, "info", model)).communicate(timeout=60)
    assert (process.returncode, out, err) == (1, "", f"error: opening {model}: {said}{TODO}")


def test_with_json_it_is_one_object(model: Path) -> None:
    out, err = (process := start("os.abort()", "info", model, "--json")).communicate(timeout=60)
    answer = json.loads(out)
    assert process.returncode == 1 and f"error: {answer['error']}\n".replace("\x1b", r"\x1b") == err


def test_a_usage_error_is_what_it_was(model: Path) -> None:
    _, err = (process := start("", "info", model, "--jsn")).communicate(timeout=60)
    assert process.returncode == 2 and err.startswith("error: No such option: --jsn")
    _, err = (process := start("raise ValueError('no graph')", "info", model)).communicate(timeout=60)
    assert (process.returncode, err) == (1, f"error: {model}: ONNX Runtime cannot open it (no graph).\n")


def _children(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in listed.read_text().split()]


def _busy(process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 30
    while not _children(process):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return _children(process)[0]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the children of a process are read from /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_both_processes(number: signal.Signals, model: Path) -> None:
    process = start("open(sys.argv[2] + '.begun', 'w').close(); time.sleep(0.4); time.sleep(0.1)", "info", model)
    child = _busy(process)
    while not model.with_name("m.onnx.begun").exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number is not signal.SIGKILL:
        assert process.returncode == 128 + number
        assert err == f"error: interrupted by {number.name}; no unfinished files are left.\n"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
