"""All or nothing: what is written is built in a hidden folder beside its place and renamed when it is complete."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mvit2.bundle.manifest import MANIFEST
from mvit2.errors import OutputError
from mvit2.held_signals import finish, signals_held
from mvit2.scratch import remove_dead

from .swap import hidden, left_beside, recover, swap

__all__ = ["check_files", "check_parent", "check_target", "files_under_construction", "under_construction"]


_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_target(
    target: Path, overwrite: bool, proof: str = MANIFEST, say: Callable[[str], object] = lambda sentence: None
) -> None:
    """Refuse early, before minutes of work. Only what holds the file ``proof`` is replaced. Raises OutputError.

    ``say`` is told what was put back or removed of processes that were killed.
    """
    _check_ancestors(target.parent)
    _recover(target, say)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target} is a file or a link; remove it or choose another --output.")
    if target.exists():
        if not overwrite:
            raise OutputError(f"{target} exists already; replace it with --overwrite, or choose another --output.")
        if any(target.iterdir()) and not (target / proof).is_file():
            raise OutputError(f"{target} is not a bundle (no {proof}); --overwrite will not replace it: remove it.")
    _check_writable(target.parent)


def _recover(target: Path, say: Callable[[str], object]) -> None:
    """Raises OutputError: another process writes ``target``."""
    if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        return
    if not left_beside(target) and not _lock_of(target).exists():
        return  # a refusal leaves the folder as it was, its time included
    with suppress(OSError), _claimed(target):  # what cannot be written is refused below
        for sentence in recover(target):
            say(sentence)


def check_parent(folder: Path) -> None:
    """Refuse a folder in which nothing can be made, before its content's name is known. Raises OutputError."""
    _check_ancestors(folder)
    _check_writable(folder, next(one for one in (folder, *folder.parents) if one.exists()))


def check_files(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    """As check_target, for files that are to be made in ``folder``."""
    _check_ancestors(folder)
    for target in (folder / name for name in names):
        if target.is_dir():
            raise OutputError(f"{target} is a folder; remove it or choose another --output.")
        if target.exists() and not overwrite:
            raise OutputError(f"{target} exists already; replace it with --overwrite, or choose another --output.")
    _check_writable(folder)


def _check_ancestors(folder: Path) -> None:
    for ancestor in (folder, *folder.parents):
        if ancestor.exists() and not ancestor.is_dir():
            raise OutputError(f"--output {folder}: {ancestor} is a file; name a folder.")


def _check_writable(folder: Path, nearest: Path | None = None) -> None:
    """``nearest``: the part of it that is there, where it is not to be made yet."""
    try:
        if nearest is None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=nearest or folder):
            pass
    except OSError as error:
        raise OutputError(f"--output {folder} cannot be written ({error.strerror}); choose another folder.") from None


@contextmanager
def under_construction(
    target: Path, overwrite: bool = True, say: Callable[[str], object] = lambda sentence: None
) -> Iterator[Path]:
    """A folder that becomes ``target`` when the block ends well, and vanishes when it does not.

    Raises OutputError when the disk is full or refuses, and where another process writes the same ``target``: at once
    while it does; at the end, without ``overwrite``, where it did in between. ``say``: as of ``check_target``.
    """
    building = hidden(target)
    try:
        with _claimed(target):
            for sentence in recover(target):
                say(sentence)
            try:
                building.mkdir()
                yield building
                if not overwrite and target.is_dir() and any(target.iterdir()):
                    raise OutputError(
                        f"{target} was made by another process in the meantime, and is left as it is; replace it with "
                        "--overwrite, or choose another --output."
                    )
                swap(building, target)
            finally:
                finish(lambda: shutil.rmtree(building, ignore_errors=True))
    except OSError as error:
        elsewhere = error.errno in _FULL or not error.filename  # then the name may be that of what was read
        where = f"{target}, or temporary files in {tempfile.gettempdir()}," if elsewhere else error.filename
        reason = error.strerror or error
        raise OutputError(f"writing {where} failed: {reason}. {target} is as it was before.") from None


@contextmanager
def files_under_construction(folder: Path) -> Iterator[Path]:
    """A hidden folder whose files move into ``folder``, over those of the same name, when the block ends well.

    Raises OutputError when the disk is full or refuses.
    """
    building = folder / f".mvit2-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        remove_dead(folder, ".mvit2-")
        try:
            building.mkdir()
            yield building
            with signals_held():
                for file in sorted(building.iterdir()):
                    file.replace(folder / file.name)
        finally:
            finish(lambda: shutil.rmtree(building, ignore_errors=True))
    except OSError as error:
        raise OutputError(f"writing {error.filename or folder} failed: {error.strerror or error}.") from None


@contextmanager
def _claimed(target: Path) -> Iterator[None]:
    """Nobody else writes ``target`` meanwhile. Raises OutputError: somebody does. A dead process claims nothing."""
    claim = _lock_of(target)
    descriptor: int | None = None
    try:
        with signals_held():
            descriptor = _claim(claim)
        if descriptor is None:
            raise OutputError(f"{target} is being written by another process; wait for it, or choose another --output.")
        yield
    finally:
        if descriptor is not None:
            finish(lambda: claim.unlink(missing_ok=True))
            os.close(descriptor)


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _claim(claim: Path) -> int | None:
    """The file, open and locked; None where another process has locked it."""
    while True:
        descriptor = os.open(claim, os.O_CREAT | os.O_WRONLY, 0o600)
        if not _locked(descriptor):
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(claim)):
                return descriptor
        os.close(descriptor)  # whoever had it has removed it since we opened it


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours; where there are none, as on Windows and some network disks, all of them are."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
