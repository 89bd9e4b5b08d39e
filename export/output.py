"""All or nothing: a bundle is built in a hidden folder beside its place and renamed when it is complete."""

from __future__ import annotations

import os
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
    if target.is_dir():
        if not overwrite:
            raise OutputError(f"{target} exists already; replace it with --overwrite, or choose another --output.")
        if any(target.iterdir()) and not (target / MANIFEST).is_file():
            raise OutputError(f"{target} is no bundle (no {MANIFEST}), so --overwrite leaves it alone: remove it.")
    elif target.exists() or target.is_symlink():
        raise OutputError(f"{target} is a file; remove it or choose another --output.")
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
    try:
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield building
            building.chmod(0o755)
            _swap(building, target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"writing {target} failed: {error.strerror or error}. Nothing was changed.") from None


def _swap(building: Path, target: Path) -> None:
    if not target.exists():
        building.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        os.replace(target, old)  # an empty folder is replaced by a rename
        try:
            building.rename(target)
        except BaseException:
            os.replace(old, target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
