"""A file is the old one or the new one, whole; and nothing lies beside it."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mvit2.atomic_write import write_bytes, write_json, write_text


@pytest.mark.parametrize(
    ("write", "content"),
    [
        (lambda file: write_bytes(file, b"\0\xff"), b"\0\xff"),
        (lambda file: write_text(file, "zwölf\n"), "zwölf\n".encode()),
        (lambda file: write_text(file, "a\udcff"), b"a?"),
        (lambda file: write_json(file, {"ä": [1, None]}), '{\n "ä": [\n  1,\n  null\n ]\n}\n'.encode()),
        (lambda file: write_json(file, [1, 2], indent=None), b"[1, 2]\n"),
    ],
)
@pytest.mark.parametrize("before", [None, b"of an earlier run, and longer than what replaces it"])
def test_what_is_written(write: Callable[[Path], None], content: bytes, before: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_bytes(before)
    write(file)
    assert file.read_bytes() == content and list(tmp_path.iterdir()) == [file]


def test_permissions_of_the_old_file_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o640)
    write_bytes(file, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_has_not_is_refused_before_anything_is_written(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", {"figure": number})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "file", "")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = {"a": 1.5, "b": ["x", None, True]}
    write_json(tmp_path / "file", content)
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == content
