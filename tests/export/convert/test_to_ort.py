"""ONNX models once more as .ort: the same answers, the same bytes at every run, and what phones' accelerators take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvit2.bundle.accelerator import Accelerator
from mvit2.bundle.manifest import GraphFacts, Manifest, read_manifest, sha256_of
from mvit2.errors import BundleError, ConversionError
from mvit2.export.convert.tflite_metadata import model_card
from mvit2.export.convert.to_ort import OPERATORS, to_ort
from mvit2.export.int8.quantiser import Quantiser
from mvit2.export.listener import Silent
from mvit2.export.pipeline import export
from mvit2.export.report.wording import export_again
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import load
from mvit2.runtime import check_bundle, open_bundle
from mvit2.runtime.engines.onnx_runtime import sums_in_16_bits
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.tasks.compare import compare

Run = Callable[..., subprocess.CompletedProcess[str]]
NAMES = ("model_float32", "model_int8")
LEVEL = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ort")


@pytest.fixture(scope="module")
def graphs(int8_bundle: Path, folder: Path) -> dict[str, GraphFacts]:
    return dict(to_ort([int8_bundle / f"{name}.onnx" for name in NAMES], folder))


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    """By the real command: .ort alone, float32 and int8; small, to be quick."""
    options = ("--format", "ort", "--quantize", "int8", "--learning-steps", "0", "--force", "--no-report")
    return make_bundle("--weights", "demo", "--variant", "0.5", "--image-size", "64", *options)


# ---- the files ----


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_the_onnx_model_says(
    name: str, graphs: dict[str, GraphFacts], folder: Path, int8_bundle: Path
) -> None:
    if name == "model_int8" and sums_in_16_bits():
        pytest.skip("this CPU clips the sums of an .ort; phones do not")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 128, 128, 3), dtype=np.uint8)
    onnx, ort = (open_model(file) for file in (int8_bundle / f"{name}.onnx", folder / f"{name}.ort"))
    assert (onnx.engine, onnx.input, onnx.output) == (ort.engine, ort.input, ort.output)
    assert dict(onnx.metadata) == dict(ort.metadata)
    said = [np.concatenate([model.run(one) for one in pixels]) for model in (onnx, ort)]
    assert compare(name, *said, 1e-4 if name == "model_float32" else 0.25).passed


def test_a_second_conversion_is_byte_identical(
    graphs: dict[str, GraphFacts], int8_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, with other memory addresses; whatever the user's environment asks of the converter."""
    monkeypatch.setenv(LEVEL, "basic")
    assert to_ort([int8_bundle / f"{name}.onnx" for name in reversed(NAMES)], tmp_path) == graphs
    files = ["model_float32.ort", "model_int8.ort", OPERATORS]
    assert sorted(p.name for p in tmp_path.iterdir()) == files
    assert [sha256_of(tmp_path / file) for file in files] == [sha256_of(folder / file) for file in files]


def test_the_list_of_operators_is_that_of_the_files(graphs: dict[str, GraphFacts], folder: Path) -> None:
    """As ONNX Runtime's own build reads it, and without a path of this machine."""
    from onnxruntime.tools.reduced_build_config_parser import parse_config

    operators, _ = parse_config(str(folder / OPERATORS), enable_type_reduction=True)
    listed = {name for by_opset in operators.values() for names in by_opset.values() for name in names}
    assert listed == {name for graph in graphs.values() for name in graph.operators}
    comments = [line for line in (folder / OPERATORS).read_text().splitlines() if line.startswith("#")]
    assert comments == ["# Generated from model/s:", "# - model_float32.ort", "# - model_int8.ort"]


def test_nothing_in_it_is_for_one_kind_of_cpu_only(graphs: dict[str, GraphFacts]) -> None:
    """NCHWc is x86-64's; QLinearConv says that the fusions which make int8 fast are in the file."""
    beyond = {name for graph in graphs.values() for name in graph.flex_or_custom}
    assert {name.rpartition(".")[0] for name in beyond} == {"com.microsoft"}
    assert graphs["model_int8.ort"].operators["QLinearConv"] == 28


def test_what_cannot_be_converted_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ConversionError, match=r"^ONNX -> ORT failed: the converter exited 1: .*model\.onnx.*$"):
        to_ort([tmp_path / "model.onnx"], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-100], lambda b: b[:40] + b"\xff" * 400 + b[440:]])
def test_a_damaged_file_is_refused(
    damage: Callable[[bytes], bytes], graphs: dict[str, GraphFacts], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.ort").write_bytes(damage((folder / "model_int8.ort").read_bytes()))
    with pytest.raises(BundleError, match=r"model\.ort: ONNX Runtime cannot open it"):
        open_model(tmp_path / "model.ort")


# ---- the bundle ----


def test_the_bundle_is_served_as_any_other(bundle: Path, photos: Path, run: Run) -> None:
    manifest = read_manifest(bundle)
    assert [(a.file.path, a.engine, a.precision) for a in manifest.artifacts] == [
        ("model_float32.ort", "onnxruntime", "float32"),
        ("model_int8.ort", "onnxruntime", "int8"),
    ]
    assert OPERATORS in {file.path for file in manifest.files}
    assert not list(bundle.glob("*.onnx"))
    report = check_bundle(bundle)
    assert report.passed and len(report.differences) == 2
    classifiers = [open_bundle(bundle, f"{name}.ort") for name in NAMES]
    assert len({c.predict(photos / "coffee.jpg")[0].label for c in classifiers}) == 1
    assert " --image-size 64x64 --format ort --quantize int8 " in " ".join(export_again(manifest))
    said = run("info", bundle)
    assert "worth trying on ONNX Runtime's accelerators" in said.stdout
    bench = json.loads(run("bench", bundle, "--runs", "2", "--json").stdout)
    assert "model_int8.ort" in json.dumps(bench)


@pytest.mark.parametrize("options", [{"dynamic_batch": True}, {"io": "tensor"}, {"opset": 13}, {"opset": 20}])
def test_options_that_change_the_model(options: dict[str, object], tmp_path: Path) -> None:
    request = ExportRequest("demo", variant="0.5", formats=("onnx", "ort"), output=tmp_path, report=False, **options)
    result = export(request, Silent())
    onnx, ort = result.manifest.artifacts
    assert (onnx.file.path, ort.file.path) == ("model_float32.onnx", "model_float32.ort")
    assert (onnx.input, onnx.output) == (ort.input, ort.output)
    assert check_bundle(result.bundle).passed


@pytest.mark.parametrize("clips", [False, True])
def test_int8_is_measured_as_phones_run_it(clips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would clip an .ort's sums on old x86-64 CPUs, where the ONNX model of the same network is right."""
    monkeypatch.setattr("mvit2.runtime.engines.onnx_runtime.sums_in_16_bits", lambda: clips)
    request = ExportRequest("demo", variant="0.5", formats=("ort",))
    checkpoint = load(request)
    files = {"onnx": tmp_path / "model_float32.onnx"}
    quantiser = Quantiser(request, checkpoint, model_card("demo", checkpoint, "image"), Silent(), files)
    ort = tmp_path / "bundle" / "model_int8.ort"
    assert quantiser.runs_as(ort) == (tmp_path / "model_int8.onnx" if clips else ort)
    assert quantiser.runs_as(tmp_path / "model_int8.tflite") == tmp_path / "model_int8.tflite"


def test_a_cpu_that_clips_does_not_judge(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvit2.runtime.engines.onnx_runtime.sums_in_16_bits", lambda: True)
    report = check_bundle(bundle)
    assert report.passed and [d.stage for d in report.differences] == ["model_float32.ort"]
    assert [(file, "phones do not" in reason) for file, reason in report.skipped] == [("model_int8.ort", True)]


# ---- accelerators ----


def accelerators(manifest: Manifest, file: str) -> dict[str, Accelerator]:
    return {x.name: x for a in manifest.artifacts if a.file.path == file for x in a.graph.accelerators}


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_says_what_the_checker_says(name: str, int8_bundle: Path) -> None:
    """The tool's own command, whose log it is that people know."""
    command = [sys.executable, "-m", "onnxruntime.tools.check_onnx_model_mobile_usability"]
    done = subprocess.run([*command, str(int8_bundle / f"{name}.onnx")], capture_output=True, text=True, check=True)
    counts = re.findall(
        r"(\d+) partitions with a total of (\d+)/(\d+) nodes can be handled by the (.+) EP", done.stderr
    )
    verdicts = dict(re.findall(r"Model should perform well with (.+) as is: (\w+)", done.stderr))
    found = accelerators(read_manifest(int8_bundle), f"{name}.onnx")
    assert [(str(a.partitions), str(a.supported), str(a.nodes), a.name) for a in found.values()] == counts
    assert {a.name: a.verdict.upper() for a in found.values()} == verdicts
    assert len(found) == 3


def test_core_ml_takes_the_float_models_but_their_pixels_and_no_accelerator_the_int8_ones(
    bundle: Path, int8_bundle: Path
) -> None:
    entry = {
        "ai.onnx:DequantizeLinear",
        "ai.onnx:QuantizeLinear",
    }  # a transpose goes before it
    for manifest, suffix in ((read_manifest(bundle), "ort"), (read_manifest(int8_bundle), "onnx")):
        nearly = accelerators(manifest, f"model_float32.{suffix}")["CoreML MLProgram"]
        assert (nearly.partitions, nearly.verdict) == (2, "maybe") and set(nearly.unsupported) <= entry
        assert nearly.nodes - 3 <= nearly.supported < nearly.nodes
        assert {a.verdict for a in accelerators(manifest, f"model_int8.{suffix}").values()} == {"no"}
    assert not accelerators(read_manifest(int8_bundle), "model_int8.tflite")


GOOD = Accelerator("NNAPI", 10, 8, 2, ("ai.onnx:Exp",), "maybe")


@pytest.mark.parametrize("wrong", [{"supported": 11}, {"partitions": 9}, {"partitions": -1}, {"supported": -1}])
def test_impossible_counts_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BundleError, match="accepted: partitions <= supported <= nodes"):
        replace(GOOD, **wrong)


def test_an_accelerator_in_words() -> None:
    assert str(GOOD) == "maybe: 8 of 10 nodes in 2 part(s)"
