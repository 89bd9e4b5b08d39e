"""A finished folder takes another one's place, so that a process killed at any moment loses neither."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

from mvit2.held_signals import signals_held

__all__ = ["NEW", "hidden", "left_beside", "recover", "swap"]

NEW, _OLD = "new", "old"
_AT_FDCWD, _EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def hidden(target: Path, kind: str = NEW) -> Path:
    """A name beside ``target``, on the same disk, that tells what it is should nobody come back for it."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def swap(building: Path, target: Path) -> None:
    """``building`` becomes ``target``, and what was there is removed. Raises OSError: all is as it was.

    In one step where the system can; else the old folder is put aside first, and ``recover`` knows it by its name.
    """
    with signals_held():
        if not target.exists():
            building.rename(target)
        elif _exchanged(building, target):
            shutil.rmtree(building, ignore_errors=True)
        else:
            _replace(building, target)


def _replace(building: Path, target: Path) -> None:
    old = hidden(target, _OLD)
    target.rename(old)
    try:
        building.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> tuple[str, ...]:
    """Put back, or remove, what killed processes left beside ``target``; returns a sentence for each.

    Nobody may be writing ``target``.
    """
    return tuple(
        _recovered(one, target) for one in sorted(left_beside(target), key=lambda one: one.suffix != f".{_OLD}")
    )


def left_beside(target: Path) -> list[Path]:
    """The hidden folders of ``target``: of a process that writes it now, or of killed ones."""
    named = re.compile(re.escape(f".{target.name}.") + rf"[0-9a-f]{{8}}\.({NEW}|{_OLD})")
    return [entry for entry in target.parent.iterdir() if named.fullmatch(entry.name)] if target.parent.is_dir() else []


def _recovered(left: Path, target: Path) -> str:
    if left.suffix == f".{_OLD}" and not target.exists():
        left.rename(target)
        return f"{target} was put aside by a process that was killed before it could replace it; it is back."
    shutil.rmtree(left, ignore_errors=True)
    return f"what a killed process left unfinished beside {target} was removed."


def _exchanged(one: Path, other: Path) -> bool:
    """Whether both folders have each other's names now; False where the system or the disk has no such step."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0)
