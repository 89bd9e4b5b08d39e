"""The file that keeps an evaluation: what is read is what was written, torn ends are mended, all else is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvit2.errors import OutputError, UsageError
from mvit2.runtime.evaluate.results_file import Header, open_progress
from mvit2.runtime.tasks.record import Answer, Row

ONNX, TFLITE = "model_float32.onnx", "model_float32.tflite"
HEADER = Header("a" * 64, 24, "b" * 64, (ONNX, TFLITE), classes=20)


def _row(picture: int) -> Row:
    """With numbers that no short decimal gives back."""
    random = np.random.default_rng(picture)
    answers = tuple(Answer(tuple(range(5)), tuple(map(float, random.random(5))), *random.random(2)) for _ in range(2))
    return Row(picture, 1 / (picture + 3), answers)


ROWS = [*map(_row, range(22)), Row(22, error="'ä\\n.jpg' is a text file"), Row(23, 5e-324, _row(23).answers)]


def kept(path: Path, rows: list[Row]) -> bytes:
    """The progress file of ``rows``."""
    with open_progress(path, HEADER) as progress:
        progress.add(rows)
    return path.read_bytes()


def line_ends(content: bytes) -> list[int]:
    return [match.end() for match in re.finditer(b"\n", content)]


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        (lambda ends: 0, 0),
        (lambda ends: 10, 0),  # in the first line
        (lambda ends: ends[0] - 1, 0),
        (lambda ends: ends[0], 0),
        (lambda ends: ends[0] + 1, 0),
        (lambda ends: ends[7], 7),
        (lambda ends: ends[7] - 1, 6),  # only the end of the line is missing
        (lambda ends: ends[-1] - 40, 23),
        (lambda ends: ends[-1], 24),
    ],
)
def test_a_cut_file_loses_a_line_at_most(cut: Callable[[list[int]], int], left: int, tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    content = kept(path, ROWS)
    path.write_bytes(content[: cut(line_ends(content))])
    with open_progress(path, HEADER) as progress:
        assert list(progress.rows.values()) == ROWS[:left]  # to the last bit
        progress.add(ROWS[left:])
    assert path.read_bytes() == content


def test_zeros_at_the_end_are_a_torn_line(tmp_path: Path) -> None:
    """What some file systems leave when the power fails."""
    content = kept(tmp_path / "p", ROWS[:5])
    (tmp_path / "p").write_bytes(content + b"\0" * 64)
    with open_progress(tmp_path / "p", HEADER) as progress:
        assert list(progress.rows.values()) == ROWS[:5]
    assert (tmp_path / "p").read_bytes() == content


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"manifest": "0" * 64}, r"begun with another bundle .*: [0-9a-f]{12}, now 000000000000; accepted: the same"),
        ({"count": 500}, "another number of images: 24, now 500"),
        ({"pictures": "1" * 64}, "images of other names, sizes or classes"),
        ({"artifacts": (ONNX,)}, r"other artifacts: \['model_float32.onnx', .*\], now \['model_float32.onnx'\]"),
    ],
)
def test_another_evaluation_is_refused(change: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    content = kept(tmp_path / "p", ROWS)
    with pytest.raises(UsageError, match=wrong), open_progress(tmp_path / "p", replace(HEADER, **change)):
        pass
    assert (tmp_path / "p").read_bytes() == content


@pytest.mark.parametrize(
    ("line", "edit", "wrong"),
    [
        (0, lambda line: b"my shopping list\n", "no progress file of this mvit2 evaluate; name a new file"),
        (0, lambda line: b"[1]\n", "no progress file"),
        (0, lambda line: line.replace(b'"mvit2_evaluation": 1', b'"mvit2_evaluation": 2'), "version of its format: 2"),
        (3, lambda line: b"\n", "is damaged in line 4"),
        (3, lambda line: line[:-20] + b"\n", "is damaged in line 4"),
        (3, lambda line: b"[" * 100_000 + b"\n", "is damaged in line 4"),
        (3, lambda line: re.sub(rb'"picture": \d+', b'"picture": 24', line), "is damaged in line 4"),
        (3, lambda line: re.sub(rb'"classes": \[\d+', b'"classes": [20', line), "is damaged in line 4"),
        (3, lambda line: re.sub(rb'"noise": [^,]+', b'"noise": NaN', line), "is damaged in line 4"),
    ],
)
def test_a_damaged_file_is_refused(line: int, edit: Callable[[bytes], bytes], wrong: str, tmp_path: Path) -> None:
    lines = kept(tmp_path / "p", ROWS).splitlines(keepends=True)
    assert edit(lines[line]) != lines[line]
    (tmp_path / "p").write_bytes(b"".join([*lines[:line], edit(lines[line]), *lines[line + 1 :]]))
    with pytest.raises(UsageError, match=wrong) as caught, open_progress(tmp_path / "p", HEADER):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("nowhere/p", r"cannot be read or written \(No such file or directory\); name another file"),
        ("folder", "is no regular file; name a file"),
        ("/dev/full", "is no regular file; name a file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(name: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=wrong), open_progress(tmp_path / name, HEADER):
        pass
