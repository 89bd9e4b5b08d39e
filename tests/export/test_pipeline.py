"""The whole way, for every width and every option that changes the models."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mvit2.bundle.manifest import sha256_of
from mvit2.errors import CheckFailed, Mvit2Error
from mvit2.export.pipeline import ExportResult, export
from mvit2.export.request import ExportRequest
from mvit2.image.preprocess import preprocess
from mvit2.network.mobilevitv2_config import VARIANTS
from mvit2.runtime import check_bundle, open_bundle
from mvit2.runtime.engines.onnx_runtime import OnnxRuntimeBackend
from mvit2.runtime.tasks.outputs import PROBABILITIES

Run = Callable[..., subprocess.CompletedProcess[str]]


def demo(output: Path, **options: object) -> ExportResult:
    """The bundled checkpoint as ONNX, which takes seconds."""
    defaults = {"weights": "demo", "variant": "0.5", "formats": ("onnx",), "output": output, "report": False}
    return export(ExportRequest(**{**defaults, **options}))


# The longest tests of all, so they come first, and each may go to any worker.
EVERY_WIDTH = [pytest.param(name, marks=pytest.mark.xdist_group(f"width {name}")) for name in reversed(VARIANTS)]


@pytest.mark.parametrize("variant", EVERY_WIDTH)
def test_every_width_keeps_the_bars_of_a_phone(variant: str, tmp_path: Path) -> None:
    request = ExportRequest(weights="untrained", variant=variant, output=tmp_path, quantize=("float16",), report=False)
    result = export(request)
    artifacts = {a.file.path: a for a in result.manifest.artifacts}
    assert list(artifacts) == ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
    for artifact in artifacts.values():
        assert (artifact.input.name, artifact.input.dtype, artifact.input.shape) == ("image", "uint8", (1, 256, 256, 3))
        assert (artifact.output.name, artifact.output.dtype, artifact.output.shape) == ("scores", "float32", (1, 1000))
        assert artifact.parity.passed
    graph = artifacts["model_float32.tflite"].graph
    assert graph.max_rank <= 4
    assert graph.flex_or_custom == ()
    assert not {"GATHER", "GATHER_ND"} & set(graph.operators)
    assert graph.operators.get("TRANSPOSE", 0) == 0
    assert (graph.xnnpack_partitions, graph.not_delegated) == (1, ())
    assert check_bundle(result.bundle).passed


def test_every_stage_is_in_the_manifest(demo_bundle: Path) -> None:
    stages = [d["stage"] for d in json.loads((demo_bundle / "manifest.json").read_text())["parity"]]
    files = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
    assert stages == ["torch, float32", "torch, export form", "ONNX as exported", *files]


def test_two_exports_are_byte_identical(demo_bundle: Path, run: Run, tmp_path: Path) -> None:
    """But for the report, which holds measured times; report/test_report.py says that it differs in nothing else."""
    done = run("export", "--weights", "demo", "--variant", "0.5", "--quantize", "float16", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (
        {str(p.relative_to(bundle)): sha256_of(p) for p in bundle.rglob("*") if p.is_file()}
        for bundle in (demo_bundle, tmp_path / demo_bundle.name)
    )
    assert first.keys() == second.keys()
    assert {f for f in first if first[f] != second[f]} <= {"report.html", "README.md"}


def test_metadata_props(demo_bundle: Path) -> None:
    model = onnx.load(str(demo_bundle / "model_float32.onnx"))
    props = {p.key: p.value for p in model.metadata_props}
    manifest = json.loads((demo_bundle / "manifest.json").read_text())
    assert [props[f"mvit2.{key}"] for key in ("name", "variant")] == [manifest["name"], "0.5"]
    assert [props["mvit2.license"], props["mvit2.version"]] == [
        "that of the weights",
        manifest["weights"]["sha256"][:16],
    ]
    assert "20 classes" in props["mvit2.description"] and "demo20 (bundled)" in props["mvit2.author"]
    assert props["mvit2.weights_sha256"] == manifest["weights"]["sha256"]
    assert json.loads(props["mvit2.labels"]) == (demo_bundle / "labels.txt").read_text().splitlines()
    assert json.loads(props["mvit2.preprocess"]) == manifest["preprocess"]
    assert json.loads(props["mvit2.tools"])["onnx"] == onnx.__version__


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_opsets(opset: int, tmp_path: Path) -> None:
    bundle = demo(tmp_path, opset=opset).bundle
    assert [i.version for i in onnx.load(str(bundle / "model_float32.onnx")).opset_import] == [opset]


@pytest.mark.parametrize(
    ("options", "name", "shape"),
    [
        ({"image_size": (128, 128)}, "mobilevitv2-0.5-demo20", (1, 128, 128, 3)),
        ({"image_size": (192, 192)}, "mobilevitv2-0.5-demo20-192px", (1, 192, 192, 3)),
        ({"image_size": (224, 160)}, "mobilevitv2-0.5-demo20-224x160px", (1, 224, 160, 3)),
        ({"io": "tensor"}, "mobilevitv2-0.5-demo20-tensor", (1, 3, 128, 128)),
        ({"dynamic_batch": True}, "mobilevitv2-0.5-demo20-dynamic", (None, 128, 128, 3)),
    ],
)
def test_what_changes_the_interface_changes_the_name(
    options: dict[str, object], name: str, shape: tuple[int | None, ...], tmp_path: Path
) -> None:
    result = demo(tmp_path, **options)
    assert result.bundle == tmp_path / result.manifest.name
    assert result.manifest.name == name
    assert result.manifest.artifacts[0].input.shape == shape
    assert check_bundle(result.bundle).passed


def test_a_dynamic_batch_scores_each_image_as_alone(demo_bundle: Path, photos: Path, tmp_path: Path) -> None:
    model = OnnxRuntimeBackend(demo(tmp_path, dynamic_batch=True).bundle / "model_float32.onnx")
    classifier = open_bundle(demo_bundle, "model_float32.onnx")
    pixels = np.stack([preprocess(p, classifier.manifest.preprocess) for p in sorted(photos.glob("*.jpg"))])
    np.testing.assert_allclose(model.run(pixels), classifier.scores(pixels), rtol=1e-4, atol=1e-7)


def test_labels_file(tmp_path: Path) -> None:
    names = [f"class {i} \t of 20" for i in range(20)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    bundle = demo(tmp_path, labels=tmp_path / "names.txt").bundle
    assert (bundle / "labels.txt").read_text().splitlines() == [f"class {i} of 20" for i in range(20)]


def test_overwrite_replaces_all_of_it(tmp_path: Path) -> None:
    bundle = demo(tmp_path).bundle
    (bundle / "model_float32.tflite").write_bytes(b"of an earlier export")
    with pytest.raises(Mvit2Error, match="--overwrite"):
        demo(tmp_path)
    assert not (demo(tmp_path, overwrite=True).bundle / "model_float32.tflite").exists()
    assert [p.name for p in tmp_path.iterdir()] == [bundle.name]


def test_a_wrong_model_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate itself: with a tolerance that rounding exceeds, the same export fails and shows its figures."""
    strict = replace(PROBABILITIES, tolerances={"float32": 1e-9, "float16": 1e-9})
    monkeypatch.setattr("mvit2.export.pipeline.output_of", lambda *_: strict)
    with pytest.raises(CheckFailed, match=r"model_float32\.onnx") as failure:
        demo(tmp_path)
    assert [d.stage for d in failure.value.differences if not d.passed]
    assert list(tmp_path.iterdir()) == []
