"""``mvit2 bench --profile`` and ``--peak``: whose time it was, and against what it is held."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mvit2.bundle.manifest import Engine, read_manifest
from mvit2.errors import BundleError, MissingEngineError
from mvit2.image.preprocess import preprocess
from mvit2.runtime.bench.gemm_peak import MACS, write_product
from mvit2.runtime.bench.models import PHOTO, Subject, find_subjects, with_products
from mvit2.runtime.bench.profile import OUTSIDE, block_of_node, profile
from mvit2.runtime.bench.run import bench
from mvit2.runtime.bench.tflite_blocks import write_segments
from mvit2.runtime.engines.litert import open_interpreter
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.timing import Bounds
from mvit2.tflite_file import read_tflite

TFLITE = ["model_float32.tflite", "model_float16.tflite"]
INT8 = ["model_dynamic.tflite", "model_int8.tflite", "model_full_int8.tflite"]
ARTIFACTS = [*(("demo_bundle", name) for name in TFLITE), *(("int8_bundle", name) for name in INT8)]


@pytest.fixture
def bundle(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("node", "block"),
    [
        ("/network/mobilevitv2/conv_stem/convolution/Conv_output_0_nchwc", "conv_stem"),
        ("/network/mobilevitv2/encoder/layer.1/layer.0/conv_3x3/convolution/Conv", "encoder.layer.1.layer.0"),
        ("/network/mobilevitv2/encoder/layer.2/conv_kxk/activation/Mul/QuickGeluFusion/", "encoder.layer.2.conv_kxk"),
        (
            "/network/mobilevitv2/encoder/layer.2/transformer/layer.0/attention/Exp",
            "encoder.layer.2.transformer.layer.0",
        ),
        ("/network/mobilevitv2/encoder/layer.2/Transpose", None),
        ("/network/classifier/Gemm", "classifier"),
        ("/stages/stages.2/stages.2.1/conv/Conv", "stages.stages.2.stages.2.1"),
        ("/network/mobilevitv2/ReduceMean", OUTSIDE),
        ("/Softmax", OUTSIDE),
        ("/", OUTSIDE),
        ("Gemm_1", None),
        ("node_conv2d_3", None),
        ("", None),
    ],
)
def test_block_of_a_node(node: str, block: str | None) -> None:
    assert block_of_node(node) == block


@pytest.mark.parametrize(
    ("bundle", "artifact"),
    [*ARTIFACTS, ("demo_bundle", "model_float32.onnx"), ("int8_bundle", "model_int8.onnx")],
    indirect=["bundle"],
)
def test_a_profile_holds_the_whole_network(bundle: Path, artifact: str) -> None:
    """Its blocks are those of the manifest; nothing is counted twice or left out."""
    (subject,) = find_subjects([bundle], artifacts=[artifact])
    found = profile(subject, threads=1, runs=2)
    blocks = {block.name: block for block in read_manifest(bundle).blocks}
    assert len({time.block for time in found.blocks}) == len(found.blocks)
    norms = {block.name for block in blocks.values() if block.kind == "normalisation"}
    assert {time.block for time in found.blocks} - norms - {OUTSIDE} == set(blocks) - norms
    assert sum(time.share for time in found.blocks) == pytest.approx(1)
    assert sum(time.ms for time in found.blocks) == pytest.approx(found.ms)
    assert [time.ms for time in found.blocks] == sorted((time.ms for time in found.blocks), reverse=True)
    for time in found.blocks:
        macs = blocks[time.block].macs if time.block in blocks else 0
        assert time.gmac_per_s == (pytest.approx(macs / time.ms / 1e6) if macs else None)
        assert not time.operators or sum(time.operators.values()) == pytest.approx(time.ms)
    assert found.whole_ms > 0 and found.peak_gmac_per_s > 0


def test_a_profile_where_onnx_is_missing(demo_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that only runs models has no need of it: all but the peak is known."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    (subject,) = find_subjects([demo_bundle], artifacts=["model_float32.onnx"])
    found = profile(subject, threads=1, runs=1)
    assert found.peak_gmac_per_s is None and found.ms > 0 and found.whole_ms > 0
    with pytest.raises(MissingEngineError, match="onnx"):
        with_products([subject], demo_bundle)


# ---- segments ----


@pytest.mark.parametrize(("bundle", "artifact"), ARTIFACTS, indirect=["bundle"])
def test_the_segments_in_a_row_are_the_model(bundle: Path, artifact: str, tmp_path: Path) -> None:
    """Each takes what those before it gave; the last gives the model's own scores, bit by bit."""
    manifest = read_manifest(bundle)
    pixels = preprocess(PHOTO, manifest.preprocess)[None]
    tensors = {"image": pixels}
    for file in write_segments(bundle / artifact, manifest.blocks, tmp_path).values():
        segment = open_interpreter(file, num_threads=1)
        for details in segment.get_input_details():
            segment.set_tensor(details["index"], tensors[details["name"]])
        segment.invoke()
        tensors |= {d["name"]: segment.get_tensor(d["index"]) for d in segment.get_output_details()}
    (scores,) = open_any(bundle / artifact, 1).run_all([pixels])
    np.testing.assert_array_equal(tensors["scores"], scores)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_blocks_of_another_network(more: int, demo_bundle: Path, tmp_path: Path) -> None:
    blocks = read_manifest(demo_bundle).blocks
    others = {-1: blocks[1:], 0: (), 1: (*blocks, blocks[-1])}[more]
    with pytest.raises(BundleError, match="cannot be cut into blocks: its layers are not those of its manifest"):
        write_segments(demo_bundle / "model_float32.tflite", others, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_stranger_has_no_blocks(demo_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"only a bundle says where the blocks.*profile the \.onnx") as caught:
        profile(Subject("model_float32.tflite", demo_bundle / "model_float32.tflite"), 1, 1)
    assert "\n" not in str(caught.value)


# ---- the peak ----


@pytest.mark.parametrize("engine", ["litert", "onnxruntime"])
def test_a_product_is_one(engine: Engine, tmp_path: Path) -> None:
    """What is computed is the whole product of the stated size, by numpy."""
    file = write_product(engine, False, tmp_path)
    model = open_any(file, 1)
    x = np.random.default_rng(1).standard_normal(model.inputs[0].shape, np.float32)
    weights = _weights(file, np.float32)
    (y,) = model.run_all([x])
    np.testing.assert_allclose(y, x @ weights, rtol=0, atol=1e-3)
    assert x.shape[0] * weights.size == MACS


@pytest.mark.parametrize(("engine", "dtype", "zero"), [("litert", np.int8, 0), ("onnxruntime", np.uint8, 128)])
def test_an_int8_product_is_one(engine: Engine, dtype: type, zero: int, tmp_path: Path) -> None:
    file = write_product(engine, True, tmp_path)
    model = open_any(file, 1)
    assert model.inputs[0].dtype == np.dtype(dtype).name
    x = np.random.default_rng(1).integers(zero - 100, zero + 100, model.inputs[0].shape, dtype)
    weights = _weights(file, np.int8)
    (y,) = model.run_all([x])
    exact = (x.astype(np.int64) - zero) @ weights.astype(np.int64) * 0.0004 / (0.5 if engine == "litert" else 0.02)
    limits = np.iinfo(dtype)
    assert np.abs(y - np.clip(np.rint(exact) + zero, limits.min, limits.max)).max() <= 1
    assert len(np.unique(y)) > 100 and x.shape[0] * weights.size == MACS


def _weights(file: Path, dtype: type) -> np.ndarray:
    """[inner, columns]"""
    if file.suffix == ".onnx":
        return next(numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer if t.name == "weights")
    model = read_tflite(file)
    tensor = model.subgraphs[0].tensors[1]
    return np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), dtype).reshape(tensor.shape).T


def test_each_is_held_against_the_product_of_its_kind(demo_bundle: Path, int8_bundle: Path, tmp_path: Path) -> None:
    peer = demo_bundle / "model_float32.tflite"
    subjects = with_products(find_subjects([demo_bundle, int8_bundle], [peer]), tmp_path)
    limits = {(s.engine, s.precision): s.limit for s in subjects if s.pipeline}
    assert limits == {
        ("onnxruntime", "float32"): "product_float32.onnx",
        ("onnxruntime", "int8"): "product_int8.onnx",
        ("litert", "float32"): "product_float32.tflite",
        ("litert", "float16"): "product_float32.tflite",
        ("litert", "dynamic"): "product_int8.tflite",
        ("litert", "int8"): "product_int8.tflite",
        ("litert", "full-int8"): "product_int8.tflite",
    }
    assert [s.limit for s in subjects if not s.pipeline] == [None] * 5  # the peer, and four products
    assert {s.macs for s in subjects if s.pipeline} == {sum(b.macs for b in read_manifest(demo_bundle).blocks)}


@pytest.mark.timing
def test_the_share_of_the_peak(demo_bundle: Path, tmp_path: Path) -> None:
    """A product against itself is all of it; a network does less in a second than a product."""
    (subject,) = find_subjects([demo_bundle], artifacts=["model_float32.tflite"])
    *_, product = subjects = with_products([subject], tmp_path)
    same = Subject("same", product.file, macs=MACS, limit=product.name)
    network, _, copy = bench([*subjects, same], 1, Bounds(12, 1)).results
    assert network.of_peak is not None and 0 < network.of_peak < 1
    assert copy.of_peak == pytest.approx(1, abs=0.5)
    assert network.gmac_per_s == pytest.approx(subject.macs / network.inference.median / 1e6)
