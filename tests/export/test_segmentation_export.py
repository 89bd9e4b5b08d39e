"""Segmentation from checkpoint to checked bundle, by the real command: graphs, answers, int8, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

import mvit2
from mvit2.bundle.manifest import read_manifest
from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.export.convert.block_costs import network_blocks
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.tflite_metadata import read_metadata
from mvit2.export.int8.fidelity import nearness
from mvit2.export.pipeline import export
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import load
from mvit2.image.preprocess import to_pixel_values
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.quantize.learn.search import make_plan
from mvit2.quantize.learn.simulate import Simulation
from mvit2.quantize.plan import Plan
from mvit2.quantize.write.onnx_qdq import quantise_onnx
from mvit2.quantize.write.tflite import quantise_tflite
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.verify.golden import read_golden
from mvit2.tasks import SEGMENT
from mvit2.tflite_file import read_tflite, write_tflite

Run = Callable[..., subprocess.CompletedProcess[str]]
Mediapipe = Callable[..., str]

EDGE, CLASSES = 128, 5
# As many channels in the head as reach it, so that its layers are told apart by their order alone; on its map of 8 x 8
# a rate of 12 is cut down to the centre.
FIELDS = {
    "width_multiplier": 0.5,
    "image_size": EDGE,
    "output_stride": 16,
    "aspp_out_channels": 256,
    "atrous_rates": [2, 6, 12],
    "id2label": {i: f"class {i}" for i in range(CLASSES)},
}
HEAD = "segmentation_head.aspp"


@pytest.fixture(scope="module")
def weights(oracles: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "shapes"
    _, theirs = oracles.hugging_face_segmenter(FIELDS)
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    return load_checkpoint(str(weights))


@pytest.fixture(scope="module")
def scores(weights: Path, make_bundle: Callable[..., Path]) -> Path:
    schemes = [word for scheme in ("float16", "dynamic", "int8") for word in ("--quantize", scheme)]
    return make_bundle("--weights", weights, "--no-report", *schemes, "--learning-steps", "0")


@pytest.fixture(scope="module")
def mask(weights: Path, make_bundle: Callable[..., Path], photos: Path) -> Path:
    few = ("--calibration", photos, "--force")
    options = ("--quantize", "float16", "--quantize", "int8", "--learning-steps", "0", *few)
    return make_bundle("--weights", weights, "--no-report", "--output-kind", "mask", *options)


def artifacts(bundle: Path) -> dict[str, Any]:
    return {artifact.file.path: artifact for artifact in read_manifest(bundle).artifacts}


def outputs(bundle: Path, file: str) -> np.ndarray:
    """On the golden pixels."""
    model = open_model(bundle / file, threads=1)
    return np.concatenate([model.run(pixels[None]) for pixels in golden_pixels(bundle)])


def golden_pixels(bundle: Path) -> np.ndarray:
    return read_golden(bundle, read_manifest(bundle)).pixels


@pytest.fixture(scope="module")
def logits(scores: Path, checkpoint: Checkpoint) -> torch.Tensor:
    """(N, classes, h, w) of the plain network."""
    values = torch.from_numpy(to_pixel_values(golden_pixels(scores), checkpoint.preprocess))
    with torch.no_grad():
        found: torch.Tensor = checkpoint.model(values)
    return found


FILES = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]


def test_scores_bundle(scores: Path) -> None:
    manifest = read_manifest(scores)
    assert scores.name == "mobilevitv2-0.5-shapes-segment"
    assert (manifest.task, manifest.output_kind) == ("semantic-segmentation", "scores")
    assert manifest.classes == len(manifest.colors) == CLASSES
    assert [a.file.path for a in manifest.artifacts] == [
        *FILES,
        *("model_int8.onnx", "model_dynamic.tflite", "model_int8.tflite"),
    ]
    for artifact in manifest.artifacts:
        entry, end = artifact.input, artifact.output
        assert (entry.name, entry.dtype, entry.shape) == ("image", "uint8", (1, EDGE, EDGE, 3))
        assert (end.name, end.dtype, end.shape) == ("scores", "float32", (1, EDGE // 16, EDGE // 16, CLASSES))
    assert [b.name for b in manifest.blocks if b.kind == "spatial pyramid"] == [HEAD]


def test_mask_bundle(mask: Path) -> None:
    assert mask.name == "mobilevitv2-0.5-shapes-segment-mask"
    assert read_manifest(mask).output_kind == "mask"
    for artifact in artifacts(mask).values():
        assert (artifact.output.name, artifact.output.dtype) == ("mask", "uint8")
        assert artifact.output.shape == (1, EDGE, EDGE)


@pytest.mark.parametrize("file", ["model_float32.tflite", "model_float16.tflite", "model_int8.tflite"])
def test_xnnpack_takes_all_of_it_at_once(scores: Path, mask: Path, file: str) -> None:
    of_scores, of_mask = (artifacts(bundle)[file].graph for bundle in (scores, mask))
    assert (of_scores.xnnpack_partitions, of_scores.not_delegated) == (1, ())
    assert (of_mask.xnnpack_partitions, of_mask.not_delegated) == (1, ("ARG_MAX", "CAST"))
    for graph in (of_scores, of_mask):
        assert graph.max_rank <= 4 and graph.flex_or_custom == () and graph.operators.get("TRANSPOSE", 0) == 0
        assert not {"SPACE_TO_BATCH_ND", "BROADCAST_TO", "TILE", "GATHER", "EXPAND_DIMS"} & set(graph.operators)


def test_onnx_repeats_no_vector(scores: Path) -> None:
    graph = artifacts(scores)["model_float32.onnx"].graph
    assert graph.max_rank <= 4
    assert not {"Expand", "Tile", "Gather"} & set(graph.operators)


def test_no_tensor_of_a_tflite_mask_is_int64(mask: Path) -> None:
    from ai_edge_litert.schema_py_generated import TensorType

    for file in mask.glob("*.tflite"):
        kinds = {tensor.type for tensor in read_tflite(file).subgraphs[0].tensors}
        assert TensorType.INT32 in kinds and TensorType.INT64 not in kinds


@pytest.mark.parametrize(("file", "tolerance"), [*zip(FILES, (2e-6, 2e-6, 2e-3), strict=True)])
def test_float_scores_are_those_of_the_network(
    scores: Path, logits: torch.Tensor, oracles: ModuleType, file: str, tolerance: float
) -> None:
    found = torch.from_numpy(outputs(scores, file)).permute(0, 3, 1, 2)
    oracles.assert_varied(logits)
    assert oracles.gap(found, logits) < tolerance


@pytest.mark.parametrize(("file", "least"), [*zip(FILES, (0.9999, 0.9999, 0.99), strict=True)])
def test_masks_are_what_transformers_makes_of_the_scores(
    mask: Path, logits: torch.Tensor, file: str, least: float
) -> None:
    expected = F.interpolate(logits, size=(EDGE, EDGE), mode="bilinear", align_corners=False).argmax(1).numpy()
    assert len(np.unique(expected)) == CLASSES
    assert np.mean(outputs(mask, file) == expected) >= least


@pytest.mark.parametrize("file", ["model_int8.tflite", "model_int8.onnx"])
def test_int8_says_the_same_of_most_pixels(scores: Path, mask: Path, file: str) -> None:
    """Of random weights, whose logits lie near each other; on pictures that were not calibrated on."""
    fidelity, of_mask = (artifacts(bundle)[file].quantisation.fidelity for bundle in (scores, mask))
    assert fidelity.images == 16 and fidelity.agreement > 0.85 and fidelity.snr_db > 12
    assert of_mask.agreement > 0.8  # calibrated on four pictures


def test_the_head_is_int8_in_one_scale(scores: Path) -> None:
    """Its branches are joined as they are; what enters the last layer stays float."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

    model = read_tflite(scores / "model_int8.tflite")
    graph = model.subgraphs[0]
    (joint,) = [op for op in graph.operators if _code(model, op) == BuiltinOperator.CONCATENATION]
    tensors = [graph.tensors[t] for t in (*joint.inputs, *joint.outputs)]
    assert len(tensors) == 5 and {t.type for t in tensors} == {TensorType.INT8}
    assert len({(t.quantization.scale[0], t.quantization.zeroPoint[0]) for t in tensors}) == 1
    assert graph.tensors[graph.operators[-1].inputs[0]].type == TensorType.FLOAT32


def _code(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def test_layers_are_those_of_the_plan(scores: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A plan that leaves every layer float gives each its own weights again, in either format."""
    form = export_form(checkpoint.model, single_image=False, image_size=(EDGE, EDGE))
    simulation = Simulation(form, checkpoint.preprocess, as_image=True)
    plan = make_plan(simulation)
    assert {layer.mode for layer in plan.layers} == {"float"}
    for file, write in {"model_float32.tflite": _as_tflite, "model_float32.onnx": _as_onnx}.items():
        write(scores / file, plan, tmp_path / file, checkpoint.preprocess.scale)
        assert np.abs(outputs(scores, file) - _run(tmp_path / file, golden_pixels(scores))).max() < 1e-4


def _run(file: Path, pixels: np.ndarray) -> np.ndarray:
    model = open_model(file, threads=1)
    return np.concatenate([model.run(picture[None]) for picture in pixels])


def _as_tflite(source: Path, plan: Plan, target: Path, scale: float) -> None:
    model = read_tflite(source)
    quantise_tflite(model, plan)
    write_tflite(model, target)


def _as_onnx(source: Path, plan: Plan, target: Path, scale: float) -> None:
    onnx.save(quantise_onnx(onnx.load(source), plan, scale), target)


@pytest.mark.parametrize("kind", ["scores", "mask"])
def test_check_passes(request: pytest.FixtureRequest, run: Run, kind: str) -> None:
    done = run("check", request.getfixturevalue(kind))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("rule", ["transformers", "ml-cvnets"])
@pytest.mark.parametrize("size", [(128, 128), (64, 192)], ids=str)
def test_export_form_equals_the_network(
    oracles: ModuleType, output_stride: int, rule: str, size: tuple[int, int]
) -> None:
    """With taps that a map of that size never meets cut, or all of them kept."""
    labels = tuple("abc")
    small = ModelConfig(width_multiplier=0.5, output_stride=output_stride, aspp_out_channels=16, labels=labels)
    plain = oracles.segmenter(replace(small, atrous_rates=(2, 4, 12), dilation_rule=rule)).double()
    pictures = oracles.pictures(1, size).double()
    with torch.no_grad():
        expected = plain(pictures)
        for image_size in (None, size):
            form = export_form(plain.float(), single_image=True, image_size=image_size).double()
            assert oracles.gap(form(pictures), expected) < 2e-6


def test_taps_outside_of_the_map_are_cut(oracles: ModuleType) -> None:
    config = ModelConfig(width_multiplier=0.5, output_stride=16, atrous_rates=(3, 4, 12), labels=("a", "b"))
    form: Any = export_form(oracles.segmenter(config), single_image=True, image_size=(64, 192))  # a map of 4 x 12
    convolutions = [layer.convolution for layer in form.segmentation_head.aspp.convs]
    assert [c.kernel_size for c in convolutions] == [(1, 1), (3, 3), (1, 3), (1, 1)]
    assert [c.dilation for c in convolutions] == [(1, 1), (3, 3), (1, 4), (1, 1)]


def test_blocks_hold_every_parameter_and_operation_of_the_head(checkpoint: Checkpoint) -> None:
    blocks = {b.name: b for b in network_blocks(checkpoint.model, (EDGE, EDGE)) if b.name.startswith("segmentation")}
    channels, pixels = 256, (EDGE // 16) ** 2
    assert list(blocks) == [HEAD, "segmentation_head.classifier"]
    assert blocks[HEAD].shape == (8, 8, channels)
    head = (1 + 3 * 9) * channels * channels * pixels + channels * channels + 5 * channels * channels * pixels
    assert blocks[HEAD].macs == head
    assert blocks["segmentation_head.classifier"].macs == pixels * channels * CLASSES


@pytest.mark.parametrize("kind", ["scores", "mask"])
def test_dynamic_batch(weights: Path, tmp_path: Path, kind: str) -> None:
    options = {"formats": ("onnx",), "dynamic_batch": True, "output_kind": kind, "report": False}
    bundle = export(ExportRequest(weights=str(weights), output=tmp_path, **options)).bundle
    model, pixels = open_model(bundle / "model_float32.onnx", threads=1), golden_pixels(bundle)
    assert model.output.shape[0] is None
    apart = np.concatenate([model.run(picture[None]) for picture in pixels])
    assert np.abs(model.run(pixels).astype(float) - apart).max() <= (0 if kind == "mask" else 1e-5)


def test_the_bare_network_returns_its_logits_channels_last(weights: Path, tmp_path: Path) -> None:
    request = ExportRequest(weights=str(weights), output=tmp_path, formats=("onnx",), io="tensor", report=False)
    (artifact,) = export(request).manifest.artifacts
    assert (artifact.input.name, artifact.output.name) == ("pixel_values", "logits")
    assert (artifact.input.shape, artifact.output.shape) == ((1, 3, EDGE, EDGE), (1, 8, 8, CLASSES))
    assert artifact.parity is not None and artifact.parity.passed


def test_untrained_is_for_segmentation_where_it_is_asked_for() -> None:
    untrained = load(ExportRequest(weights="untrained", variant="0.5", task="segment"))
    assert (untrained.task, untrained.config.num_labels, untrained.preprocess.image_size) == (SEGMENT, 21, (512, 512))


REFUSALS = {
    "a classifier to segment with": (
        ("--weights", "CLASSIFIER", "--task", "segment"),
        1,
        "holds an image classifier (classifier.*), not a segmentation network: give --task classify",
    ),
    "a segmentation network to classify with": (
        ("--weights", "WEIGHTS", "--task", "classify"),
        1,
        "holds a segmentation network (segmentation_head.*), not an image classifier: give --task segment",
    ),
    "masks of a classifier": (
        ("--weights", "demo", "--variant", "0.5", "--output-kind", "mask"),
        2,
        "--output-kind mask is for a segmentation network, ",
    ),
    "an unknown kind": (
        ("--weights", "WEIGHTS", "--output-kind", "masks"),
        2,
        "unknown --output-kind 'masks'. Did you mean 'mask'? Choose scores or mask.",
    ),
    "an unknown task": (("--weights", "WEIGHTS", "--task", "segmen"), 2, "unknown task 'segmen'"),
    "a size that patches do not tile": (
        ("--weights", "STRIDE 32", "--image-size", "96", "--arithmetic", "ml-cvnets"),
        2,
        "accepted at output stride 32: multiples of 64",
    ),
    "full int8": (
        ("--weights", "WEIGHTS", "--quantize", "full-int8"),
        2,
        "--quantize full-int8 is for an image classifier, ",
    ),
    "more classes than a byte has values": (
        ("--weights", "MANY", "--output-kind", "mask"),
        2,
        "--output-kind mask with 257 classes, accepted: at most 256",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case: str, others: dict[str, Path], refused: Callable[..., str], tmp_path: Path) -> None:
    options, status, said = REFUSALS[case]
    refused(status, said, "export", *(str(others.get(word, word)) for word in options), "--output", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def others(weights: Path, oracles: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    coarse = Path(shutil.copytree(weights, tmp_path_factory.mktemp("others") / "coarse"))
    config = json.loads((coarse / "config.json").read_text())
    (coarse / "config.json").write_text(json.dumps({**config, "output_stride": 32}))
    many = coarse.with_name("many")
    labels = {i: f"class {i}" for i in range(257)}
    _, theirs = oracles.hugging_face_segmenter({**FIELDS, "aspp_out_channels": 8, "id2label": labels})
    theirs.save_pretrained(many)
    classifier = Path(mvit2.__file__).parent / "checkpoints/0.5"
    return {"WEIGHTS": weights, "STRIDE 32": coarse, "MANY": many, "CLASSIFIER": classifier}


A, B = np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[[1.0, 0.0], [1.0, 0.0]]])


@pytest.mark.parametrize(
    ("measure", "reference", "candidate", "agreement", "snr_db"),
    [
        ("logits", A, A, 1.0, 150.0),
        ("logits", A, A + 7, 1.0, 150.0),  # a softmax does not see what all classes have in common
        ("logits", A, B, 0.5, -3.01),
        ("masks", np.zeros((2, 4, 5)), np.zeros((2, 4, 5)), 1.0, 150.0),
        ("masks", np.zeros((1, 4, 5)), np.eye(5)[None, :4], 0.8, 3.98),  # 10 log10(20 / (2 * 4))
    ],
)
def test_nearness(measure: Any, reference: np.ndarray, candidate: np.ndarray, agreement: float, snr_db: float) -> None:
    found = nearness(measure, reference, candidate)
    assert found.agreement == agreement
    assert found.snr_db == pytest.approx(snr_db, abs=0.01)


def test_metadata_says_how_scores_become_probabilities(scores: Path, mask: Path) -> None:
    for file in scores.glob("*.tflite"):
        metadata, texts = read_metadata(file)
        (graph,) = metadata["subgraph_metadata"]
        (options,) = graph["custom_metadata"]
        assert options["name"] == "SEGMENTER_METADATA" and options["data"][4:8] == b"V001"
        assert "semantic segmentation, 5 classes" in metadata["description"]
        assert texts["labels.txt"] == tuple(f"class {i}" for i in range(CLASSES))
    assert "custom_metadata" not in read_metadata(mask / "model_int8.tflite")[0]["subgraph_metadata"][0]


@pytest.mark.parametrize("file", ["model_float32.tflite", "model_int8.tflite"])
def test_mediapipe_runs_the_file_unchanged(scores: Path, mediapipe: Mediapipe, tmp_path: Path, file: str) -> None:
    """Its confidence masks are the softmax of the scores, brought to the picture's size.

    For its category mask it resizes the scores themselves, with corners aligned, which nobody else does.
    """
    script, pixels = Path(__file__).parents[1] / "support/in_mediapipe.py", golden_pixels(scores)[:3]
    np.save(tmp_path / "pixels.npy", pixels)
    mediapipe(script, "segment", tmp_path / "pixels.npy", scores / file, tmp_path / "masks.npz")
    found, logits = np.load(tmp_path / "masks.npz"), torch.from_numpy(_run(scores / file, pixels)).permute(0, 3, 1, 2)
    expected = F.interpolate(logits.softmax(1), size=(EDGE, EDGE), mode="bilinear").permute(0, 2, 3, 1)
    assert np.abs(found["confidences"] - expected.numpy()).max() < 1e-5
    aligned = F.interpolate(logits, size=(EDGE, EDGE), mode="bilinear", align_corners=True).argmax(1)
    assert (found["categories"] == aligned.numpy()).mean() > 0.999
