"""The files of a bundle: recorded with size and sha256 when it is made, verified before anything opens them.

A model may be a folder, such as Core ML's ``.mlpackage``: its record then stands for the list of the files in it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mvit2.errors import BundleError, UsageError
from mvit2.regular_files import files_below

__all__ = [
    "FileRecord",
    "bytes_of_model",
    "folder_record",
    "record",
    "record_folder",
    "record_model",
    "sha256_of",
    "verified_folder",
    "verified_path",
]

_MAX_PATH = 200
_FILE_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
_AGAIN = "Export or copy the bundle again."


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle: POSIX path inside it, size and content. Of a folder: see ``folder_record``."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if len(self.path) > _MAX_PATH or not _FILE_NAME.fullmatch(self.path):
            raise BundleError(
                f"manifest names the file {self.path[:80]!r}; accepted are plain relative paths of A-Z a-z 0-9 _ . - / "
                f"and at most {_MAX_PATH} characters"
            )


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record(bundle: Path, path: str) -> FileRecord:
    return FileRecord(path, (bundle / path).stat().st_size, sha256_of(bundle / path))


def record_folder(bundle: Path, path: str) -> tuple[FileRecord, tuple[FileRecord, ...]]:
    """A folder of the bundle and every file in it, by path. Raises BundleError for a name that no manifest takes."""
    found = sorted(file.relative_to(bundle).as_posix() for file in _held(bundle / path))
    files = tuple(record(bundle, file) for file in found)
    return folder_record(path, files), files


def record_model(bundle: Path, path: str) -> tuple[FileRecord, tuple[FileRecord, ...]]:
    """Of a model: the record of a file, with no parts, or ``record_folder``."""
    return record_folder(bundle, path) if (bundle / path).is_dir() else (record(bundle, path), ())


def bytes_of_model(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def folder_record(path: str, files: Iterable[FileRecord]) -> FileRecord:
    """The record of a folder: the sum of its files' sizes, and the sha256 of their list.

    The list has a line for each file, ``SHA256 SIZE PATH``, by path.
    """
    files = sorted(files, key=lambda file: file.path)
    listing = "".join(f"{file.sha256} {file.bytes} {file.path}\n" for file in files)
    digest = hashlib.sha256(listing.encode("utf-8", "surrogatepass")).hexdigest()
    return FileRecord(path, sum(file.bytes for file in files), digest)


def verified_path(bundle: Path, file: FileRecord) -> Path:
    """The file on disk, after size and sha256 were found to be the manifest's. Raises BundleError."""
    path = bundle / PurePosixPath(file.path)
    if not os.path.isfile(path):
        raise BundleError(f"{path} is missing; the manifest lists it. {_AGAIN}")
    if not path.resolve().is_relative_to(bundle.resolve()):
        raise BundleError(f"{path} leads out of the bundle; copy the bundle without links.")
    actual = sha256_of(path) if path.stat().st_size == file.bytes else f"{path.stat().st_size} bytes"
    if actual != file.sha256:
        what, expected = ("sha256", file.sha256) if len(actual) == len(file.sha256) else ("size", f"{file.bytes} bytes")
        change = f"its {what} is {actual[:20]}, the manifest says {expected[:20]}"
        raise BundleError(f"{path} was changed: {change}. {_AGAIN}")
    return path


def verified_folder(bundle: Path, folder: FileRecord, files: Iterable[FileRecord]) -> Path:
    """The folder on disk, after it was found to hold these files as recorded, and no others. Raises BundleError."""
    path = bundle / PurePosixPath(folder.path)
    known = {verified_path(bundle, file) for file in files}
    others = sorted(file.relative_to(bundle).as_posix() for file in _held(path) if file not in known)
    if others:
        raise BundleError(f"{path} holds {others[0][:80]!r}, which the manifest does not list. {_AGAIN}")
    return path


def _held(folder: Path) -> list[Path]:
    """Everything below ``folder`` but real folders: files, and links to anything."""
    try:
        return list(files_below(folder))
    except UsageError as error:
        raise BundleError(f"{error} {_AGAIN}") from None
