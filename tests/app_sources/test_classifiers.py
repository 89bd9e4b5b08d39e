"""Whole app folders of ``mvit2 bundle``, compiled and run on a desk, with stand-ins for the engines (stand_ins/).

What is tested: the golden pixels, what reaches an engine and what comes back, and the labels, whatever they are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mvit2

from .programs import HERE, JAVA, JSON_JAR, WITH_SWIFT, compiled, kotlin_library, need, swiftc

STAND_INS, STUBS = HERE / "stand_ins", HERE / "stubs" / "java" / "android"
CLASSES = 21_000
LABELS = {  # as id2label has them -> as the app shows them
    'tench, "Tinca tinca"': 'tench, "Tinca tinca"',
    "a comma, and 'quotes'; a\ttab": "a comma, and 'quotes'; a tab",
    "  spaced  out ": "spaced out",
    "line\r\nbreak": "line break",
    "other\u2028line\x85breaks\x0bof\x1cUnicode": "other line breaks of Unicode",
    "Zoë, 日本語, 🐈‍⬛, \u202egrün": "Zoë, 日本語, 🐈‍⬛, \u202egrün",
    "\u0301 begins with a combining mark": "\u0301 begins with a combining mark",
    "${x} {{ y }} $y \\n %s <b> | `z`": "${x} {{ y }} $y \\n %s <b> | `z`",
    "#comment": "#comment",
    "null": "null",
}


def command(*arguments: object) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-m", "mvit2", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def _many_classes(folder: Path) -> None:
    """The bundled checkpoint with more classes: every name of LABELS twice, and numbers."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(Path(mvit2.__file__).parent / "checkpoints" / "0.5", folder)
    tensors = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        repeats = [CLASSES // len(tensors[name]), *[1] * (tensors[name].ndim - 1)]
        tensors[name] = tensors[name].repeat(*repeats).contiguous()
    save_file(tensors, folder / "model.safetensors")
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = [*LABELS, *LABELS, *(f"class {number}" for number in range(CLASSES - 2 * len(LABELS)))]
    config |= {"id2label": dict(enumerate(names)), "label2id": {}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def many_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the bare network (``--io tensor``), in ONNX, with 21,000 labels."""
    folder = tmp_path_factory.mktemp("many")
    _many_classes(folder / "many")
    options = ("--io", "tensor", "--format", "onnx", "--image-size", "64", "--no-report")
    command("export", "--weights", folder / "many", *options, "--output", folder)
    (bundle,) = folder.glob("mobilevitv2-*")
    return bundle


def test_labels_reach_the_bundle_in_one_line_each(many_classes: Path) -> None:
    lines = (many_classes / "labels.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(lines) == CLASSES and lines[: 2 * len(LABELS)] == [*LABELS.values()] * 2


BUNDLES = {  # fixture -> the model files
    "demo_bundle": ("model_float16.tflite", "model_float32.onnx"),
    "many_classes": ("model_float32.onnx",),
}
every_bundle = pytest.mark.parametrize("name", BUNDLES)


def _app(request: pytest.FixtureRequest, name: str, platform: str, files: Sequence[str], parent: Path) -> Path:
    bundle: Path = request.getfixturevalue(name)
    options = [word for file in files for word in ("--artifact", file)]
    command("bundle", bundle, "--target", platform, "--output", parent, *options)
    return parent / f"{bundle.name}-{platform}"


@every_bundle
def test_the_android_folder(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Both of its tests: that of the JVM as it is, that of a device with stand-ins for Android and the engines."""
    need("Kotlin")
    app = _app(request, name, "android", BUNDLES[name], tmp_path)
    sources = {path.name: str(path) for path in sorted((app / "src").rglob("*.kt"))}  # Golden.kt is there twice
    stubs = (STUBS / "media" / "Image.java", STUBS / "graphics" / "ImageFormat.java")
    files = [*sources.values(), *map(str, sorted(STAND_INS.glob("*.kt"))), *map(str, stubs)]
    kotlin_library(files, tmp_path / "app.jar")
    tests = ("mvit2.PreprocessingTest", "mvit2.GoldenTest")
    line = [str(JAVA), "-cp", f"{tmp_path / 'app.jar'}:{JSON_JAR}", "stand_ins.RecordedKt", *tests]
    done = subprocess.run(line, cwd=app, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("passed: ") == 4, done.stdout + done.stderr[-3000:]
    labels = (app / "src/main/assets/mvit2/labels.txt").read_bytes()
    assert (app / "labels.seen").read_bytes() + b"\n" == labels


@pytest.mark.parametrize(
    ("name", "module"),
    [("demo_bundle", "LiteRT"), ("demo_bundle", "OnnxRuntimeBindings"), ("many_classes", "OnnxRuntimeBindings")],
)
def test_the_ios_folder(name: str, module: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its sources with a stand-in for the engine; its test needs Apple's decoder and is not compiled."""
    need("Swift")
    ending = ".tflite" if module == "LiteRT" else ".onnx"
    files = [file for file in BUNDLES[name] if file.endswith(ending)]
    app = _app(request, name, "ios", files, tmp_path)
    library = str(tmp_path / f"lib{module}.a")
    emitted = ("-emit-module", "-emit-module-path", str(tmp_path / f"{module}.swiftmodule"), "-o", library)
    compiled(swiftc("-emit-library", "-static", "-module-name", module, *emitted, str(STAND_INS / f"{module}.swift")))
    sources = [*sorted((app / "Sources" / "Mvit2").glob("*.swift")), STAND_INS / "Classifier.swift"]
    program = str(tmp_path / "classifier")
    compiled(swiftc("-module-name", "App", "-I", str(tmp_path), *map(str, sources), library, "-o", program))
    done = subprocess.run([*WITH_SWIFT, program, str(app)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == (app / "Sources/Mvit2/model/labels.txt").read_bytes()
