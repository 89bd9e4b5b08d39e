"""The command as a real process: it ends and prints as in the process of the tests, where most tests call it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ...support.command import run_here, run_in_process

COMMANDS = {
    "": 2,
    "--help": 0,
    "--version": 0,
    "exprt": 2,
    "export --help": 0,
    "export --variant 1.1": 2,
    "export --weights demo --variant 2.0 --output {tmp}": 1,
    "info {bundle}": 0,
    "info {bundle}/model_float32.tflite --json": 0,
    "predict {bundle} {photos}/cat.jpg": 0,
    "predict {bundle} {photos}/cat.jpg {photos}/none.jpg --json": 1,
    "check {bundle} --json": 0,
    "check {tmp}": 1,
    "evaluate {bundle} {table} --processes 1 --json": 0,
    "audit {bundle} {table} --images 2 --json": 0,
    "bench {bundle} --threads 0": 2,
    "app {bundle} --target ios --output {tmp}/app --overwrite": 0,
    "serve": 2,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    file = tmp_path_factory.mktemp("table") / "table.csv"
    rows = [f"{photo},{index}" for index, photo in enumerate(sorted(photos.glob("*.jpg")))]
    file.write_text("\n".join(["path,label", *rows]))
    return file


@pytest.mark.processes
@pytest.mark.parametrize("row", COMMANDS)
def test_a_process_says_the_same(row: str, demo_bundle: Path, photos: Path, table: Path, tmp_path: Path) -> None:
    words = row.format(bundle=demo_bundle, photos=photos, table=table, tmp=tmp_path).split()
    process, here = run_in_process(*words), run_here(*words)
    assert process.returncode == COMMANDS[row], process.stderr
    assert (process.returncode, process.stdout) == (here.returncode, here.stdout)
    told, told_here = (re.sub(r"\(\d+\.\d s\)", "", done.stderr) for done in (process, here))  # how long a step took
    assert told == told_here
