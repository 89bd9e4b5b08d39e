"""Nothing talks to anybody, and nobody is asked to.

ONNX Runtime 1.31 reports to its maker from Linux as well: it resolves a host name and leaves a session file in the
temporary folder as soon as it is imported. The file is the trace that can be seen without a debugger.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_onnxruntime_alone_leaves_its_trace(tmp_path: Path) -> None:
    """The day this fails, ONNX Runtime stopped reporting and the tests below prove nothing any more."""
    silencers = ("ORT_DISABLE_TELEMETRY", "CI")  # it does not report from continuous integration
    environment = {k: v for k, v in os.environ.items() if k not in silencers}
    command = [sys.executable, "-c", "import onnxruntime"]
    subprocess.run(command, check=True, env={**environment, "TMPDIR": str(tmp_path)})
    assert [p.name for p in tmp_path.iterdir()] == [".ses"]


@pytest.mark.parametrize("command", [pytest.param("export", marks=pytest.mark.exports), "predict", "check"])
def test_commands_leave_none(command: str, run: Run, demo_bundle: Path, photos: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = {
        "export": ["--weights", "demo", "--variant", "0.5", "--quantize", "none", "--output", tmp_path],
        "predict": [demo_bundle, photos / "cat.jpg"],
        "check": [demo_bundle],
    }
    done = run(command, *arguments[command], env={"TMPDIR": str(scratch)})
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == []
