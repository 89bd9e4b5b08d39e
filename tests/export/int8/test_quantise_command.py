"""Quantised artifacts as a user meets them: options, bundles, figures, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.manifest import read_manifest, sha256_of
from mvit2.errors import CheckFailed
from mvit2.export.convert.tflite_metadata import model_card
from mvit2.export.formats import FormatName
from mvit2.export.int8.quantiser import Quantiser
from mvit2.export.int8.validation import FloatReference, ValidationImages
from mvit2.export.listener import Silent
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import load
from mvit2.runtime import check_bundle, open_bundle

Run = Callable[..., subprocess.CompletedProcess[str]]
DEMO = ("export", "--weights", "demo", "--variant", "0.5", "--output")
QUICK = ("--learning-steps", "4")


def test_every_scheme_is_in_the_bundle(int8_bundle: Path) -> None:
    manifest = read_manifest(int8_bundle)
    precisions = {a.file.path: a.precision for a in manifest.artifacts}
    assert precisions == {
        "model_float32.onnx": "float32",
        "model_float32.tflite": "float32",
        "model_dynamic.tflite": "dynamic",
        "model_int8.tflite": "int8",
        "model_full_int8.tflite": "full-int8",
        "model_int8.onnx": "int8",
    }
    for artifact in manifest.artifacts:
        assert (artifact.input.name, artifact.input.dtype, artifact.input.shape) == ("image", "uint8", (1, 128, 128, 3))
        assert (artifact.output.name, artifact.output.dtype, artifact.output.shape) == ("scores", "float32", (1, 20))
        if artifact.engine == "litert":
            assert (artifact.input.scale, artifact.input.zero_point) == (pytest.approx(1 / 255), 0)
    methods = {a.file.path: a.quantisation.method for a in manifest.artifacts if a.quantisation is not None}
    assert methods["model_full_int8.tflite"] == "percentile 99.97" and methods["model_dynamic.tflite"] == "none"
    assert manifest.calibration is not None
    assert (manifest.calibration.source, manifest.calibration.held_out) == ("bundled photographs", 16)


# Of float32's size; what XNNPACK leaves to slower kernels.
@pytest.mark.parametrize(
    ("file", "share", "left"),
    [("model_int8.tflite", 0.36, ()), ("model_dynamic.tflite", 0.36, None), ("model_int8.onnx", 0.36, None)],
)
def test_size_and_delegation(file: str, share: float, left: tuple[str, ...] | None, int8_bundle: Path) -> None:
    artifacts = {a.file.path: a for a in read_manifest(int8_bundle).artifacts}
    suffix = file.rsplit(".", 1)[1]
    assert artifacts[file].file.bytes <= share * artifacts[f"model_float32.{suffix}"].file.bytes
    if left is not None:
        graph = artifacts[file].graph
        assert (graph.xnnpack_partitions, graph.not_delegated, graph.flex_or_custom) == (1, left, ())
        assert graph.max_rank <= 4


@pytest.mark.parametrize(  # of 16 images the nearly tied ones decide the agreement, all of them the SNR
    ("file", "agreement", "snr_db"),
    [("model_int8.tflite", 0.8, 20), ("model_dynamic.tflite", 0.8, 22), ("model_int8.onnx", 0.75, 20)],
)
def test_figures_say_what_the_file_does(
    file: str, agreement: float, snr_db: float, int8_bundle: Path, photos: Path
) -> None:
    quantisation = next(a.quantisation for a in read_manifest(int8_bundle).artifacts if a.file.path == file)
    assert quantisation is not None
    assert quantisation.fidelity.agreement >= agreement and quantisation.fidelity.snr_db > snr_db
    assert quantisation.fidelity.images == 16
    exact = open_bundle(int8_bundle, "model_float32.tflite").predict(photos / "coffee.jpg", top_k=1)[0]
    assert open_bundle(int8_bundle, file).predict(photos / "coffee.jpg", top_k=1)[0].label == exact.label


def test_check_repeats_it(int8_bundle: Path) -> None:
    report = check_bundle(int8_bundle)
    assert report.passed and len(report.differences) == 6


def test_raw_pixels_as_mediapipe_feeds_them(int8_bundle: Path) -> None:
    """LiteRT's interpreter alone: uint8 RGB in as it is, probabilities out."""
    from ai_edge_litert.interpreter import Interpreter

    golden = int8_bundle / "golden"
    interpreter = Interpreter(str(int8_bundle / "model_int8.tflite"))
    interpreter.allocate_tensors()
    pixels = np.fromfile(golden / "astronaut.rgb", np.uint8).reshape(1, 128, 128, 3)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    assert scores.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(scores, np.fromfile(golden / "model_int8.tflite.f32", "<f4")[:20], atol=0.02)


def test_a_second_export_is_byte_identical(int8_bundle: Path, run: Run, tmp_path: Path) -> None:
    done = run(*DEMO, tmp_path, *QUICK, "--format", "tflite", "--no-report", "--json")
    assert done.returncode == 0, done.stderr
    file = Path(json.loads(done.stdout)["bundle"]) / "model_int8.tflite"
    assert sha256_of(file) == sha256_of(int8_bundle / "model_int8.tflite")
    assert sorted(p.name for p in file.parent.glob("model_*")) == ["model_float32.tflite", "model_int8.tflite"]
    assert "not representative" in done.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Class folders with crops of the bundled photographs: more than 32."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(36):
        photo = Image.open(sorted(photos.glob("*.jpg"))[i % 5]).convert("RGB")
        left, top = rng.integers(photo.width // 2), rng.integers(photo.height // 2)
        crop = photo.crop((left, top, left + photo.width // 2, top + photo.height // 2)).resize((96, 96))
        (folder / ["espresso", "banana"][i % 2]).mkdir(exist_ok=True)
        crop.save(folder / ["espresso", "banana"][i % 2] / f"{i:02}.png")
    return folder


@pytest.mark.exports
def test_accuracy_on_labelled_pictures(pictures: Path, photos: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(f"path,label\n{photos / 'coffee.jpg'},espresso\n{photos / 'cat.jpg'},7\n")
    done = run(
        *(*DEMO, tmp_path, "--format", "tflite", "--calibration", pictures, "--eval", tmp_path / "labels.csv"),
        *("--learning-steps", "0", "--force", "--no-report"),
    )
    assert done.returncode == 0, done.stderr
    assert "compared with float32 on 2 evaluation images" in done.stdout
    manifest = read_manifest(tmp_path / "mobilevitv2-0.5-demo20")
    quantisation = manifest.artifacts[-1].quantisation
    assert quantisation is not None and quantisation.fidelity.accuracy is not None
    assert quantisation.fidelity.float_accuracy is not None and quantisation.fidelity.float_accuracy.images == 2
    assert manifest.calibration is not None and len(manifest.calibration.sha256) == 36


@pytest.mark.exports
def test_sensitivity(pictures: Path, run: Run, tmp_path: Path) -> None:
    arguments = ("--weights", "demo", "--variant", "0.5", "--image-size", "64", "--calibration", pictures)
    done = run("sensitivity", *arguments, "--learning-steps", "0", "--plot", tmp_path / "blocks.png", "--json")
    assert done.returncode == 0, done.stderr
    blocks = [row["block"] for row in json.loads(done.stdout)["blocks"]]
    assert len(blocks) == len(set(blocks)) == 26 and "classifier" in blocks
    with Image.open(tmp_path / "blocks.png") as drawn:
        assert drawn.size[0] > 500


UNTRAINED = ("export", "--weights", "untrained", "--variant", "0.5", "--image-size", "64", "--format", "onnx")


@pytest.mark.exports
def test_blocks_stay_float_until_the_target_is_reached(pictures: Path, run: Run, tmp_path: Path) -> None:
    options = ("--quantize", "int8", "--learning-steps", "0", "--calibration", pictures, "--min-agreement", "1")
    done = run(*UNTRAINED, *options, "--no-report", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    quantisation = read_manifest(tmp_path / "mobilevitv2-0.5-untrained-64px").artifacts[-1].quantisation
    assert quantisation is not None and quantisation.fidelity.agreement == 1 and quantisation.float_blocks
    table = done.stdout.split("what the target costs")[1].splitlines()
    shares = {row.split()[0]: row.split()[1] for row in table[2:] if row and row.split()[0].isdigit()}
    assert shares.popitem() == (str(len(quantisation.float_blocks)), "100.0%")
    assert shares and all(share != "100.0%" for share in shares.values())  # none of fewer blocks would have done


@pytest.mark.exports
def test_a_target_out_of_reach_is_a_failure(demo_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    class Contrary(Quantiser):
        """Compares with answers that no quantised network gives: the classes in reverse."""

        def _float_reference(self, format: FormatName, images: ValidationImages) -> FloatReference:
            reference = super()._float_reference(format, images)
            return replace(reference, scores=reference.scores[:, ::-1])

    tables = []

    class Watcher(Silent):
        def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
            tables.append([row[0] for row in map(list, rows)])

    few = {"calibration": pictures, "calibration_samples": 4, "force": True, "learning_steps": 0}
    request = ExportRequest("demo", variant="0.5", formats=("onnx",), quantize=("int8",), min_agreement=0.5, **few)
    checkpoint = load(request)
    files = {"onnx": Path(shutil.copy(demo_bundle / "model_float32.onnx", tmp_path))}
    quantiser = Contrary(request, checkpoint, model_card("demo", checkpoint, "image"), Watcher(), files)
    calibrated = quantiser.calibrate()
    message = "model_int8.onnx does not reach the target with all but one of its 26 blocks in float; lower"
    with pytest.raises(CheckFailed, match=message):
        quantiser.write(calibrated)
    assert tables == [["0", "1", "2", "4", "8", "16", "25"]]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--quantize", "int9"], 2, "unknown --quantize 'int9'. Did you mean 'int8'?"),
        (["--quantize", "none", "--quantize", "int8"], 2, "--quantize none excludes int8"),
        (["--quantize", "dynamic", "--format", "onnx"], 2, "--quantize dynamic is for TFLite"),
        (["--min-agreement", "99"], 2, "--min-agreement is 99.0, accepted: a share above 0, up to 1."),
        (["--max-drop", "1"], 2, "--max-drop is 1.0, accepted: 0 or more points, together with --eval"),
        (["--calibration-samples", "0"], 2, "--calibration-samples is 0, accepted: 1 or more."),
        (["--learning-steps", "-1"], 2, "--learning-steps is -1, accepted: 0 or more."),
        (["--quantize", "int8", "--dynamic-batch", "--format", "onnx"], 2, "--dynamic-batch exports float32 only"),
        (["--calibration", "{tmp}/none"], 2, "is no folder; name one with images"),
        (["--calibration", "{tmp}"], 2, "holds no images; accepted: .jpg"),
        (["--calibration", "{few}"], 2, "has 3 usable image(s), accepted: 32 or more"),
        (["--calibration", "{pictures}", "--eval", "{pictures}"], 2, "holds no image that was not calibrated on"),
        (["--eval", "{few}"], 2, "lies in no class folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refusals(options: list[str], code: int, message: str, pictures: Path, run: Run, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for i in range(3):
        Image.effect_noise((70, 80), 50 + i).save(few / f"{i}.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"tmp": empty, "few": few, "pictures": pictures}
    words = [word.format(**places) for word in options]
    done = run(*DEMO, tmp_path / "out", *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert message in last
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
