"""All or nothing: a bundle is built in a hidden folder beside its place and renamed when it is complete."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvit2.errors import OutputError
from mvit2.manifest import MANIFEST

__all__ = ["check_target", "under_construction"]


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse early, before minutes of work. Raises OutputError."""
    parent = target.parent
    for ancestor in (parent, *parent.parents):
        if ancestor.exists() and not ancestor.is_dir():
            raise OutputError(f"--output {parent}: {ancestor} is a file; name a folder.")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target} is a file or a link; remove it or choose another --output.")
    if target.exists():
        if not overwrite:
            raise OutputError(f"{target} exists already; replace it with --overwrite, or choose another --output.")
        if any(target.iterdir()) and not (target / MANIFEST).is_file():
            raise OutputError(f"{target} is no bundle (no {MANIFEST}), so --overwrite leaves it alone: remove it.")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OutputError(f"--output {parent} cannot be written ({error.strerror}); choose another folder.") from None


@contextmanager
def under_construction(target: Path) -> Iterator[Path]:
    """A folder that becomes ``target`` when the block ends well, and vanishes when it does not.

    Raises OutputError when the disk is full or refuses.
    """
    building = _hidden(target)
    try:
        try:
            building.mkdir()
            yield building
            _swap(building, target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        where = error.filename or f"{target}, or temporary files in {tempfile.gettempdir()},"
        reason = error.strerror or error
        raise OutputError(f"writing {where} failed: {reason}. {target} is as it was before.") from None


def _swap(building: Path, target: Path) -> None:
    """Whatever interrupts this, ``target`` is the old bundle or the new one, whole."""
    old = _hidden(target)
    try:
        if target.exists():
            target.rename(old)
        building.rename(target)
    finally:
        if not target.exists() and old.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _hidden(target: Path) -> Path:
    """A new name beside ``target``, on the same disk."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}")
