"""Old words work for one release: they do what the new ones do, say so on one line of stderr, and are in no help."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
AFTER = "; the old word goes with the next release."


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bundle nowhere --target ios", "app nowhere --target ios", "mvit2 bundle is now mvit2 app"),
        ("bundle nowhere --target windows", "app nowhere --target windows", "mvit2 bundle is now mvit2 app"),
        ("evaluate nowhere x --engine rey", "evaluate nowhere x --executor rey", "--engine is now --executor"),
        ("evaluate nowhere x --engine local", "evaluate nowhere x --executor local", "--engine is now --executor"),
    ],
)
def test_the_old_word_does_the_same(old: str, new: str, said: str, run: Run) -> None:
    before, now = run(*old.split()), run(*new.split())
    line, *rest = before.stderr.splitlines()
    assert line == said + AFTER and rest == now.stderr.splitlines()
    assert (before.returncode, before.stdout) == (now.returncode, now.stdout)
    assert now.returncode != 0 and len(rest) == 1


def test_an_app_folder_by_the_old_word(run: Run, demo_bundle: Path, tmp_path: Path) -> None:
    """With --json, too, stdout holds one object."""
    done = run("bundle", demo_bundle, "--target", "ios", "-o", tmp_path, "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert done.stderr == f"mvit2 bundle is now mvit2 app{AFTER}\n"


def test_two_words_that_say_two_things(run: Run) -> None:
    done = run("evaluate", "nowhere", "x", "--engine", "local", "--executor", "ray")
    assert done.returncode == 2
    assert "--engine local and --executor ray say two things; leave out --engine." in done.stderr


@pytest.mark.parametrize(("command", "old", "new"), [([], "bundle", "app"), (["evaluate"], "--engine", "--executor")])
def test_help_knows_the_new_word_alone(command: list[str], old: str, new: str, run: Run) -> None:
    words = [
        word.rstrip(",")
        for line in run(*command, "--help").stdout.splitlines()
        if re.match(r"  [a-z-]", line)
        for word in line.split()[:2]
    ]
    assert new in words and old not in words
