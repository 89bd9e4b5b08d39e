"""The tests' own tools: marks that fit the tree, the command in this process, the cache of bundles, turns."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

from .support import bundles
from .support.command import run_here
from .support.refusals import the_error
from .support.resources import RESOURCES, TESTS, Turns, share_out
from .support.tree import ROOT

SOURCES = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}


# ---- marks ----


@pytest.mark.parametrize("place", [place for resource in RESOURCES for place in resource.places])
def test_marked_places_are_there(place: str) -> None:
    assert (TESTS / place).exists()


@pytest.mark.parametrize("fixture", sorted({name for resource in RESOURCES for name in resource.fixtures}))
def test_marked_fixtures_are_there(fixture: str) -> None:
    assert any(re.search(rf"^def {fixture}\(", text, re.MULTILINE) for text in SOURCES.values())


def test_marks_have_a_row_each() -> None:
    known = [resource.mark for resource in RESOURCES]
    assert len(known) == len(set(known))


@pytest.mark.parametrize(
    ("place", "fixtures", "params", "marks"),
    [
        ("test_errors.py", ["demo_bundle"], {}, []),
        ("test_errors.py", ["int8_bundle"], {}, ["exports"]),
        ("test_errors.py", ["request"], {"bundle": "int8_bundle"}, ["exports"]),  # getfixturevalue
        ("test_errors.py", ["word"], {"word": "wheel"}, []),  # only a word
        ("page/test_new.py", ["int8_bundle", "launch"], {}, ["exports", "browser"]),
        ("app_sources/test_new.py", [], {}, ["toolchain"]),
        ("app_sources_of_another/test_new.py", [], {}, []),
    ],
)
def test_what_a_test_uses_marks_it(place: str, fixtures: list[str], params: dict[str, str], marks: list[str]) -> None:
    item: Any = SimpleNamespace(path=TESTS / place, fixturenames=fixtures, callspec=SimpleNamespace(params=params))
    assert [resource.mark for resource in RESOURCES if resource.is_used_by(item)] == marks


# ---- the command in this process ----


def _instead(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None]) -> CompletedProcess[str]:
    monkeypatch.setattr("mvit2.__main__.main", main)
    return run_here("check", "a folder", env={"COLUMNS": "99"})


def test_what_it_prints_and_exits_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        print("out", sys.argv[1:], os.environ["COLUMNS"])
        os.write(2, b"of C++\r\n")
        print("err", file=sys.stderr)
        raise SystemExit(3)

    done = _instead(monkeypatch, main)
    assert (done.returncode, done.stdout) == (3, "out ['check', 'a folder'] 99\n")
    assert done.stderr == "of C++\nerr\n"


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (1, 1), ("words", 1), (130, 130)])
def test_exit_codes(code: object, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise SystemExit(code)

    done = _instead(monkeypatch, main)
    assert (done.returncode, done.stderr) == (expected, "words\n" if code == "words" else "")


def test_a_crash_is_a_traceback_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _instead(monkeypatch, lambda: [][1])
    assert done.returncode == 1 and "Traceback" in done.stderr and "IndexError" in done.stderr


def test_the_process_is_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def main() -> None:
        os.chdir(tmp_path)
        os.environ["MVIT2_TEST"] = "left behind"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        warnings.warn("shown, not raised", UserWarning, stacklevel=1)
        sys.__dict__["stdout"] = None  # as it is after a broken pipe

    def state() -> list[object]:
        return [os.getcwd(), dict(os.environ), signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr, sys.argv]

    before = state()
    done = _instead(monkeypatch, main)
    assert done.returncode == 0 and "shown, not raised" in done.stderr
    assert state() == before
    with pytest.raises(UserWarning):
        warnings.warn("raised again", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("code", "out", "err", "said"),
    [
        (1, "", "error: no folder\n", "folder"),  # another code
        (2, "{}", "error: no folder\n", "folder"),
        (2, "", "error: no folder\nerror: no file\n", "folder"),
        (2, "", "no folder\n", "folder"),
        (2, "", "error: no folder\n", "file"),
        (2, "", "", ""),
    ],
)
def test_what_is_no_refusal(code: int, out: str, err: str, said: str) -> None:
    assert the_error(CompletedProcess((), 2, "", "error: no folder\n"), 2, ["no", "folder"]) == "error: no folder"
    with pytest.raises(AssertionError):
        the_error(CompletedProcess((), code, out, err), 2, said)


# ---- the cache of bundles ----


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """An empty cache, whose exports are only listed."""
    calls: list[tuple[object, ...]] = []

    def instead(*words: object) -> CompletedProcess[str]:
        calls.append(words)
        bundle = Path(str(words[-1])) / "a-bundle"
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text("{}")
        return CompletedProcess(words, 1 if "--bad" in words else 0, "", "error: bad\n")

    monkeypatch.setattr(bundles, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bundles, "run_in_process", instead)
    return calls


def test_a_bundle_is_made_once(made: list[tuple[object, ...]], tmp_path: Path) -> None:
    first, second = (bundles.exported("--io", "image", into=tmp_path / name) for name in "ab")
    assert len(made) == 1 and (first.name, second.name) == ("a-bundle", "a-bundle")
    (first / "manifest.json").write_text("damaged")
    assert (bundles.exported("--io", "image", into=tmp_path / "c") / "manifest.json").read_text() == "{}"
    assert len(made) == 1


def test_other_words_files_or_sources_make_another(
    made: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.write_text("1")
    words: list[tuple[object, ...]] = [("--io", "image"), ("--io", "tensor"), ("--weights", weights)]
    for one in words:
        bundles.exported(*one, into=tmp_path / str(len(made)))
    weights.write_text("2")
    bundles.exported(*words[2], into=tmp_path / "3")
    monkeypatch.setattr(bundles, "_sources", lambda: "changed")
    bundles.exported(*words[0], into=tmp_path / "4")
    assert len(made) == 5


def test_a_damaged_entry_and_a_failed_export_are_not_kept(made: list[tuple[object, ...]], tmp_path: Path) -> None:
    bundles.exported("--io", "image", into=tmp_path / "a")
    (kept,) = bundles.CACHE.rglob("manifest.json")
    kept.write_text("damaged")
    assert (bundles.exported("--io", "image", into=tmp_path / "b") / "manifest.json").read_text() == "{}"
    for _ in range(2):
        with pytest.raises(AssertionError, match="error: bad"):
            bundles.exported("--bad", into=tmp_path / "c")
    assert len(made) == 4


def test_old_bundles_are_removed(made: list[tuple[object, ...]], tmp_path: Path) -> None:
    bundles.exported("--io", "image", into=tmp_path / "a")
    (old,) = (path for path in bundles.CACHE.iterdir() if path.is_dir())
    os.utime(old, (0, 0))
    bundles.exported("--io", "tensor", into=tmp_path / "b")
    assert not old.exists() and len(list(bundles.CACHE.glob("*/sha256"))) == 1


# ---- turns ----


def test_one_that_is_alone_waits_for_all_and_all_wait_for_it(tmp_path: Path) -> None:
    run, order, inside = tmp_path.name, [], threading.Event()
    leave = threading.Event()

    def alone() -> None:
        with Turns(run).turn(alone=True):
            order.append("alone")

    def another() -> None:
        with Turns(run).turn(alone=False):
            order.append("another")

    with Turns(run).turn(alone=False):
        with Turns(run).turn(alone=False):  # two of them at a time
            inside.set()
        first, second = threading.Thread(target=alone), threading.Thread(target=another)
        first.start()
        leave.wait(0.2)
        second.start()
        leave.wait(0.2)
        assert order == []
    first.join(10)
    second.join(10)
    assert order == ["alone", "another"]


def test_those_that_are_alone_keep_the_room_for_each_other(tmp_path: Path) -> None:
    run, order, started = tmp_path.name, [], threading.Event()

    def another() -> None:
        started.set()
        with Turns(run).turn(alone=False):
            order.append("another")

    ours, other = Turns(run), threading.Thread(target=another)
    with ours.turn(alone=True, next_alone=True):
        order.append("first")
    other.start()
    started.wait(10)
    other.join(0.2)  # it waits
    with ours.turn(alone=True):
        order.append("second")
    other.join(10)
    assert order == ["first", "second", "another"]


def _test(place: str, *marks: str, fixtures: tuple[str, ...] = ()) -> Any:
    """As much of a pytest.Item as is looked at."""
    found = {name: SimpleNamespace(args=()) for name in marks}

    def add_marker(marker: pytest.MarkDecorator) -> None:
        found[marker.name] = SimpleNamespace(args=marker.args)

    return SimpleNamespace(
        path=TESTS / place, fixturenames=fixtures, get_closest_marker=found.get, add_marker=add_marker
    )


def test_what_takes_long_comes_first_and_bundles_are_made_before_they_are_waited_for() -> None:
    rows = [
        _test("a.py", fixtures=("demo_bundle",)),
        _test("b.py"),
        _test("c.py", "exports", fixtures=("int8_bundle",)),
        _test("d.py", "exports", fixtures=("int8_bundle",)),
        _test("e.py", "timing", fixtures=("demo_bundle",)),
        _test("f.py", "exports"),
        _test("app_sources/g.py", "toolchain"),
        _test("app_sources/h.py", "toolchain"),
        _test("i.py", fixtures=("demo_bundle",)),
    ]
    share_out(rows)
    names = [row.path.name for row in rows]
    assert names == ["c.py", "a.py", "f.py", "g.py", "h.py", "d.py", "e.py", "b.py", "i.py"]
    groups = [row.get_closest_marker("xdist_group").args[0] for row in rows]
    assert groups == ["c.py", "a.py", "f.py", "app_sources", "app_sources", "d.py", "alone", "b.py", "i.py"]


@pytest.mark.processes
@pytest.mark.parametrize("name", ["fuzz", "headline", "peers"])
def test_what_is_run_by_hand_starts(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"tests.{name}", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
