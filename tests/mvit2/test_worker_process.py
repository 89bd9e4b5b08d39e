"""Modules of ours in a process of their own: how they end, what they answer, and that nothing outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mvit2.worker_process import Ended, how_it_ended, run_worker

SECONDS = 30.0


def ended(folder: Path, body: str, *arguments: object, limit: float = SECONDS, **changes: str | None) -> Ended:
    """What becomes of a worker with this body."""
    (folder / "a_worker.py").write_text(f"import os, signal, sys, time\n{body}\n")
    return run_worker("a_worker", *arguments, limit=limit, environment={"PYTHONPATH": str(folder), **changes})


KILL = "os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize(
    ("body", "status", "how", "last_line"),
    [
        ("pass", 0, None, "it printed nothing"),
        ("print('one'); print('two')", 0, None, "two"),
        ("raise ValueError('no model')", 1, "exited 1", "ValueError: no model"),
        ("print('all is well', flush=True); raise ValueError('one\\n two')", 1, "exited 1", "two"),
        ("sys.exit(3)", 3, "exited 3", "it printed nothing"),
        ("os._exit(7)", 7, "exited 7", "it printed nothing"),
        ("print('begun', flush=True)\n" + KILL.format("SIGKILL"), -9, "was killed by SIGKILL, probably out", "begun"),
        (KILL.format("SIGABRT"), -6, "was killed by SIGABRT", "it printed nothing"),
        ("print('x' * 5000)", 0, None, "x" * 200),
        ("sys.stdout.buffer.write(b'\\xff\\xfe broken')", 0, None, "\ufffd\ufffd broken"),
    ],
)
def test_how_it_ended(body: str, status: int, how: str | None, last_line: str, tmp_path: Path) -> None:
    found = ended(tmp_path, body)
    assert (found.status, found.last_line) == (status, last_line)
    assert found.how is None if how is None else found.how is not None and found.how.startswith(how)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited 0"),
        (255, "exited 255"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL, probably out of memory"),
        (-99, "was killed by signal 99"),
    ],
)
def test_an_end_in_words(status: int, words: str) -> None:
    assert how_it_ended(status) == words


def test_what_takes_too_long_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    body = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    found = ended(tmp_path, body, limit=5)
    assert (found.status, found.how) == (None, "did not finish in 5 s and was stopped")
    child = int(found.last_line)
    assert _ends(child)


def _ends(pid: int, seconds: float = 10) -> bool:
    """Whether a process that was sent SIGKILL is gone, or only waits to be reaped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


ANSWER = "from mvit2.worker_process import give_answer, start_worker; start_worker()\n"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("give_answer({'ms': 1.5, 'bytes': None})", {"ms": 1.5, "bytes": None}),
        ("give_answer([1, 'zwölf'])", [1, "zwölf"]),
        ("print('{}', end='', flush=True); give_answer(7); print('bye')", 7),
        ("give_answer(sys.argv[1:])", ["a b", "3"]),
    ],
)
def test_an_answer_is_found_among_what_is_printed(body: str, answer: object, tmp_path: Path) -> None:
    found = ended(tmp_path, ANSWER + body, "a b", 3)
    assert found.how is None and found.answer() == answer


@pytest.mark.parametrize(("body", "said"), [("pass", "it printed nothing"), ("print('garbage')", "garbage")])
def test_no_answer_is_an_error(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^gave no answer: {said}$"):
        ended(tmp_path, ANSWER + body).answer()


def test_an_answer_that_is_cut_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^gave half an answer: "):
        Ended(0, SECONDS, 'mvit2-answer: {"ms": ', "").answer()


def test_only_the_end_of_what_is_printed_is_kept(tmp_path: Path) -> None:
    found = ended(tmp_path, "for i in range(400_000): print(i)")
    assert found.last_line == "399999" and len(found.stdout) == 1 << 20


@pytest.mark.parametrize(
    ("variable", "set_to", "seen"), [("ORT_DISABLE_TELEMETRY", None, "1"), ("ORT_DISABLE_TELEMETRY", "0", "0")]
)
def test_telemetry_is_off_unless_the_user_has_set_it(
    variable: str, set_to: str | None, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    if set_to is not None:
        monkeypatch.setenv(variable, set_to)
    assert ended(tmp_path, f"print(os.environ.get({variable!r}))").last_line == seen


@pytest.mark.parametrize(("change", "seen"), [("other", "other"), (None, "None")])
def test_variables_are_changed_or_removed(
    change: str | None, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVIT2_TESTED", "ours")
    assert ended(tmp_path, "print(os.environ.get('MVIT2_TESTED'))", MVIT2_TESTED=change).last_line == seen


def test_a_folder_to_work_in(tmp_path: Path) -> None:
    (tmp_path / "a_worker.py").write_text("import os; print(os.getcwd())")
    found = run_worker("a_worker", limit=SECONDS, folder=tmp_path)  # python -m looks there, too
    assert found.last_line == str(tmp_path)


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "a_worker.py").write_text(f"{ANSWER}import os, time\nprint(os.getpid()); time.sleep(600)")
    parent = subprocess.Popen(
        [sys.executable, "-c", "from mvit2.worker_process import run_worker; run_worker('a_worker', limit=600)"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    try:
        process = psutil.Process(parent.pid)
        while not (children := process.children()):
            assert parent.poll() is None
    finally:
        parent.kill()
        parent.wait()
    assert not psutil.wait_procs(children, SECONDS)[1]


def test_a_worker_reads_what_its_libraries_printed(tmp_path: Path) -> None:
    """What native code writes past Python, too; reading moves nothing of what is printed later."""
    body = (
        "from mvit2.worker_process import give_answer, printed_so_far\n"
        "print('out'); os.write(2, b'driver: no\\n'); said = printed_so_far(); print('later'); give_answer(said)"
    )
    found = ended(tmp_path, body)
    assert found.answer() == "out\n\ndriver: no\n"
    assert found.stdout.startswith("out\nlater\n") and found.stderr == "driver: no\n"
