"""Files and folders that people name, when they are no files, or endless."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvit2.errors import UsageError
from mvit2.regular_files import check_regular, files_below, read_text


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def _loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_fifo, "it is a pipe or a device"),
        (lambda folder: Path("/dev/zero"), "it is a pipe or a device"),
        (lambda folder: folder, "it is a folder"),
        (lambda folder: folder / "none", "No such file"),
        (_loop, "Too many levels of symbolic links"),
    ],
    ids=["pipe", "device", "folder", "missing", "loop"],
)
def test_what_is_no_regular_file(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=said):
        read_text(make(tmp_path))


def test_a_regular_file_so_large(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("zwölf\n", encoding="utf-8")
    assert read_text(tmp_path / "text", most=7) == "zwölf\n"
    with pytest.raises(OSError, match="it has 7 bytes, accepted are at most 6"):
        check_regular(tmp_path / "text", 6)


def test_everything_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x", "a/y", "a/b/z"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)  # a loop, if it were followed
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = {path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)}
    assert found == {"x", "a/y", "a/b/z", "a/up", "gone"}


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file so deep in folders; removed level by level, since Python's own way is recursive."""
    levels: list[int] = []

    def make(depth: int) -> Path:
        place = os.open(tmp_path, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=place)
            inner = os.open("d", os.O_RDONLY, dir_fd=place)
            levels.append(place)
            place = inner
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=place))
        levels.append(place)
        return tmp_path

    yield make
    os.unlink("file", dir_fd=levels[-1])
    os.close(levels.pop())
    for level in reversed(levels):
        os.rmdir("d", dir_fd=level)
        os.close(level)


def test_folders_as_deep_as_people_have_them(nested: Callable[[int], Path]) -> None:
    assert len(list(files_below(nested(64)))) == 1


@pytest.mark.parametrize("depth", [65, 900])
def test_folders_that_are_too_deep(depth: int, nested: Callable[[int], Path]) -> None:
    with pytest.raises(UsageError, match="more than 64 deep"):
        list(files_below(nested(depth)))
