"""--help as people ask for it: every spelling, commands in the order of work, examples, 40 columns."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from mvit2.export.cli.command_table import COMMANDS, RENAMED
from mvit2.network.architectures import list_variants

from ...support.command import Run


@pytest.mark.parametrize(
    ("words", "as_words"),
    [
        ("-h", "--help"),
        ("help", "--help"),
        ("help check", "check --help"),
        ("check -h", "check --help"),
        ("-V", "--version"),
    ],
)
def test_other_spellings(words: str, as_words: str, run: Run) -> None:
    done, usual = run(*words.split()), run(*as_words.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, usual.stdout, "")


def test_the_commands_come_in_the_order_of_the_table(run: Run) -> None:
    shown = re.findall(r"^  ([a-z]\w+) ", run("--help").stdout, re.MULTILINE)
    assert shown == list(COMMANDS) and not set(shown) & set(RENAMED)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str, run: Run) -> None:
    """It opens, shows no type of Python's, and its examples use options that it has."""
    text = run(name, "--help").stdout
    assert text.startswith(f"Usage: mvit2 {name}") and COMMANDS[name].help.split()[0] in text
    assert re.findall(r"<\w+>|list\[|\bNone\b|Path", text) == []
    options = set(re.findall(r"--?[a-z][a-z-]*", text.partition("Examples:")[0]))
    for example in COMMANDS[name].examples:
        program, command, *words = shlex.split(example)
        assert (program, command) == ("mvit2", name) and f"  {example}\n" in text
        assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("name", ["export", "audit", "sensitivity"])
def test_every_variant_can_be_found(name: str, run: Run) -> None:
    text = run(name, "--help").stdout.partition("--variant")[2].partition("  --")[0]
    assert {variant.name for variant in list_variants()} <= set(text.split())


@pytest.mark.parametrize("words", [["--help"], ["export", "--help"]], ids=" ".join)
def test_help_at_40_columns(words: list[str], run: Run) -> None:
    text = run(*words, env={"COLUMNS": "40"}).stdout.partition("Examples:")[0]
    assert [line for line in text.splitlines() if len(line) > 40] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export format=tflite", "Options are typed as --format tflite."),
        ("export image_size=256", "Options are typed as --image-size 256."),
        ("export apple/mobilevitv2-1.0", "A checkpoint is named by --weights apple/mobilevitv2-1.0."),
    ],
)
def test_habits_of_other_tools(words: str, said: str, run: Run) -> None:
    done = run(*words.split())
    assert done.returncode == 2 and said in done.stderr and done.stderr.startswith("error: ")


def test_completion_knows_commands_and_options(run: Run) -> None:
    asked = {"_MVIT2_COMPLETE": "complete_bash", "COMP_WORDS": "mvit2 ev", "COMP_CWORD": "1"}
    script = "from mvit2.export.cli.main import main\nimport sys\nsys.argv = ['mvit2']\nmain()"
    assert _answer(script, asked) == ["evaluate"]
    assert "--artifact" in _answer(script, {**asked, "COMP_WORDS": "mvit2 check --ar", "COMP_CWORD": "2"})


def _answer(script: str, environment: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    return done.stdout.split()
