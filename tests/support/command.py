"""The command ``mvit2``, in this process or in one of its own: either way its exit code, stdout and stderr.

In this process it is the real entry function on the real file descriptors, without the seconds that Python and its
libraries take to start. What the command changes in a process is put back. A test whose subject is the process itself
(signals, encodings, what is loaded) starts one; so does every call with environment variables, which libraries read
when they are imported. ``pytest --command process`` starts one for all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import IO, TextIO

__all__ = ["OFFLINE", "Run", "run_here", "run_in_process"]

Run = Callable[..., subprocess.CompletedProcess[str]]
OFFLINE = {"HF_HUB_OFFLINE": "1"}
_ENVIRONMENT = {**OFFLINE, "COLUMNS": "200"}
_SIGNALS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGHUP")]


def run_in_process(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m mvit2``."""
    command = [sys.executable, "-m", "mvit2", *map(str, arguments)]
    environment = {**os.environ, **_ENVIRONMENT, **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def run_here(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same command in this process, unless it is to have an environment of its own."""
    if set(env or {}) - {"COLUMNS"}:
        return run_in_process(*arguments, env=env)
    words = ["mvit2", *map(str, arguments)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with ExitStack() as stack:
            stack.enter_context(_state(words, {**_ENVIRONMENT, **(env or {})}))
            stack.enter_context(_redirected(1, "stdout", out))
            stack.enter_context(_redirected(2, "stderr", err))
            code = _main()
        texts = [_text(stream) for stream in (out, err)]
    _forget_the_console()
    return subprocess.CompletedProcess(words, code, *texts)


def _main() -> int:
    """What Python would exit with."""
    from mvit2.__main__ import main
    from mvit2.export.cli.boundary import in_this_process

    try:
        with in_this_process():
            main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _redirected(number: int, name: str, target: IO[bytes]) -> Iterator[None]:
    """The file descriptor, for C++ and child processes, and Python's stream on it."""
    before, stream = os.dup(number), getattr(sys, name)
    stream.flush()
    os.dup2(target.fileno(), number)
    ours = TextIOWrapper(FileIO(number, "w", closefd=False), encoding="utf-8", write_through=True)
    setattr(sys, name, ours)
    try:
        yield
    finally:
        setattr(sys, name, stream)
        os.dup2(before, number)
        os.close(before)


def _text(stream: IO[bytes]) -> str:
    """As subprocess reads it: universal newlines."""
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def _state(words: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Give the command a process's state of its own, and put ours back."""
    argv, env, folder = sys.argv, dict(os.environ), Path.cwd()
    handlers = {each: signal.getsignal(each) for each in _SIGNALS}
    sys.argv = words
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            _as_python_starts()
            yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = argv


def _as_python_starts() -> None:
    """Python's own warning filters, and warnings on stderr; pytest makes errors of them, or collects them."""
    warnings.showwarning = _show
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _forget_the_console() -> None:
    """Its streams are gone, and its warnings were this command's."""
    console = sys.modules.get("mvit2.export.cli.console")
    if console is not None:
        console.screen.configure(quiet=False, as_json=False)
