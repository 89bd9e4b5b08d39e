"""The command as people and scripts meet it: what it prints, where, and what it leaves unloaded."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import pytest

import mvit2

Run = Callable[..., CompletedProcess[str]]
NAME = "mobilevitv2-0.5-demo20"
EXPORT = ("export", "--weights", "demo", "--variant", "0.5", "--format", "onnx", "--no-report", "--output")
MODELS = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
CALM = {"OMP_NUM_THREADS": "1"}  # on a busy machine torch's waiting threads take the time of the working ones
ENVIRONMENT = {**os.environ, **CALM, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "TERM": "xterm"}
HEAVY = {"torch", "tensorflow", "onnx", "onnxruntime", "onnxsim", "onnx2tf", "ai_edge_litert", "numpy", "PIL"}


def shell(script: str, *words: object, **options: Any) -> CompletedProcess[str]:
    """A line of shell in which "$@" is ``words``."""
    command = ["bash", "-c", script, "bash", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, **options)


def mvit2_command(*words: object) -> list[str]:
    return [sys.executable, "-m", "mvit2", *map(str, words)]


# ---- quick answers ----


@pytest.mark.parametrize(
    "words",
    [["--help"], ["export", "--help"], ["predict", "--help"], ["check", "--help"], ["info", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    done = shell('"$@"', sys.executable, "-X", "importtime", *mvit2_command(*words)[1:])
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "mvit2.export.cli.app" in loaded  # so that the list is really one of modules
    assert {module.split(".")[0] for module in loaded} & HEAVY == set()


def test_refusing_arguments_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom mvit2.export.cli import main as entry\nsys.argv = ['mvit2', 'export', '--variant', '1.1']\n"
        "try:\n    entry.main()\nexcept SystemExit as end:\n    print(end.code, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    code, *loaded = done.stdout.split()
    assert code == "2" and "mvit2.export.request" in loaded
    assert {module.split(".")[0] for module in loaded} & HEAVY == set()


@pytest.mark.parametrize("words", [["--version"], ["export", "--version"]], ids=" ".join)
def test_version(words: list[str], run: Run) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mvit2 {mvit2.__version__}\n", "")


def test_every_option_is_explained(run: Run) -> None:
    text = run("export", "--help").stdout
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE)
    assert len(options) == len(set(options)) == 36
    explained = re.findall(r"^  (?:-\w, )?--[a-z-]+(?: [A-Z|,x]+)?(?:  +|\n {28})(?=\w)", text, re.MULTILINE)
    assert len(explained) == 36  # what it takes, then what it does, beside it or below


def test_without_a_command_there_is_help_but_no_error_line(run: Run) -> None:
    done = run()
    assert done.returncode == 2 and done.stderr == ""
    assert all(command in done.stdout for command in ("export", "predict", "check", "info"))


# ---- mvit2-export ----


@pytest.mark.exports
def test_mvit2_export_is_mvit2_export(tmp_path: Path) -> None:
    """The same bundle, byte for byte, and the same answer but for the folder."""
    script = Path(sys.executable).with_name("mvit2-export")
    one = shell('"$@" --json', *mvit2_command(*EXPORT, tmp_path / "1"))
    two = shell('"$@" --json', script, *EXPORT[1:], tmp_path / "2")
    bundle = tmp_path / "1" / NAME
    assert answer_of(one) == {"bundle": str(bundle), "warnings": [], "manifest": manifest_of(bundle)}
    assert answer_of(two) == {**answer_of(one), "bundle": str(tmp_path / "2" / NAME)}
    folders = [
        {str(f.relative_to(tmp_path / name)): f.read_bytes() for f in (tmp_path / name).rglob("*") if f.is_file()}
        for name in ("1", "2")
    ]
    assert folders[0] == folders[1] != {}
    usage = [shell('"$@" --help', *words).stdout for words in (mvit2_command("export"), [script])]
    assert "Usage: mvit2-export [OPTIONS]" in usage[1]
    options = [re.findall(r"--[a-z-]+ .*", text) for text in usage]
    assert options[0] == options[1]


# ---- for machines: --json, --quiet ----


def manifest_of(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_text())


def answer_of(done: CompletedProcess[str]) -> Any:
    """One object on one line of stdout, and nothing on stderr."""
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.count("\n") == 1 and done.stdout.endswith("\n")
    return json.loads(done.stdout)


@pytest.mark.exports
def test_json_of_export_repeats_the_warnings(run: Run, tmp_path: Path) -> None:
    words = ("--weights", "untrained", "--variant", "0.5", "--format", "onnx", "--image-size", 64, "--json")
    done = run("export", *words, "--output", tmp_path, env=CALM)
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "never trained" in warning and done.stderr == f" WARNING  {warning}\n"


def test_json_of_predict(run: Run, demo_bundle: Path, photos: Path) -> None:
    images = [str(photos / "cat.jpg"), str(photos / "coffee.jpg")]
    answer = answer_of(run("predict", demo_bundle, *images, "--top-k", 3, "--json"))
    assert list(answer) == MODELS
    labels = (demo_bundle / "labels.txt").read_text().splitlines()
    for results in answer.values():
        assert list(results) == images
        for predictions in results.values():
            assert [set(p) for p in predictions] == [{"label", "score", "index"}] * 3
            assert all(labels[p["index"]] == p["label"] for p in predictions)
            scores = [p["score"] for p in predictions]
            assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1


def test_json_of_predict_with_one_artifact(run: Run, demo_bundle: Path, photos: Path) -> None:
    answer = answer_of(run("predict", demo_bundle, photos / "cat.jpg", "--artifact", MODELS[1], "--json"))
    assert list(answer) == MODELS[1:2]


def test_json_of_check(run: Run, demo_bundle: Path) -> None:
    answer = answer_of(run("check", demo_bundle, "--json"))
    assert answer["passed"] is True and answer["skipped"] == []
    assert [d["stage"] for d in answer["differences"]] == MODELS
    assert all(0 <= d["max_relative"] <= d["tolerance"] for d in answer["differences"])


def test_json_of_a_failed_check(run: Run, bundle: Path, forge: ModuleType) -> None:
    """Answers that no model gave: the one object tells which artifact is how far away from them."""
    forge.edit_numbers(bundle, "golden/white.rgb", "u1", lambda pixels: pixels.fill(0))
    done = run("check", bundle, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["error"] in done.stderr
    assert [(d["stage"], d["max_relative"] > d["tolerance"]) for d in answer["differences"]] == [
        (model, True) for model in MODELS
    ]
    assert done.stderr.count("FAILED") == 3 and done.stderr.count("error: ") == 1


def test_json_of_info(run: Run, demo_bundle: Path) -> None:
    assert answer_of(run("info", demo_bundle, "--json")) == manifest_of(demo_bundle)
    artifacts = {a["file"]["path"]: a for a in manifest_of(demo_bundle)["artifacts"]}
    for model in MODELS:
        answer = answer_of(run("info", demo_bundle / model, "--json"))
        known = artifacts[model]
        assert (answer["file"], answer["sha256"], answer["engine"]) == (model, known["file"]["sha256"], known["engine"])
        assert (answer["input"], answer["output"]) == (known["input"], *known["outputs"])


@pytest.mark.parametrize("command", ["predict {bundle} {photos}/cat.jpg", "check {bundle}"])
def test_quiet_prints_nothing(command: str, run: Run, demo_bundle: Path, photos: Path) -> None:
    """export too: test_quiet_shows_nothing_on_a_terminal."""
    done = run(*command.format(bundle=demo_bundle, photos=photos).split(), "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- for people: tables and progress ----


def test_predict_names_the_coffee(run: Run, demo_bundle: Path, photos: Path) -> None:
    """A column for each artifact; the best class first, as it is in --json."""
    words = ("predict", demo_bundle, photos / "coffee.jpg", "--top-k", 1)
    best = answer_of(run(*words, "--json"))
    done = run(*words)
    title, header, row, *_ = done.stdout.splitlines()
    assert title.strip() == str(photos / "coffee.jpg")
    assert header.split() == ["label", *MODELS]
    (first,) = {results[str(photos / "coffee.jpg")][0]["label"] for results in best.values()}
    assert row.startswith(first) and len(row.removeprefix(first).split()) == 3


def on_a_terminal(*words: object) -> tuple[int, str]:
    """Exit code, and what a terminal shows, without its control sequences."""
    master, slave = pty.openpty()
    process = subprocess.Popen(mvit2_command(*words), stdout=slave, stderr=slave, env=ENVIRONMENT)
    os.close(slave)
    seen = b""
    try:
        while printed := os.read(master, 1 << 16):
            seen += printed
    except OSError:  # the other end was closed
        pass
    os.close(master)
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


@pytest.mark.exports
def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    """Elsewhere it is silent: test_mvit2_export_is_mvit2_export finds stderr empty."""
    code, seen = on_a_terminal(*EXPORT, tmp_path)
    assert code == 0
    steps = re.findall(r"✓ (.*) (\d+\.\d) s", seen)
    assert [title.split()[0] for title, _ in steps] == ["load", "torch:", "ONNX:", "ONNX:", "bundle:"]
    assert "next: mvit2 predict" in seen


@pytest.mark.exports
def test_quiet_shows_nothing_on_a_terminal(tmp_path: Path) -> None:
    assert on_a_terminal(*EXPORT, tmp_path, "--quiet") == (0, "")
    assert (tmp_path / NAME / "manifest.json").is_file()


# ---- an engine that is not installed ----


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("predict {bundle} {photos}/cat.jpg --json", 0, " WARNING  model_float32.onnx was left out: {missing}"),
        ("predict {bundle} {photos}/cat.jpg --json --artifact model_float32.onnx", 1, "error: {missing}"),
        ("check {bundle} --json", 0, " WARNING  model_float32.onnx was not checked: {missing}"),
    ],
)
def test_without_onnxruntime(
    command: str, code: int, said: str, run: Run, demo_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError")
    words = command.format(bundle=demo_bundle, photos=photos).split()
    done = run(*words, env={"PYTHONPATH": str(tmp_path)})
    missing = "onnxruntime is not installed; install it with: pip install 'mvit2[ort]'"
    assert (done.returncode, done.stderr) == (code, said.format(missing=missing) + "\n")
    answer = json.loads(done.stdout)
    assert MODELS[0] not in answer and (code == 0) == ("error" not in answer)


# ---- pipes, odd terminals, odd names ----


@pytest.mark.parametrize("command", ["info {bundle}", "info {bundle} --json", "--help", "--version", "check {bundle}"])
def test_a_reader_that_leaves_makes_no_noise(command: str, demo_bundle: Path) -> None:
    words = [word.format(bundle=demo_bundle) for word in command.split()]
    done = shell('"$@" | true', *mvit2_command(*words))  # true has gone before anything is printed
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert shell('"$@" | head -1', *mvit2_command(*words)).stderr == ""


@pytest.mark.parametrize("command", ["info {bundle}", "info {bundle} --json", "--version"])
def test_a_full_disk_behind_stdout_is_a_failure(command: str, demo_bundle: Path) -> None:
    words = [word.format(bundle=demo_bundle) for word in command.split()]
    done = shell('"$@" > /dev/full', *mvit2_command(*words))
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


def test_nothing_is_folded_in_a_pipe(demo_bundle: Path) -> None:
    """At 80 columns, which is what a pipe seems to have, this line would be broken."""
    done = shell('unset COLUMNS; "$@" | cat', *mvit2_command("info", demo_bundle))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("made with")]
    assert "torch " in line and "pillow " in line and len(line) > 100


@pytest.mark.parametrize("words", [["info", "{bundle}"], ["predict", "{bundle}", "{photo}", "--json"]], ids=" ".join)
def test_names_and_symbols_without_an_encoding(words: list[str], demo_bundle: Path, photos: Path) -> None:
    photo = demo_bundle.parent / "caf\u00e9 \udcff:cat:[bold].jpg"  # not UTF-8, and full of what rich interprets
    shutil.copy(photos / "cat.jpg", photo)
    filled = [word.format(bundle=demo_bundle, photo=photo) for word in words]
    for encoding in ("ascii", "utf-8"):
        done = shell(f'export PYTHONIOENCODING={encoding}; "$@"', *mvit2_command(*filled))
        assert done.returncode == 0 and done.stderr == ""
    if "--json" in words:
        assert list(json.loads(done.stdout)[MODELS[0]]) == [str(photo)]
    missing = shell('"$@"', *mvit2_command("info", f"{photo}.onnx"))
    assert ":cat:[bold].jpg.onnx does not exist" in missing.stderr
