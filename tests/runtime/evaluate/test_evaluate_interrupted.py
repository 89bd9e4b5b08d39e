"""``mvit2 evaluate`` cut short: by a signal to it and its workers, by the death of a worker, by its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest
from PIL import Image

Run = Callable[..., CompletedProcess[str]]
TFLITE = "model_float32.tflite"
PICTURES = 4000  # seconds of work, also for whoever must interrupt it on a busy machine
SECONDS = 120  # of patience; on an idle machine every wait here is below five


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A list long enough to be interrupted: a small picture again and again."""
    Image.linear_gradient("L").resize((64, 64)).save(tmp_path / "small.png")
    lines = [f"small.png,{i % 20}" for i in range(PICTURES)]
    (tmp_path / "many.csv").write_text("\n".join(["path,label", *lines]))
    return tmp_path / "many.csv"


class Session:
    """The real command in a session of its own, at work on a long list and keeping what it does."""

    def __init__(self, bundle: Path, source: Path) -> None:
        self.progress = source.with_name("progress.jsonl")
        words = ["evaluate", bundle, source, "--artifact", TFLITE, "--processes", "2", "--resume", self.progress]
        self.words = [*map(str, words), "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mvit2", *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        self.wait_for(lambda: self.progress.exists() and self.progress.read_bytes().count(b"\n") > 20)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline and self.process.poll() is None, self.process.communicate()
            time.sleep(0.005)

    @property
    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    @property
    def done(self) -> int:
        return self.progress.read_bytes().count(b"\n") - 1


@pytest.fixture
def session(demo_bundle: Path, many: Path) -> Iterator[Session]:
    begun = Session(demo_bundle, many)
    yield begun
    if begun.process.poll() is None:
        begun.process.kill()
    begun.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_ends_cleanly(number: signal.Signals, session: Session) -> None:
    """As a terminal sends Ctrl-C: to the workers, too."""
    workers = session.workers
    os.killpg(session.process.pid, number)
    out, err = session.process.communicate(timeout=SECONDS)
    assert session.process.returncode == 128 + number
    assert len(workers) == 2 and not psutil.wait_procs(workers, SECONDS)[1]
    warning, error = err.splitlines()
    kept_in = f"of {PICTURES} images were done and are kept in {session.progress}; the same command goes on there."
    assert warning == f" WARNING  {session.done} {kept_in}"
    assert error.startswith(f"error: interrupted by {number.name}")
    assert "error" in json.loads(out)


def test_after_an_interrupt_the_result_is_the_same(session: Session, run: Run) -> None:
    os.killpg(session.process.pid, signal.SIGINT)
    session.process.communicate(timeout=SECONDS)
    before = session.done
    assert 20 <= before < PICTURES
    resumed = run(*session.words)
    assert resumed.returncode == 0 and session.done == PICTURES
    straight = run(*session.words[:5], "--json")
    assert straight.returncode == 0 and straight.stdout == resumed.stdout  # every digit


def test_a_killed_worker_is_one_line_and_the_rest_is_kept(session: Session) -> None:
    first, second = session.workers
    first.kill()
    _, err = session.process.communicate(timeout=SECONDS)
    warning, error = err.splitlines()
    assert session.process.returncode == 1 and not psutil.wait_procs([second], SECONDS)[1]
    assert f"{session.done} of {PICTURES} images were done and are kept in" in warning
    assert error.startswith(
        "error: an evaluation worker was killed by SIGKILL, probably out of memory; rerun with fewer --processes."
    )


def test_workers_die_with_their_parent(session: Session) -> None:
    workers = session.workers
    session.process.kill()
    assert not psutil.wait_procs(workers, SECONDS)[1]
    assert session.process.communicate()[1] == ""  # and say nothing
