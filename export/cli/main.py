"""How a command ends: every foreseeable failure is one line on stderr and an exit code, every signal cleans up."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mvit2.errors import CheckFailed, Mvit2Error

from .app import application, export_application
from .boundary import leave
from .console import screen
from .interrupt import Interrupted, install

if TYPE_CHECKING:
    from mvit2.difference import Difference

__all__ = ["main", "main_export"]


def _run(application: Callable[[], Callable[..., Any]], name: str) -> int:
    """Run the command; every foreseeable failure becomes one line on stderr and an exit code."""
    screen.configure(False, "--json" in sys.argv)  # for errors in the arguments themselves
    install()
    if "" in sys.argv[1:]:  # as a path it would be the current folder
        return _refuse("an argument is empty; is a variable of your script not set?")
    try:
        code = application()(prog_name=name, standalone_mode=False)
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
    return _fail(f"{message}{stop}{_hint(message)} See --help.", 2) if message else 2


def _hint(message: str) -> str:
    """What to type instead of a word that no option precedes: the habit of another tool."""
    extra = re.search(r"unexpected extra argument\(s\) \((\S+)", message)
    word = extra.group(1).rstrip(")") if extra else ""
    name, equals, value = word.partition("=")
    if equals and name.replace("_", "-").replace("-", "").isalnum():
        return f" Options are typed as --{name.replace('_', '-')} {value or 'VALUE'}."
    if word and ("/" in word or Path(word).exists()):
        return f" Which option is {word!r} for? A checkpoint is named by --weights {word}."
    return ""


def _fail(message: str, code: int, differences: tuple[Difference, ...] = ()) -> int:
    if differences:
        screen.differences(differences, failed=True, against="the reference")
    screen.error(" ".join(message.split()), differences)
    return code


def _exit(code: int) -> None:
    try:
        print(end="", flush=True)
    except OSError as error:
        sys.stdout = None
        seen_enough = isinstance(error, BrokenPipeError)  # the reader, such as head
        code = code or (1 if seen_enough else _fail(error.strerror or str(error), 1))
    leave(code)
    raise SystemExit(code)


def main() -> None:
    """``mvit2``"""
    _exit(_run(application, "mvit2"))


def main_export() -> None:
    """``mvit2-export``, which is ``mvit2 export``"""
    _exit(_run(export_application, "mvit2-export"))
