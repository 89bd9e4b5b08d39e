"""``mvit2 app``: which model file goes in, what it prints, what is refused; its folders: test_app_folder.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mvit2.bundle.manifest import Artifact, Manifest, read_manifest
from mvit2.errors import MissingEngineError
from mvit2.export.apps.choose import choose_artifacts
from mvit2.export.apps.templates import render

Run = Callable[..., subprocess.CompletedProcess[str]]
ONNX, FLOAT32, FLOAT16 = "model_float32.onnx", "model_float32.tflite", "model_float16.tflite"


# ---- which model file ----


def _artifacts(manifest: Manifest, *names: str) -> Manifest:
    """The bundle as if it held these files; the precision is in the name."""
    found: list[Artifact] = []
    for name in names:
        precision = name.removeprefix("model_").rpartition(".")[0].replace("_", "-")
        engine = "litert" if name.endswith(".tflite") else "onnxruntime"
        first = manifest.artifacts[0]
        found.append(replace(first, file=replace(first.file, path=name), engine=engine, precision=precision))  # type: ignore[arg-type]
    return replace(manifest, artifacts=tuple(found))


@pytest.mark.parametrize(
    ("held", "engine", "chosen"),
    [
        ([ONNX, FLOAT32, "model_int8.tflite", FLOAT16], None, "model_int8.tflite"),
        ([ONNX, FLOAT32, FLOAT16], None, FLOAT16),
        ([ONNX, "model_int8.onnx", FLOAT32], None, FLOAT32),
        ([FLOAT32, "model_dynamic.tflite", "model_full_int8.tflite"], None, FLOAT32),
        (["model_full_int8.tflite"], None, "model_full_int8.tflite"),
        (["model_float32.ort", ONNX], None, ONNX),
        (["model_int8.ort", ONNX], None, "model_int8.ort"),
        ([FLOAT32, ONNX, "model_int8.onnx"], "onnxruntime", "model_int8.onnx"),
        ([ONNX, FLOAT32], "litert", FLOAT32),
    ],
)
def test_the_file_that_suits_most_apps(held: list[str], engine: Any, chosen: str, demo_bundle: Path) -> None:
    manifest = _artifacts(read_manifest(demo_bundle), *held)
    assert [a.file.path for a in choose_artifacts(demo_bundle, manifest, (), engine)] == [chosen]


def test_the_end_says_what_and_where(run: Run, demo_bundle: Path, tmp_path: Path) -> None:
    done = run("app", "--target", "web", demo_bundle, "-o", tmp_path)
    why, written, then = done.stdout.splitlines()
    assert why.startswith(f"{FLOAT16}: float16 for litert, 2.4 MB; chosen: litert before onnxruntime, int8 before")
    assert written.startswith(f"written: {tmp_path / 'mobilevitv2-0.5-demo20-web'}/, ") and then.startswith(
        "next: in that folder: npm ci"
    )
    assert run("app", "--target", "web", demo_bundle, "-o", tmp_path, "--overwrite", "--quiet").stdout == ""


# ---- what is refused ----


def _no_golden(bundle: Path, forge: ModuleType) -> None:
    forge.edit_manifest(bundle, lambda m: m.update(files=[f for f in m["files"] if "golden" not in f["path"]]))


def _changed(bundle: Path, forge: ModuleType) -> None:
    model = bundle / FLOAT16
    model.write_bytes(model.read_bytes()[:-1] + b"x")


def _changed_label(bundle: Path, forge: ModuleType) -> None:
    (bundle / "labels.txt").write_text("one\n" * 20)


def _too_few_labels(bundle: Path, forge: ModuleType) -> None:
    (bundle / "labels.txt").write_text("one\n")
    forge.resign(bundle, "labels.txt")


def _nothing(bundle: Path, forge: ModuleType) -> None:
    """As it is."""


@pytest.mark.parametrize(
    ("damage", "options", "code", "wrong"),
    [
        (_nothing, ["--target", "andriod"], 2, "--target is 'andriod', accepted: android, ios, web. Did you mean"),
        (
            _nothing,
            ["--target", "web", "--engine", "tflite"],
            2,
            "--engine is 'tflite', accepted: onnxruntime, lite",
        ),
        (_nothing, ["--target", "web", "--artifact", "model_float16.onnx"], 1, "or 'model_float16.tflite'? It holds: "),
        (_nothing, ["--target", "web", "--engine", "litert", "--artifact", ONNX], 1, "for litert. Did you mean"),
        (_nothing, ["--target", "web", "-o", "{bundle}"], 2, "lies inside the bundle"),
        (_nothing, ["--target", "web", "-o", "{bundle}/golden/x"], 2, "lies inside the bundle"),
        (_nothing, ["--target", "web", "-o", "{bundle}/labels.txt/x"], 2, "lies inside the bundle"),
        (_no_golden, ["--target", "ios"], 1, "has no golden vectors (golden/golden.json). Export it again."),
        (_changed, ["--target", "ios"], 1, f"{FLOAT16} was changed"),
        (_changed_label, ["--target", "ios"], 1, "labels.txt was changed"),
        (_too_few_labels, ["--target", "ios"], 1, "labels.txt has 1 lines, the network 20 classes"),
        (lambda bundle, forge: (bundle / "manifest.json").unlink(), ["--target", "ios"], 1, "holds no manifest.json"),
        (lambda bundle, forge: shutil.rmtree(bundle), ["--target", "ios"], 1, "does not exist: no manifest.json"),
    ],
)
def test_one_line_says_what_is_wrong(
    damage: Callable[[Path, ModuleType], object],
    options: list[str],
    code: int,
    wrong: str,
    refused: Callable[..., str],
    bundle: Path,
    forge: ModuleType,
) -> None:
    damage(bundle, forge)
    refused(code, wrong, "app", bundle, *(option.format(bundle=bundle) for option in options))
    assert [path.name for path in bundle.parent.iterdir()] == ([bundle.name] if bundle.exists() else [])


def test_an_engine_without_files(run: Run, bundle: Path, forge: ModuleType) -> None:
    forge.edit_manifest(bundle, lambda m: m.update(artifacts=m["artifacts"][:1]))
    done = run("app", bundle, "--target", "web", "--engine", "litert")
    assert done.returncode == 1 and f"has no file for litert. It holds: {ONNX}. Leave out --engine" in done.stderr


def test_jinja_is_named_where_it_is_missing(demo_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingEngineError, match=r"jinja2 is not installed.*mvit2\[export\]"):
        render("ios/Package.swift.jinja", {})


def test_nothing_heavy_is_loaded(demo_bundle: Path, tmp_path: Path) -> None:
    code = """
import sys
from mvit2.__main__ import main
sys.argv = ["mvit2", "app", *sys.argv[1:]]
try:
    main()
finally:
    print(sorted({"torch", "onnx", "onnxruntime", "ai_edge_litert", "tensorflow", "matplotlib"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(demo_bundle), "--target", "web", "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stderr
