"""Text of files that reaches the terminal: nothing in it steers the terminal, or looks like another line of output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import pytest

from mvit2.export.cli.console import Screen

EVIL = "cat\x1b[31m\x9b2J\x07\u202egpj\n[red]error: forged[/]"
SHOWN = r"cat\x1b[31m\x9b2J\x07\u202egpj"


def _step(screen: Screen) -> None:
    with screen.step(EVIL):
        pass


def _progress(screen: Screen) -> None:
    with screen.progress(EVIL, 1) as advance:
        advance(1)


@pytest.mark.parametrize(
    "say",
    [
        lambda screen: screen.warn(EVIL),
        lambda screen: screen.error(EVIL),
        lambda screen: screen.complain(EVIL),
        lambda screen: screen.result(EVIL),
        lambda screen: screen.renamed(EVIL, EVIL),
        lambda screen: screen.table(EVIL, ("a", EVIL), [(EVIL, EVIL)]),
        _step,
    ],
    ids=["warn", "error", "complain", "result", "renamed", "table", "step"],
)
@pytest.mark.parametrize("columns", ["60", "2000"])
def test_the_screen_shows_and_does_not_obey(
    say: Callable[[Screen], None], columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    say(Screen())
    said = "".join(capsys.readouterr())
    assert SHOWN in said and "[red]error: forged[/]" in said
    assert all(c.isprintable() or c == "\n" for c in said), repr(said)
    assert not any(line.startswith("[red]error: forged") for line in said.splitlines())


def test_commands_on_a_bundle_that_a_stranger_made(
    demo_bundle: Path, tmp_path: Path, forge: ModuleType, run: Callable[..., CompletedProcess[str]]
) -> None:
    bundle = tmp_path / "bundle\x1b[31m"
    shutil.copytree(demo_bundle, bundle)

    def rename(manifest: dict[str, Any]) -> None:
        manifest["variant"] = manifest["weights"]["name"] = "\x1b]0;owned\x07"
        manifest["tools"] = {"\x1b[2J": "\u202e1"}

    forge.edit_manifest(bundle, rename)
    image = shutil.copy(bundle / "golden" / "cat.png", tmp_path / "cat\x1b[2J\nforged.png")
    for words in (
        ("info", bundle),
        ("predict", bundle, image, "--artifact", "model_float32.onnx"),
        ("info", "\x1b[31m"),
    ):
        done = run(*words)
        said = done.stdout + done.stderr
        assert "\\x1b" in said and all(c.isprintable() or c == "\n" for c in said), repr(said)
        assert not any(line.startswith("forged") for line in said.splitlines())
