"""All or nothing: a bundle is complete or not there, whatever the disk, a check or a conversion says."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mvit2.errors import OutputError
from mvit2.export import atomic
from mvit2.export.atomic import check_target, under_construction

NAME = "mobilevitv2-0.5-demo20"
EXPORT = ("export", "--weights", "demo", "--variant", "0.5", "--format", "onnx", "--output")
Files = dict[str, str]
OLD: Files = {"manifest.json": "old", "model.onnx": "old"}
NEW: Files = {"manifest.json": "new", "model.onnx": "new", "labels.txt": "new"}


def put(folder: Path, files: Files) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)


def files_of(folder: Path) -> Files:
    return {file.name: file.read_text() for file in folder.iterdir()}


def build(target: Path) -> None:
    with under_construction(target) as building:
        put(building, NEW)


# ---- the folder ----


@pytest.mark.parametrize("before", [None, {}, OLD], ids=["nothing", "empty", "bundle"])
def test_a_finished_folder_takes_its_place(before: Files | None, tmp_path: Path) -> None:
    target = tmp_path / NAME
    if before is not None:
        put(target, before)
    build(target)
    assert files_of(target) == NEW
    assert list(tmp_path.iterdir()) == [target]


def test_a_second_writer_is_told_at_once(tmp_path: Path) -> None:
    """While the first writes, in this process or another; afterwards the place is free again."""
    target = tmp_path / NAME
    script = (
        "import sys; from pathlib import Path; from mvit2.export.atomic import under_construction\n"
        "with under_construction(Path(sys.argv[1])): print('wrote')"
    )
    with under_construction(target) as building:
        put(building, NEW)
        with pytest.raises(OutputError, match="is being written by another process; wait for it"):
            build(target)
        done = subprocess.run([sys.executable, "-c", script, target], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "is being written by another process" in done.stderr
    assert files_of(target) == NEW and list(tmp_path.iterdir()) == [target]
    build(target)


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_another_made_in_the_meantime_is_replaced_only_if_asked(overwrite: bool, tmp_path: Path) -> None:
    target = tmp_path / NAME
    told = nullcontext() if overwrite else pytest.raises(OutputError, match="was made by another process in the mean")
    with told, under_construction(target, overwrite) as building:
        put(building, NEW)
        put(target, OLD)
    assert files_of(target) == (NEW if overwrite else OLD) and list(tmp_path.iterdir()) == [target]


def test_permissions_are_those_of_any_new_folder(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        build(tmp_path / NAME)
    finally:
        os.umask(previous)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("before", [None, OLD], ids=["nothing", "bundle"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_unfinished_folder_vanishes(before: Files | None, error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / NAME
    if before:
        put(target, before)
    with pytest.raises(error), under_construction(target) as building:
        put(building, NEW)
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ([NAME] if before else [])
    assert before is None or files_of(target) == before


def test_the_old_bundle_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    put(tmp_path / NAME, OLD)
    with pytest.raises(OutputError, match="is as it was before"), under_construction(tmp_path / NAME) as building:
        building.rmdir()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert files_of(tmp_path / NAME) == OLD


class Stop(BaseException):
    """An interrupt, as a signal's handler raises it."""


@contextmanager
def stopped_before_line(number: int) -> Iterator[list[int]]:
    """Raise Stop before the ``number``-th line that atomic.py executes."""
    passed: list[int] = []

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != atomic.__file__:
            return None
        if event == "line":
            passed.append(frame.f_lineno)
            if len(passed) == number:
                raise Stop
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield passed
    finally:
        sys.settrace(before)


def test_an_interrupt_at_any_line_leaves_a_whole_bundle(tmp_path: Path) -> None:
    outcomes = []
    for number in range(1, 100):
        parent = tmp_path / str(number)
        parent.mkdir()
        put(parent / NAME, OLD)
        with suppress(Stop), stopped_before_line(number) as passed:
            build(parent / NAME)
        outcomes.append(files_of(parent / NAME))
        if len(passed) < number:  # it came to its end before that line
            break
    assert all(files in (OLD, NEW) for files in outcomes)
    assert outcomes[0] == OLD and outcomes[-1] == NEW and 10 < len(outcomes) < 99


def test_a_full_disk(tmp_path: Path) -> None:
    """The system refuses a write, here by the limit on the size of a file."""
    put(tmp_path / NAME, OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(OutputError) as caught, under_construction(tmp_path / NAME) as building:
            (building / "model.onnx").write_bytes(bytes(1 << 17))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"writing {tmp_path / NAME}, or temporary files in ")
    assert str(caught.value).endswith(f" failed: File too large. {tmp_path / NAME} is as it was before.")
    assert list(tmp_path.iterdir()) == [tmp_path / NAME] and files_of(tmp_path / NAME) == OLD


@pytest.mark.parametrize(
    ("before", "overwrite", "message"),
    [
        (None, False, None),
        (OLD, True, None),
        ({}, True, None),
        (OLD, False, "exists already; replace it with --overwrite, or choose another --output[.]"),
        ({}, False, "exists already"),
        ({"thesis.txt": "the only copy"}, True, "is not a bundle .no manifest.json.; --overwrite will not replace it"),
    ],
)
def test_check_target(before: Files | None, overwrite: bool, message: str | None, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / NAME
    if before is not None:
        target.mkdir(parents=True)
        put(target, before)
    if message is None:
        check_target(target, overwrite)
    else:
        with pytest.raises(OutputError, match=message):
            check_target(target, overwrite)
    assert target.parent.is_dir()
    assert (files_of(target) if target.exists() else None) == before


# ---- the whole command ----


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "mvit2", *map(str, words)]


def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    calm = {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}  # waiting threads take the others' time
    env = {**os.environ, **calm, **options.pop("env", {})}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=env, **options)


def error_of(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line that starts with "error:"."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def left_in(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.iterdir()]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Permissions do not bind root, so root goes without the capability that makes it so."""
    (tmp_path / "locked").mkdir(mode=0o555)
    bound = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    for place in ("locked", "locked/deeper"):
        done = run([*bound, *command(*EXPORT, tmp_path / place)])
        assert error_of(done) == (
            f"error: --output {tmp_path / place} cannot be written (Permission denied); choose another folder."
        )
        assert list((tmp_path / "locked").iterdir()) == []


@pytest.mark.exports
def test_a_full_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "tmp").mkdir()
    limit = (1 << 20, 1 << 20)  # too little for the exported model, the first file of that size
    done = run(
        command(*EXPORT, tmp_path / "out"),
        env={"TMPDIR": str(tmp_path / "tmp")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert f"temporary files in {tmp_path / 'tmp'}, failed: File too large." in error_of(done)
    assert done.stdout == ""
    assert left_in(tmp_path / "out", tmp_path / "tmp") == []


NAMESPACES = shutil.which("unshare") and run(["unshare", "-rm", "true"]).returncode == 0


@pytest.mark.exports
@pytest.mark.skipif(not NAMESPACES, reason="no mount namespaces here; the tests above let writes fail without them")
@pytest.mark.parametrize("full", ["out", "tmp"])
def test_no_space_left_on_device(full: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "tmp").mkdir()
    script = f"""
        mount -t tmpfs -o size=1m tmpfs {tmp_path / full} || exit 99
        "$@"; code=$?
        ls -A {tmp_path / "out"} {tmp_path / "tmp"} | grep -v -e : -e '^$'
        exit $code"""
    words = ["unshare", "-rm", "sh", "-c", script, "sh", *command(*EXPORT, tmp_path / "out")]
    done = run(words, env={"TMPDIR": str(tmp_path / "tmp")})
    target = tmp_path / "out" / NAME
    assert error_of(done) == (
        f"error: writing {target}, or temporary files in {tmp_path / 'tmp'}, failed: "
        f"No space left on device. {target} is as it was before."
    )
    assert done.stdout == ""  # no file was left to list


SHADOW = """
import sys
from pathlib import Path

here = str(Path(__file__).parents[1])
sys.path.remove(here)
del sys.modules["onnxsim"]
import onnxsim  # the real one

simplify = onnxsim.simplify

def wrong(*args, **kwargs):
    model, ok = simplify(*args, **kwargs)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = bytes(len(weights.raw_data) // 2) + weights.raw_data[len(weights.raw_data) // 2 :]
    return model, ok

onnxsim.simplify = wrong
"""


@pytest.mark.exports
def test_a_converter_that_loses_weights_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "path" / "onnxsim").mkdir(parents=True)
    (tmp_path / "path" / "onnxsim" / "__init__.py").write_text(SHADOW)
    (tmp_path / "out").mkdir()
    done = run([*command(*EXPORT, tmp_path / "out"), "--json"], env={"PYTHONPATH": str(tmp_path / "path")})
    error = error_of(done)
    assert error == "error: parity failed at: model_float32.onnx. No bundle was written."
    rows = [(line.split("  ")[0], line.split()[-1]) for line in done.stderr.splitlines()[2:-1]]
    assert [verdict for _, verdict in rows[:-1]] == ["ok"] * (len(rows) - 1) and len(rows) > 2
    assert rows[-1] == ("model_float32.onnx", "FAILED")
    answer = json.loads(done.stdout)
    assert error == f"error: {answer['error']}"
    assert [difference["stage"] for difference in answer["differences"]] == [stage for stage, _ in rows]
    assert answer["differences"][-1]["max_relative"] > 100 * answer["differences"][-1]["tolerance"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.exports
def test_a_broken_converter_is_named_with_its_log(tmp_path: Path) -> None:
    for folder in ("path", "out", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "path" / "tensorflow.py").write_text("raise ImportError('this tensorflow is broken')\n")
    env = {"PYTHONPATH": str(tmp_path / "path"), "TMPDIR": str(tmp_path / "tmp")}
    done = run([*command(*EXPORT, tmp_path / "out"), "--format", "tflite"], env=env)
    error = error_of(done)
    (log,) = left_in(tmp_path / "tmp")  # and no scratch folder
    assert error == f"error: onnx2tf exited 1: ImportError: this tensorflow is broken. Its log: {log}"
    assert "ImportError: this tensorflow is broken" in log.read_text()
    assert list((tmp_path / "out").iterdir()) == []
