"""README.md and docs/: what they name is there, every command has options that exist. What is run: test_blocks.py."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from mvit2.export.cli.app import application
from mvit2.export.cli.command_table import COMMANDS
from mvit2.export.option import options_of, request_of
from mvit2.export.request import ExportRequest

from ..support.documents import PAGES, Block, anchors, blocks_of, commands_of, inline_commands, links_of
from ..support.tree import ROOT, name_of

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
TYPED = [(str(block), command) for block in BLOCKS for command in commands_of(block)]
OURS = [(place, command) for place, command in TYPED if command.startswith(("mvit2 ", "mvit2-export "))]
INLINE = sorted({command for page in PAGES for command in inline_commands(page)})
MENTIONED = [(name_of(page), page.read_text(encoding="utf-8")) for page in PAGES]
GROUP: Any = application()


# ---- the pages ----


def test_the_readme_is_read_in_one_go() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 160
    assert {"0.9", "1.9 to 3.8", "36 points"} <= set(re.findall(r"0\.9|1\.9 to 3\.8|36 points", "\n".join(lines[:10])))


def test_every_page_is_reached() -> None:
    """From docs/README.md, and most from the README."""
    listed = {target.split("#")[0] for target in links_of(ROOT / "docs" / "README.md")}
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"} <= listed
    assert len(PAGES) >= 15


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    for target in links_of(page):
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}: it has {sorted(anchors(there))}"


def test_the_reference_is_that_of_the_options() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["reference"]()
    assert made == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), "options changed: run make cli.md"


# ---- commands ----


@pytest.mark.parametrize(("place", "command"), OURS, ids=[f"{place} {command}"[:80] for place, command in OURS])
def test_a_command_has_options_that_exist(place: str, command: str) -> None:
    context = _parsed(command)
    if context.command.name == "export" and not re.search(r"\b[A-Z]{4,}\b", command):
        typed = {name: context.params[name] for name in options_of(ExportRequest)}
        request_of(ExportRequest, {name: value for name, value in typed.items() if value != ()})


def test_there_are_commands() -> None:
    assert len(OURS) > 30 and len(INLINE) > 20


@pytest.mark.parametrize("command", INLINE)
def test_a_command_in_a_text_has_options_that_exist(command: str) -> None:
    """It may leave out what must be given."""
    try:
        _parsed(command.replace("|", "-or-"))
    except typer.TyperException as error:
        assert "Missing" in error.format_message() or "requires an argument" in error.format_message(), command


def _parsed(command: str) -> Any:
    """Raises typer.TyperException."""
    name, *words = shlex.split(command)
    if name == "mvit2-export":
        words = ["export", *words]
    if words[:1] in (["--version"], ["--help"]):
        return GROUP.make_context("mvit2", words, resilient_parsing=True)
    assert words[0] in COMMANDS, f"{command}: no such command"
    one = GROUP.get_command(None, words[0])
    if "--help" in words or "--version" in words:
        return one.make_context(words[0], words[1:], resilient_parsing=True)
    return one.make_context(words[0], words[1:])


@pytest.mark.parametrize(("page", "text"), MENTIONED, ids=[page for page, _ in MENTIONED])
def test_what_other_commands_name_is_there(page: str, text: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|\$ )make ([a-z.-]+)", text):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make {target}"
    for words in re.findall(r"pytest ((?:tests[\w/.]*,? ?)+)", text):
        for path in words.replace(",", " ").split():
            assert (ROOT / path).exists(), path
    for file in re.findall(r"python ((?:docs|tests)/[\w/]+\.py)", text):
        assert (ROOT / file).is_file(), file
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for named in re.findall(r"'[./\w]*\[([\w,-]+)\]'", text):
        assert set(named.split(",")) <= set(extras), named


# ---- blocks ----


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "console"], ids=str)
def test_commands_are_run_or_say_how_to_repeat_them(block: Block) -> None:
    """Usage with words in capitals is parsed above; so is what only names a target of make."""
    others = all(command.startswith(("make ", "pip ")) for command in commands_of(block))
    assert block.run or block.recreate or block.is_usage or others, block.text


def test_every_example_is_run() -> None:
    """By a block of a page, so that test_blocks.py runs it."""
    run = "\n".join(block.text for block in BLOCKS if block.run)
    examples = {name_of(file) for file in (ROOT / "docs" / "examples").glob("*.py")}
    assert len(examples) >= 3 and {name for name in examples if name not in run} == set()
