"""Whole app folders of ``mvit2 app``, compiled and run on a desk, with stand-ins for the engines (stand_ins/).

What is tested: the golden pixels, what reaches an engine and what comes back, the labels, whatever they are, and the
masks of the golden pictures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mvit2
from mvit2.bundle.manifest import IO, LABELS, Artifact, OutputKind, read_labels, read_manifest, record, write_manifest
from mvit2.image.decode import load_image
from mvit2.image.placement import Placement
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.tasks.outputs import output_of
from mvit2.runtime.tasks.segment.segmenter import on_picture
from mvit2.runtime.verify.golden import Golden, read_golden, write_golden

from .cases import make_case
from .mask_cases import MaskCase
from .programs import HERE, JAVA, JSON_JAR, WITH_SWIFT, compiled, kotlin_library, need, swiftc

STAND_INS, STUBS = HERE / "stand_ins", HERE / "stubs" / "java" / "android"
CLASSES = 21_000
NAMES = {  # as id2label has them -> as the app shows them
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
    """The bundled checkpoint with more classes: every name of NAMES twice, and numbers."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(Path(mvit2.__file__).parent / "checkpoints" / "0.5", folder)
    tensors = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        repeats = [CLASSES // len(tensors[name]), *[1] * (tensors[name].ndim - 1)]
        tensors[name] = tensors[name].repeat(*repeats).contiguous()
    save_file(tensors, folder / "model.safetensors")
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = [*NAMES, *NAMES, *(f"class {number}" for number in range(CLASSES - 2 * len(NAMES)))]
    config |= {"id2label": dict(enumerate(names)), "label2id": {}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def many_classes(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the bare network (``--io tensor``), in ONNX, with 21,000 labels."""
    folder = tmp_path_factory.mktemp("many")
    _many_classes(folder / "many")
    options = ("--io", "tensor", "--format", "onnx", "--image-size", "64", "--no-report")
    return make_bundle("--weights", folder / "many", *options)


def test_labels_reach_the_bundle_in_one_line_each(many_classes: Path) -> None:
    lines = (many_classes / "labels.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(lines) == CLASSES and lines[: 2 * len(NAMES)] == [*NAMES.values()] * 2


# ---- bundles of segmentation networks ----

ONNX, TFLITE = "model_float32.onnx", "model_float32.tflite"
SQUARE = PreprocessSpec((64, 96), 72)  # resized, and its middle cut out


def _with_pictures(bundle: Path) -> Path:
    """Golden pictures of other sizes than the network's, and the model a second time, under LiteRT's name."""
    manifest = read_manifest(bundle)
    (bundle / TFLITE).write_bytes(b"read by no engine: stand-ins answer")
    artifacts: list[Artifact] = [
        manifest.artifacts[0],
        replace(manifest.artifacts[0], file=record(bundle, TFLITE), engine="litert"),
    ]
    columns, rows = np.meshgrid(np.linspace(0, 255, 211), np.linspace(0, 40, 130))
    photo = Path(mvit2.__file__).parent / "photos" / "astronaut.jpg"
    pictures = (np.stack([columns, rows, rows], -1).astype(np.uint8), np.asarray(load_image(photo)))
    pixels = np.stack([preprocess(picture, manifest.preprocess) for picture in pictures])
    output = output_of(manifest)
    answers = scores_of(open_model(bundle / ONNX), manifest.io, manifest.preprocess, pixels, output)
    shutil.rmtree(bundle / "golden")
    golden = Golden(("gradient", "astronaut"), pictures, pixels, dict.fromkeys((ONNX, TFLITE), answers))
    files = [LABELS, *write_golden(bundle, golden, artifacts, output)]
    recorded = tuple(record(bundle, file) for file in files)
    write_manifest(bundle, replace(manifest, artifacts=tuple(artifacts), files=recorded))
    return bundle


def _segments(io: IO, output_kind: OutputKind) -> Callable[[ModuleType, pytest.TempPathFactory], Path]:
    def make(segments: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp(output_kind) / "segments"
        return _with_pictures(segments.write_bundle(folder, 8, SQUARE, io, output_kind))

    return make


scores_bundle = pytest.fixture(scope="session")(_segments("image", "scores"))
mask_bundle = pytest.fixture(scope="session")(_segments("image", "mask"))
bare_bundle = pytest.fixture(scope="session")(_segments("tensor", "scores"))


def check_masks(app: Path, bundle: Path) -> None:
    """What an app wrote of the golden pictures, against Python."""
    manifest, golden = read_manifest(bundle), read_golden(bundle, read_manifest(bundle))
    labels = read_labels(bundle, manifest)
    for index, (name, picture) in enumerate(zip(golden.names, golden.pictures, strict=True)):
        assert picture is not None
        placement = Placement.of((picture.shape[1], picture.shape[0]), manifest.preprocess)
        answer = golden.scores[ONNX][index]
        expected = on_picture(manifest, labels, answer, placement)
        assert 0 < expected.seen < 1 and len(expected.classes) > 2
        one = MaskCase(make_case(name, answer), placement, answer, expected)
        assert one.wrong(np.array(expected.box, "<i4").tobytes() + (app / f"{name}.mask").read_bytes()) == ""
        said = [line.split("\t") for line in (app / f"{name}.classes").read_text().splitlines()]
        assert [label for label, _ in said] == [area.label for area in expected.classes]
        assert all(
            abs(float(share) - area.share) < 1e-3 for (_, share), area in zip(said, expected.classes, strict=True)
        )


# ---- whole folders ----

BUNDLES = {  # fixture -> the model files, what opens them
    "demo_bundle": (("model_float16.tflite", ONNX), "classifier"),
    "many_classes": ((ONNX,), "classifier"),
    "scores_bundle": ((TFLITE, ONNX), "segmenter"),
    "mask_bundle": ((TFLITE, ONNX), "segmenter"),
    "bare_bundle": ((TFLITE, ONNX), "segmenter"),
}
MODULES = {"LiteRT": ".tflite", "OnnxRuntimeBindings": ".onnx"}
Once = Callable[[Callable[[Sequence[str], Path], None], Sequence[Path]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Compiles the same sources only once, wherever they lie: ``make`` is given files and the program's place."""
    made: dict[tuple[object, ...], Path] = {}

    def find(make: Callable[[Sequence[str], Path], None], files: Sequence[Path]) -> Path:
        key = (make, *(path.read_bytes() for path in files))
        if key not in made:
            target = tmp_path_factory.mktemp("app") / "app.jar"
            make([str(path) for path in files], target)
            made[key] = target
        return made[key]

    return find


def _app(request: pytest.FixtureRequest, name: str, platform: str, files: Sequence[str], parent: Path) -> Path:
    bundle: Path = request.getfixturevalue(name)
    options = [word for file in files for word in ("--artifact", file)]
    command("app", bundle, "--target", platform, "--output", parent, *options)
    return parent / f"{bundle.name}-{platform}"


def _check(app: Path, request: pytest.FixtureRequest, name: str) -> None:
    if BUNDLES[name][1] == "segmenter":
        check_masks(app, request.getfixturevalue(name))


Android = Callable[..., tuple[Path, subprocess.CompletedProcess[str]]]


@pytest.fixture
def android(request: pytest.FixtureRequest, once: Once, tmp_path: Path) -> Android:
    """Writes the folder of a bundle, runs both of its tests; the stand-ins answer as recorded, or off by something."""
    need("Kotlin")

    def run(name: str, off: float = 0) -> tuple[Path, subprocess.CompletedProcess[str]]:
        artifacts, noun = BUNDLES[name]
        app = _app(request, name, "android", artifacts, tmp_path / str(off))
        jar = once(kotlin_library, _kotlin_files(app, noun))
        tests = ("mvit2.PreprocessingTest", "mvit2.GoldenTest")
        line = [str(JAVA), f"-Doff={off}", "-cp", f"{jar}:{JSON_JAR}", "stand_ins.RecordedKt", *tests]
        return app, subprocess.run(line, cwd=app, capture_output=True, text=True, check=False)

    return run


def _kotlin_files(app: Path, noun: str) -> list[Path]:
    sources = {path.name: path for path in sorted((app / "src").rglob("*.kt"))}  # Golden.kt is there twice
    stubs = (STUBS / "media" / "Image.java", STUBS / "graphics" / "ImageFormat.java")
    return [*sources.values(), *sorted(STAND_INS.glob("*.kt")), STAND_INS / "answers" / f"{noun}.kt", *stubs]


@pytest.mark.parametrize("name", BUNDLES)
def test_the_android_folder(name: str, request: pytest.FixtureRequest, android: Android) -> None:
    """Its test for the JVM as it is, that for a device with stand-ins for Android and the engines."""
    app, done = android(name)
    assert done.returncode == 0 and done.stdout.count("passed: ") == 4, done.stdout + done.stderr[-3000:]
    labels = (app / "src/main/assets/mvit2/labels.txt").read_bytes()
    assert (app / "labels.seen").read_bytes() + b"\n" == labels
    _check(app, request, name)


@pytest.mark.parametrize("name", ["scores_bundle", "mask_bundle"])
def test_the_device_test_knows_the_tolerance(name: str, request: pytest.FixtureRequest, android: Android) -> None:
    """Of logits by the range of all that were recorded, of masks by an image's pixels."""
    bundle: Path = request.getfixturevalue(name)
    manifest = read_manifest(bundle)
    output, recorded = output_of(manifest), read_golden(bundle, manifest).scores[ONNX]
    whole = recorded[0].size if output.name == "masks" else float(np.ptp(recorded))
    tolerance = output.tolerances["float32"] * whole
    assert android(name, 0.9 * tolerance)[1].returncode == 0
    _, done = android(name, 1.2 * tolerance)
    assert done.returncode != 0 and f"AssertionError: {TFLITE}, gradient: " in done.stderr, done.stderr[-3000:]


def _swift_app(module: str) -> Callable[[Sequence[str], Path], None]:
    def make(files: Sequence[str], target: Path) -> None:
        library = str(target.with_name(f"lib{module}.a"))
        emitted = ("-emit-module", "-emit-module-path", str(target.with_name(f"{module}.swiftmodule")), "-o", library)
        stand_in = str(STAND_INS / f"{module}.swift")
        compiled(swiftc("-emit-library", "-static", "-module-name", module, *emitted, stand_in))
        compiled(swiftc("-module-name", "App", "-I", str(target.parent), *files, library, "-o", str(target)))

    return make


SWIFT_APPS = {module: _swift_app(module) for module in MODULES}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        (name, module)
        for name, (artifacts, _) in BUNDLES.items()
        for module, ending in MODULES.items()
        if any(file.endswith(ending) for file in artifacts)
    ],
)
def test_the_ios_folder(name: str, module: str, request: pytest.FixtureRequest, once: Once, tmp_path: Path) -> None:
    """Its sources with a stand-in for the engine; its test needs Apple's decoder and is not compiled."""
    need("Swift")
    artifacts, noun = BUNDLES[name]
    app = _app(request, name, "ios", [file for file in artifacts if file.endswith(MODULES[module])], tmp_path)
    sources = sorted((app / "Sources" / "Mvit2").glob("*.swift"))
    answers = STAND_INS / "answers" / f"{noun.capitalize()}.swift"
    program = once(SWIFT_APPS[module], [*sources, STAND_INS / "Main.swift", answers])
    done = subprocess.run([*WITH_SWIFT, str(program), str(app)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == (app / "Sources/Mvit2/model/labels.txt").read_bytes()
    _check(app, request, name)
