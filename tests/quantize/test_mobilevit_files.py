"""int8 files of the first MobileViT: one bundle of its bundled checkpoint, every kind of int8 in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mvit2.checkpoint.load import load_checkpoint
from mvit2.export.convert.fold import export_form
from mvit2.quantize.learn.simulate import Simulation
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.verify.check import check_bundle
from mvit2.tflite_file import read_tflite

pytestmark = pytest.mark.exports

OP = schema.BuiltinOperator
LAYERS = (OP.CONV_2D, OP.DEPTHWISE_CONV_2D, OP.FULLY_CONNECTED)
MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def bundle(make_bundle: MakeBundle) -> Path:
    schemes = [word for scheme in ("int8", "full-int8", "dynamic") for word in ("--quantize", scheme)]
    return make_bundle("--weights", "demo", "--variant", "xx-small", *schemes, "--learning-steps", "0", "--force")


def layers_of(file: Path) -> list[tuple[int, NDArray[np.float32]]]:
    """(code, weights) of the layers, in the graph's order."""
    model: Any = read_tflite(file)
    graph, found = model.subgraphs[0], []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code in LAYERS:
            tensor = graph.tensors[operator.inputs[1]]
            data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
            found.append((code, data.reshape([int(d) for d in tensor.shape])))
    return found


def test_layers_lie_in_the_networks_order(bundle: Path) -> None:
    """By their weights: query, key and value have one shape, and a plan that swaps them passes every other check.

    But for a power of two, which keeps residual streams within float16 (export/convert/half_precision.py).
    """
    checkpoint = load_checkpoint("demo", "xx-small")
    form = export_form(checkpoint.model, single_image=True, image_size=checkpoint.preprocess.image_size)
    simulated = Simulation(form, checkpoint.preprocess, as_image=True).layers
    stored = layers_of(bundle / "model_float32.tflite")
    assert len(stored) == len(simulated) == 90
    for (code, weights), layer in zip(stored, simulated, strict=True):
        axes = (2, 3, 1, 0) if code == OP.DEPTHWISE_CONV_2D else (0, 2, 3, 1)
        expected = layer.weight.numpy().transpose(axes).reshape(weights.shape)
        factor = float(np.abs(weights).max() / np.abs(expected).max())
        assert np.log2(factor) == pytest.approx(round(float(np.log2(factor))), abs=1e-4), layer.name
        np.testing.assert_allclose(weights / factor, expected, atol=1e-5 * float(np.abs(expected).max()))


def test_int8_is_one_partition(bundle: Path) -> None:
    graph = inspect_tflite(bundle / "model_int8.tflite")
    assert (graph.xnnpack_partitions, graph.not_delegated, graph.flex_or_custom) == (1, (), ())
    assert graph.max_rank <= 4


def test_int8_stores_weights_in_a_byte(bundle: Path) -> None:
    sizes = {p: (bundle / f"model_{p}.tflite").stat().st_size for p in ("float32", "int8", "full_int8")}
    assert sizes["int8"] < 0.37 * sizes["float32"] and sizes["full_int8"] < 0.37 * sizes["float32"]


def test_what_is_full_int8_is_int8(bundle: Path) -> None:
    """All but what surrounds it: uint8 pixels, and a float32 softmax of the logits."""
    model: Any = read_tflite(bundle / "model_full_int8.tflite")
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(OP).items() if name.isupper()}
    floats = [
        names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in graph.operators
        if graph.tensors[operator.outputs[0]].type == schema.TensorType.FLOAT32
    ]
    assert floats == ["DEQUANTIZE", "SOFTMAX"]


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.85), ("full-int8", 0.8), ("dynamic", 0.85)])
def test_they_agree_with_float32(precision: str, least: float, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    seen = [a["quantisation"]["fidelity"]["agreement"] for a in manifest["artifacts"] if a["precision"] == precision]
    assert seen and min(seen) >= least


def test_the_bundle_holds_what_it_recorded(bundle: Path) -> None:
    assert check_bundle(bundle).passed


@pytest.mark.parametrize("operator", [OP.SOFTMAX, OP.LOGISTIC])
def test_fixed_quantisations_of_full_int8(operator: int, bundle: Path) -> None:
    """1/256 and -128, which the kernels demand."""
    model: Any = read_tflite(bundle / "model_full_int8.tflite")
    graph = model.subgraphs[0]
    outputs = [
        graph.tensors[op.outputs[0]]
        for op in graph.operators
        if model.operatorCodes[op.opcodeIndex].builtinCode == operator
    ]
    stored = [t for t in outputs if t.type == schema.TensorType.INT8]
    assert len(stored) == {OP.SOFTMAX: 9, OP.LOGISTIC: 34}[operator]
    assert {(t.quantization.scale[0], t.quantization.zeroPoint[0]) for t in stored} == {(1 / 256, -128)}


def test_joined_maps_of_full_int8_have_one_quantisation(bundle: Path) -> None:
    model: Any = read_tflite(bundle / "model_full_int8.tflite")
    graph = model.subgraphs[0]
    joints = [op for op in graph.operators if model.operatorCodes[op.opcodeIndex].builtinCode == OP.CONCATENATION]
    assert len(joints) == 3
    for joint in joints:
        tensors = [graph.tensors[t].quantization for t in (*joint.inputs, *joint.outputs)]
        assert len({(q.scale[0], q.zeroPoint[0]) for q in tensors}) == 1
