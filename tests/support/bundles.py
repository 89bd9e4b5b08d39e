"""Bundles that tests share, made once for a state of the sources and kept in ``build/test-bundles``.

A bundle is found again by what decides its bytes: the sources of the package, the pinned and the installed versions,
the words of the command, and the content of the files that they name. Whoever needs one that is not there makes it;
another process that needs the same one waits. ``make clean`` removes them all.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .command import run_in_process
from .tree import FOLDERS, ROOT

__all__ = ["exported", "remove_old"]

CACHE = ROOT / "build" / "test-bundles"
KEPT_DAYS, KEPT_BUNDLES = 7, 60
_LIBRARIES = ("torch", "onnx", "onnxsim", "onnx2tf", "onnxruntime", "ai-edge-litert", "tensorflow", "numpy", "pillow")


def exported(*words: object, into: Path) -> Path:
    """The bundle that ``mvit2 export`` writes with these words: a copy in ``into``, to be changed at will.

    Raises AssertionError with the command's stderr where it fails.
    """
    place = CACHE / _key(words)
    with _locked(place.with_suffix(".lock")):
        if not _is_whole(place):
            _make(words, place)
        os.utime(place)
        shutil.copytree(place / "bundles", into, dirs_exist_ok=True)
        (bundle,) = (into / folder.name for folder in (place / "bundles").iterdir())
    return bundle


def _make(words: tuple[object, ...], place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    remove_old()
    scratch = place.with_suffix(".unfinished")
    shutil.rmtree(scratch, ignore_errors=True)
    done = run_in_process("export", *words, "--output", scratch / "bundles")
    assert done.returncode == 0, done.stderr
    (scratch / "sha256").write_text(_hash_of(scratch / "bundles"))
    scratch.rename(place)


def _is_whole(place: Path) -> bool:
    recorded = place / "sha256"
    return recorded.is_file() and recorded.read_text() == _hash_of(place / "bundles")


def remove_old() -> None:
    """Remove bundles that nobody asked for lately, and the oldest where there are many."""
    CACHE.mkdir(parents=True, exist_ok=True)
    by_age = sorted((p for p in CACHE.iterdir() if p.is_dir()), key=lambda p: -p.stat().st_mtime)
    for index, place in enumerate(by_age):
        if index >= KEPT_BUNDLES or time.time() - place.stat().st_mtime > KEPT_DAYS * 86_400:
            shutil.rmtree(place, ignore_errors=True)  # whoever had it copied it


def _key(words: tuple[object, ...]) -> str:
    digest = hashlib.sha256(_sources().encode())
    for word in words:
        named = f"{word.name}\0{_hash_of(word)}" if isinstance(word, Path) else str(word)
        digest.update(f"\0{named}".encode())
    return digest.hexdigest()[:32]


@functools.cache
def _sources() -> str:
    """One hash of the package, the pinned versions and the installed ones."""
    parts = [_hash_of(ROOT / folder) for folder in (*FOLDERS, "constraints.txt")]
    return "\n".join([*parts, sys.version, *(f"{name} {_version(name)}" for name in _LIBRARIES)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _hash_of(path: Path) -> str:
    """Of a file, or of all files below a folder with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{file.relative_to(path)}\0{_hash_of(file)}\0".encode())
    return digest.hexdigest()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
