"""What README.md and docs/ show is run: blocks below a comment ``<!-- run: HOW -->``, each in a folder of its own."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from types import MappingProxyType

import pytest

from ..support.documents import PAGES, Block, blocks_of, commands_of
from ..support.tree import ROOT

Run = Callable[..., CompletedProcess[str]]
MakeBundle = Callable[..., Path]
CLASSIFIER, SEGMENTER = "build/demo/mobilevitv2-0.5-demo20", "build/demo/mobilevitv2-0.5-demo11-segment"
SEGMENT = ("--weights", "demo", "--task", "segment", "--format", "onnx", "--quantize", "none", "--no-report")
QUICK_EXPORT = ("--learning-steps", "0", "--no-report")  # of what takes minutes only to be better


@dataclass(frozen=True)
class How:
    """What a block needs: a bundle, by the fixture that has it; where it lies for a reader; a mark."""

    bundle: str | None = None
    place: str = CLASSIFIER
    mark: str | None = None


HOWS: Mapping[str, How] = MappingProxyType(
    {
        "demo": How("demo_bundle"),
        "int8": How("int8_bundle"),
        "segment": How("segment_bundle", SEGMENTER, "exports"),
        "export": How(mark="exports"),
        "quickstart": How(mark="exports"),
        "timing": How("demo_bundle", mark="timing"),
        "accelerator": How("demo_bundle", mark="accelerator"),
        "mediapipe": How("int8_bundle", mark="mediapipe"),
    }
)


def _cases(language: str) -> list[object]:
    return [*_each_case(language)]


def _each_case(language: str) -> Iterator[object]:
    for block in (block for page in PAGES for block in blocks_of(page)):
        if block.run is not None and block.language == language:
            how = HOWS[block.run]
            marks = [
                getattr(pytest.mark, mark) for mark in (how.mark, "exports" * (how.bundle == "int8_bundle")) if mark
            ]
            yield pytest.param(block, marks=marks, id=str(block))


@pytest.fixture(scope="session")
def segment_bundle(make_bundle: MakeBundle) -> Path:
    return make_bundle(*SEGMENT)


@pytest.fixture
def folder(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone, as far as a block sees of it; the working folder of the test."""
    (tmp_path / "mvit2").mkdir()
    (tmp_path / "mvit2" / "photos").symlink_to(photos)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def prepare(folder: Path, request: pytest.FixtureRequest) -> Callable[[Block], None]:
    """Puts the bundle of a block where a reader has it."""

    def put(block: Block) -> None:
        how = HOWS[block.run or ""]
        if how.bundle is not None:
            shutil.copytree(request.getfixturevalue(how.bundle), folder / how.place)

    return put


@pytest.mark.parametrize("block", _cases("console"))
def test_commands(
    block: Block, prepare: Callable[[Block], None], run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends with 0, and prints at least the first words of the lines that are shown below it."""
    prepare(block)
    _skip_what_cannot_be_proven_here(block)
    for command, shown in _with_output(block):
        printed = _done(command, run, folder, monkeypatch)
        missing = [line for line in shown if line.split()[0] not in printed]
        assert missing == [], f"{command} prints:\n{printed}"


def _with_output(block: Block) -> Iterator[tuple[str, list[str]]]:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    for command, part in zip(commands_of(block), parts, strict=True):
        yield command, [line for line in part.splitlines()[1:] if line.strip() not in ("", "...")]


def _done(command: str, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What it prints."""
    name, *words = shlex.split(command)
    if name == "pip":
        return ""  # installations are tested in test_packaging.py
    if name == "python":
        return _script(words, folder, monkeypatch)
    if name == "mvit2-export":
        words = ["export", *words, *QUICK_EXPORT]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def _script(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """In this process; it may take a VIDEO, which is made for it."""
    if "VIDEO" in words:
        words = [str(_video(folder)) if word == "VIDEO" else word for word in words]
    monkeypatch.setattr(sys, "argv", words)
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
    return ""


def _video(folder: Path) -> Path:
    cv2 = pytest.importorskip("cv2", reason="NO OPENCV: pip install opencv-python")
    image = cv2.imread("mvit2/photos/coffee.jpg")
    writer = cv2.VideoWriter(str(folder / "video.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, image.shape[1::-1])
    for _ in range(2):
        writer.write(image)
    writer.release()
    return folder / "video.avi"


def _skip_what_cannot_be_proven_here(block: Block) -> None:
    from mvit2.runtime.accelerators.table import parse_places

    for word in re.findall(r"--on (\S+)", block.text):
        lacking = parse_places("--on", [word])[0].accelerator.missing()
        if lacking is not None:
            pytest.skip(f"NOT PROVEN ON {word.upper()}: {lacking}")


@pytest.mark.parametrize("block", _cases("python"))
def test_python(block: Block, prepare: Callable[[Block], None], folder: Path, request: pytest.FixtureRequest) -> None:
    prepare(block)
    if block.run == "mediapipe":
        text = re.sub(r'"((?:build|mvit2)/[^"]+)"', lambda found: repr(str(folder / found[1])), block.text)
        (folder / "block.py").write_text(text)
        assert request.getfixturevalue("mediapipe")(folder / "block.py").strip()
        return
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})


def test_blocks_are_run() -> None:
    assert len(_cases("console")) >= 10 and len(_cases("python")) >= 4
    assert os.environ["HF_HUB_OFFLINE"] == "1"
