"""README.md and docs/ as the tests read them: blocks with the comment above them, commands, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .tree import ROOT, name_of

__all__ = ["PAGES", "Block", "anchors", "blocks_of", "commands_of", "inline_commands", "links_of"]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)$")
_COMMENT = re.compile(r"^<!-- (run|recreate): (.+) -->$")
_USAGE = re.compile(r"\b[A-Z][A-Z_]{2,}\b")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page, line: where it is.
        language: after the fence, such as "console"; may be empty.
        text: its lines.
        run: how a test runs it, of ``<!-- run: ... -->`` above it.
        recreate: how a reader gets what it shows, of ``<!-- recreate: ... -->``.
    """

    page: Path
    line: int
    language: str
    text: str
    run: str | None = None
    recreate: str | None = None

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    @property
    def is_usage(self) -> bool:
        """Whether its commands have words in capitals, which stand for something of the reader's."""
        commands = [command for command in commands_of(self) if command.startswith(("mvit2", "python"))]
        return bool(commands) and all(_USAGE.search(command) for command in commands)


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    comment: dict[str, str] = {}
    index = 0
    while index < len(lines):
        fence = _FENCE.match(lines[index])
        if fence is None:
            found = _COMMENT.match(lines[index])
            comment = {found[1]: found[2]} if found else comment if not lines[index].strip() else {}
            index += 1
            continue
        end = lines.index("```", index + 1)
        yield Block(page, index + 1, fence[1], "\n".join(lines[index + 1 : end]), **comment)
        comment, index = {}, end + 1


def commands_of(block: Block) -> list[str]:
    """What is typed after "$ ", without a comment at the end."""
    begins = "- run: " if block.language == "yaml" else "$ "
    lines = (line.strip() for line in block.text.splitlines())
    return [_only_the_command(line.removeprefix(begins)) for line in lines if line.startswith(begins)]


def _only_the_command(line: str) -> str:
    """Without a comment, and without where its output goes."""
    return line.split("  #")[0].split(" > ")[0].strip()


def inline_commands(page: Path) -> Iterator[str]:
    """Commands of ours among the words of a text: `mvit2 check BUNDLE`."""
    for code in re.findall(r"`([^`]+)`", _prose(page)):
        if re.match(r"(mvit2|mvit2-export) ", code):
            yield " ".join(code.split())


def _prose(page: Path) -> str:
    """Without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links_of(page: Path) -> Iterator[str]:
    """Targets inside the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            yield target


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
