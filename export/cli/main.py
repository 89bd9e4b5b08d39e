"""How a command ends: every foreseeable failure is one line on stderr and an exit code, every signal cleans up."""

from __future__ import annotations

import signal
import sys

import typer

from mvit2.difference import Difference
from mvit2.errors import CheckFailed, Mvit2Error

from . import (  # noqa: F401  they register themselves
    app_folder,
    audit,
    bench,
    check,
    devices,
    evaluate,
    export,
    info,
    predict,
    report,
    sensitivity,
    serve,
)
from .app import app, export_app
from .console import screen
from .interrupt import Interrupted, install

__all__ = ["main", "main_export"]


def _run(application: typer.Typer, name: str) -> int:
    """Run the command; every foreseeable failure becomes one line on stderr and an exit code."""
    screen.configure(False, "--json" in sys.argv)  # for errors in the arguments themselves
    install()
    try:
        code = application(prog_name=name, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except CheckFailed as error:
        return _fail(str(error), error.exit_code, error.differences)
    except Mvit2Error as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _refuse(error.format_message())
    except Interrupted as error:
        return _fail(
            f"interrupted by {signal.Signals(error.number).name}; no unfinished files are left.", 128 + error.number
        )
    except OSError as error:
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 1)
    except MemoryError:
        return _fail("out of memory; close other programs, or choose a smaller --variant or --image-size.", 1)


def _refuse(message: str) -> int:
    """Wrong usage; without a message the command was given nothing at all and has printed its help."""
    stop = "" if message.endswith((".", "?")) else "."
    return _fail(f"{message}{stop} See --help.", 2) if message else 2


def _fail(message: str, code: int, differences: tuple[Difference, ...] = ()) -> int:
    if differences:
        screen.differences(differences, failed=True)
    screen.error(" ".join(message.split()), differences)
    return code


def _exit(code: int) -> None:
    try:
        print(end="", flush=True)
    except OSError as error:
        sys.stdout = None
        seen_enough = isinstance(error, BrokenPipeError)  # the reader, such as head
        code = code or (1 if seen_enough else _fail(error.strerror or str(error), 1))
    raise SystemExit(code)


def main() -> None:
    """``mvit2``"""
    _exit(_run(app, "mvit2"))


def main_export() -> None:
    """``mvit2-export``, which is ``mvit2 export``"""
    _exit(_run(export_app, "mvit2-export"))
