"""A folder that is replaced while signals come, at random moments and at each step: whole, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mvit2.export import swap
from mvit2.export.atomic import check_target, files_under_construction, under_construction
from mvit2.held_signals import signals_held
from mvit2.scratch import scratch_folder

from ..support.tree import ROOT


def killed(*words: object) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.support.kills", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.signals
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("seed", [1, 2])
def test_at_random_moments(name: str, seed: int) -> None:
    found = killed("--signal", name, "--count", 40, "--seed", seed)
    found.pop("put aside", None)
    assert found.pop("left", 0) <= 1  # the empty .lock, where a signal meets Python between two of its instructions
    assert found == {"trials": 40}


@pytest.mark.signals
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("way", [[], ["--renames"]], ids=["exchange", "renames"])
def test_at_each_step(name: str, way: list[str]) -> None:
    found = killed("--signal", name, "--count", 0, *way)
    steps = found.pop("trials")
    aside = {"put aside": 1} if way and name == "SIGKILL" else {}  # between two renames, until the next run
    assert 60 < steps < 200 and found == {"ended before": 1} | aside


# ---- what the next run says and does ----

PUT_BACK = "{} was put aside by a process that was killed before it could replace it; it is back."
OLD, NEW = ".bundle.0123abcd.old", ".bundle.0123abcd.new"


def _put(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text(content)


@pytest.mark.parametrize(
    ("left", "holds", "said"),
    [
        ({NEW: "half"}, None, ["what a killed process left unfinished beside {} was removed."]),
        ({"bundle": "old", NEW: "half"}, "old", ["what a killed process left unfinished beside {} was removed."]),
        ({"bundle": "new", OLD: "old"}, "new", ["what a killed process left unfinished beside {} was removed."]),
        (
            {OLD: "old"},
            "old",
            ["{} was put aside by a process that was killed before it could replace it; it is back."],
        ),
        ({"bundle": "old", ".bundle.lock": None}, "old", []),
        ({"bundle": "old", ".bundle.0123abcd": "mine", ".bundle2.0123abcd.new": "of another"}, "old", []),
    ],
)
def test_what_a_killed_process_left(
    left: dict[str, str | None], holds: str | None, said: list[str], tmp_path: Path
) -> None:
    for name, content in left.items():
        if content is None:
            (tmp_path / name).touch()
        else:
            _put(tmp_path / name, content)
    heard: list[str] = []
    check_target(tmp_path / "bundle", overwrite=True, say=heard.append)
    assert heard == [line.format(tmp_path / "bundle") for line in said]
    manifest = tmp_path / "bundle" / "manifest.json"
    assert (manifest.read_text() if manifest.exists() else None) == holds
    kept = {name for name in left if name in (".bundle.0123abcd", ".bundle2.0123abcd.new")}
    assert {path.name for path in tmp_path.iterdir()} == kept | ({"bundle"} if holds else set())


def test_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _put(tmp_path / f".mvit2-{dead.pid}-0123abcd", "half")
    _put(tmp_path / f".mvit2-{os.getppid()}-0123abcd", "at work")
    with files_under_construction(tmp_path) as building:
        (building / "mask.png").write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"mask.png", f".mvit2-{os.getppid()}-0123abcd"}


def test_temporary_folders_of_a_killed_process_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"mvit2-{dead.pid}-abc", f"mvit2-{os.getppid()}-abc", "mvit2-abc", f"other-{dead.pid}-abc"):
        _put(tmp_path / name, "")
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {
        f"mvit2-{os.getppid()}-abc",
        "mvit2-abc",
        f"other-{dead.pid}-abc",
    }


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_in_use_is_replaced(exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(swap, "_exchanged", lambda one, other: False)
    _put(tmp_path / "bundle", "old")
    with under_construction(tmp_path / "bundle") as building:
        (building / "manifest.json").write_text("new")
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_signals_come_after_the_block() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            assert came == []
        assert came == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, ignored)
