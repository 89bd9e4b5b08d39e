"""What the screen says where nobody watches: a line for each step, tables that fit, no blanks at their ends."""

from __future__ import annotations

import re

import pytest

from mvit2.export.cli import console
from mvit2.export.cli.console import Screen

ROWS = [("golden retriever", "0.2763", "a long remark"), ("lion", "0.2055", "")]
COLUMNS = ("label", "score", "remark")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.delenv("COLUMNS", raising=False)
    return Screen()


def test_a_log_has_a_line_for_each_step(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    with screen.step("load [weights]"):
        pass
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"- load \[weights\] \(\d+\.\d s\)\n", err)


@pytest.mark.parametrize(("quiet", "as_json"), [(True, False), (False, True)])
def test_none_with_quiet_or_json(
    quiet: bool, as_json: bool, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.configure(quiet, as_json)
    with screen.step("load"), screen.progress("work", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_what_lasts_is_told_while_it_does(
    screen: Screen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_LOG_SECONDS", 0.0)
    with screen.progress("work", 3) as advance:
        advance(1)
        advance(1)
        advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["- work: 1 of 3", "- work: 2 of 3"] and re.fullmatch(r"- work \(\d+\.\d s\)", lines[2])


def test_a_minor_step_is_not_told(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    with screen.step("look", minor=True):
        pass
    assert capsys.readouterr().err == ""


def test_a_table_in_a_pipe_has_no_blanks_at_its_ends(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.table("scores", COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "scores",
        "label             score   remark",
        "golden retriever  0.2763  a long remark",
        "lion              0.2055",
    ]


def test_a_table_that_is_too_wide_is_stacked(
    screen: Screen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word is cut."""
    monkeypatch.setenv("COLUMNS", "30")
    screen.configure(False, False)
    screen.table("scores", COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "scores",
        "golden retriever",
        "  score: 0.2763",
        "  remark: a long remark",
        "lion",
        "  score: 0.2055",
    ]
