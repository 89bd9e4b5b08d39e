"""The variant in which every tensor is int8: types, scales, what the kernels make of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mvit2.errors import ConversionError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.metrics.fidelity import agreement, centred_logits, logit_snr
from mvit2.quantize.calibration import bundled_crops
from mvit2.quantize.plan import Range
from mvit2.quantize.write.tflite_full_int8 import quantise_fully
from mvit2.quantize.write.tflite_ranges import tensor_ranges
from mvit2.runtime.engines.table import open_model
from mvit2.tflite_file import read_tflite, write_tflite

OP = schema.BuiltinOperator
INT8, INT32, FLOAT, UINT8 = (getattr(schema.TensorType, name) for name in ("INT8", "INT32", "FLOAT32", "UINT8"))
LAYERS = (OP.CONV_2D, OP.DEPTHWISE_CONV_2D, OP.FULLY_CONNECTED)
# "The operator does not rescale": https://ai.google.dev/edge/litert/models/quantization_spec
SAME_SCALE = (OP.PAD, OP.RESHAPE, OP.STRIDED_SLICE, OP.REDUCE_MAX, OP.TRANSPOSE, OP.RESIZE_BILINEAR)
# A process of its own, for a kernel that is unhappy with its scales may abort.
RUN = """
import sys, numpy as np
from pathlib import Path
from mvit2.runtime.engines.table import open_model
model = open_model(Path(sys.argv[1]), 1)
np.save(sys.argv[3], np.concatenate([model.run(x[None]) for x in np.load(sys.argv[2])]))
"""
Pixels = NDArray[np.uint8]
Ranges = dict[int, Range]


@pytest.fixture(scope="module")
def float_file(demo_bundle: Path) -> Path:
    return demo_bundle / "model_float32.tflite"


@pytest.fixture(scope="module")
def pixels(float_file: Path) -> Pixels:
    return bundled_crops(PreprocessSpec(tuple(open_model(float_file, 1).input.shape[1:3]), 144)).fit[:24]


@pytest.fixture(scope="module")
def ranges(float_file: Path, pixels: Pixels) -> Ranges:
    return tensor_ranges(float_file, pixels)


@pytest.fixture(scope="module")
def int8_file(float_file: Path, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised(float_file, ranges, tmp_path_factory.mktemp("full") / "model_int8.tflite")


def quantised(float_file: Path, ranges: Ranges, target: Path) -> Path:
    model = read_tflite(float_file)
    quantise_fully(model, ranges)
    write_tflite(model, target)
    return target


def operators(model: Any, *codes: int) -> list[Any]:
    graph = model.subgraphs[0]
    return [op for op in graph.operators if not codes or code(model, op) in codes]


def code(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def constant(model: Any, tensor: int, dtype: type) -> NDArray[Any] | None:
    found = model.subgraphs[0].tensors[tensor]
    data = model.buffers[found.buffer].data
    return None if data is None else np.frombuffer(bytes(data), dtype).reshape([int(d) for d in found.shape])


def scores(file: Path, pictures: Pixels, scratch: Path) -> NDArray[np.float32]:
    np.save(scratch / "in.npy", pictures)
    command = [sys.executable, "-c", RUN, file, scratch / "in.npy", scratch / "out.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.asarray(np.load(scratch / "out.npy"))


def activations(file: Path, picture: Pixels) -> dict[bytes, NDArray[np.float64]]:
    """By name, in real numbers, from the plain kernels."""
    interpreter = Interpreter(
        str(file),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
    interpreter.invoke()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    found = {}
    model = read_tflite(file)
    for operator in operators(model):
        tensor = int(operator.outputs[0])
        scale, zero_point = details[tensor]["quantization"]
        values = interpreter.get_tensor(tensor).astype(np.float64)
        found[model.subgraphs[0].tensors[tensor].name] = (values - zero_point) * scale if scale else values
    return found


# ---- the graph ----


def test_everything_between_pixels_and_logits_is_int8(int8_file: Path) -> None:
    model = read_tflite(int8_file)
    tensors = model.subgraphs[0].tensors
    first, *body, dequantise, softmax = operators(model)
    assert [code(model, op) for op in (first, dequantise, softmax)] == [OP.QUANTIZE, OP.DEQUANTIZE, OP.SOFTMAX]
    assert tensors[int(first.inputs[0])].type == UINT8 and tensors[int(softmax.outputs[0])].type == FLOAT
    for operator in body:
        types = [tensors[int(t)].type for t in (*operator.inputs, *operator.outputs)]
        allowed = {INT8, INT32} if code(model, operator) not in (OP.ADD, OP.MUL, OP.SUB, OP.EXP) else {INT8}
        assert set(types) <= allowed, code(model, operator)
    assert not operators(model, OP.DIV)  # LiteRT's int8 DIV is wrong for a zero numerator and aborts for a zero divisor


def test_the_contract_of_input_and_output_stays(float_file: Path, int8_file: Path) -> None:
    before, after = (open_model(file, 1) for file in (float_file, int8_file))
    assert after.input == before.input and after.output == before.output
    assert after.input.scale == pytest.approx(1 / 255) and after.input.zero_point == 0


def test_what_does_not_rescale_keeps_its_quantisation(int8_file: Path) -> None:
    model = read_tflite(int8_file)
    tensors = model.subgraphs[0].tensors
    found = operators(model, *SAME_SCALE)
    assert len(found) > 50
    for operator in found:
        a, b = (tensors[int(t)].quantization for t in (operator.inputs[0], operator.outputs[0]))
        assert (a.scale, a.zeroPoint) == (b.scale, b.zeroPoint), code(model, operator)
    for operator in operators(model, OP.LOGISTIC):
        q = tensors[int(operator.outputs[0])].quantization
        assert (list(q.scale), list(q.zeroPoint)) == ([1 / 256], [-128])


def test_weights_are_rounded_per_channel_and_biases_in_the_units_of_the_sum(float_file: Path, int8_file: Path) -> None:
    before, after = read_tflite(float_file), read_tflite(int8_file)
    pairs = list(zip(operators(before, *LAYERS), operators(after, *LAYERS), strict=True))
    assert len(pairs) > 60
    for old, new in pairs:
        axis = 3 if code(after, new) == OP.DEPTHWISE_CONV_2D else 0
        data, weight, bias = (after.subgraphs[0].tensors[int(t)].quantization for t in new.inputs)
        assert weight.quantizedDimension == axis
        shape = [-1 if d == axis else 1 for d in range(4 if code(after, new) != OP.FULLY_CONNECTED else 2)]
        scale = np.array(weight.scale, np.float64).reshape(shape)
        exact, integers = constant(before, int(old.inputs[1]), np.float32), constant(after, int(new.inputs[1]), np.int8)
        assert exact is not None and integers is not None and integers.min() >= -127
        assert (np.abs(integers * scale - exact) <= scale * 0.5001).all()
        assert np.allclose(bias.scale, np.array(weight.scale) * data.scale[0], rtol=1e-6)
        exact, integers = (
            constant(before, int(old.inputs[2]), np.float32),
            constant(after, int(new.inputs[2]), np.int32),
        )
        assert exact is not None and integers is not None
        assert np.allclose(integers * np.array(bias.scale, np.float64), exact, rtol=1e-6, atol=max(bias.scale))


def test_operators_are_declared_in_versions_that_know_int8(int8_file: Path) -> None:
    """An old runtime refuses what is newer than it: it must not run what it would get wrong (op_version.cc)."""
    model = read_tflite(int8_file)
    versions = {(c.builtinCode, c.version) for c in model.operatorCodes}
    expected = {(OP.CONV_2D, 3), (OP.DEPTHWISE_CONV_2D, 3), (OP.FULLY_CONNECTED, 5), (OP.ADD, 2), (OP.MEAN, 2)}
    assert versions >= {*expected, (OP.SUM, 2), (OP.RSQRT, 2), (OP.EXP, 2), (OP.REDUCE_MAX, 2), (OP.QUANTIZE, 1)}


def test_two_runs_are_byte_identical(float_file: Path, ranges: Ranges, int8_file: Path, tmp_path: Path) -> None:
    assert quantised(float_file, ranges, tmp_path / "again.tflite").read_bytes() == int8_file.read_bytes()


# ---- what the kernels make of it ----


def test_it_resembles_the_float_network(float_file: Path, int8_file: Path, pixels: Pixels, tmp_path: Path) -> None:
    """Little is promised, but a wrong zero-point or a kernel's bug leaves nothing: 5 % agreement, below 0 dB."""
    exact, rounded = scores(float_file, pixels, tmp_path), scores(int8_file, pixels, tmp_path)
    assert np.allclose(rounded.sum(1), 1, atol=1e-5)
    assert agreement(exact, rounded) >= 0.5
    assert logit_snr(centred_logits(exact), centred_logits(rounded)) > 3


def test_pixels_arrive_exactly(float_file: Path, int8_file: Path, pixels: Pixels) -> None:
    found = activations(int8_file, pixels[0])
    assert np.allclose(next(iter(found.values())), pixels[:1] / 255, atol=1e-6)


def test_attention_weights_survive(float_file: Path, int8_file: Path, pixels: Pixels) -> None:
    """The softmax over the tokens without DIV, of the first attention: later ones inherit errors."""
    exact, rounded = activations(float_file, pixels[0]), activations(int8_file, pixels[0])
    model = read_tflite(float_file)
    name = model.subgraphs[0].tensors[int(operators(model, OP.DIV)[0].outputs[0])].name
    noise = np.square(rounded[name] - exact[name]).sum()
    assert 10 * np.log10(np.square(exact[name]).sum() / noise) > 8


@pytest.mark.parametrize(
    "dead",
    [
        lambda tensor: True,
        lambda tensor: tensor % 2 == 0,
        lambda tensor: tensor % 3 == 0,
        lambda tensor: tensor % 5 == 4,
    ],
    ids=["all", "even", "thirds", "fifths"],
)
def test_dead_tensors_neither_crash_nor_overflow(
    dead: Callable[[int], bool], float_file: Path, ranges: Ranges, pixels: Pixels, tmp_path: Path
) -> None:
    deadened = {t: Range(0.0, 0.0) if dead(t) else known for t, known in ranges.items()}
    file = quantised(float_file, deadened, tmp_path / "dead.tflite")
    assert np.isfinite(scores(file, pixels[:2], tmp_path)).all()
    model = read_tflite(file)
    largest = 2.0**31 - 128
    for operator in operators(model, *LAYERS):
        bias = constant(model, int(operator.inputs[2]), np.int32)
        assert bias is not None and np.abs(bias.astype(np.float64)).max() < largest
    tensors = model.subgraphs[0].tensors
    for operator in operators(model, OP.ADD, OP.SUB):  # XNNPACK delegates them only between these
        *inputs, output = (tensors[int(t)].quantization.scale[0] for t in (*operator.inputs, *operator.outputs))
        assert all(2**-10 <= scale / output < 2**8 for scale in inputs)
    for product in operators(model, OP.MUL):  # "Version 3 supports have a rescale value greater than or equal to 1"
        a, b, c = (tensors[int(t)].quantization.scale[0] for t in (*product.inputs, product.outputs[0]))
        assert model.operatorCodes[product.opcodeIndex].version == (3 if np.float64(a) * b / c >= 1 else 2)


def test_pictures_unlike_those_of_the_calibration(int8_file: Path, pixels: Pixels, tmp_path: Path) -> None:
    shape = pixels[:1].shape
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    extremes = np.concatenate([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise])
    assert np.isfinite(scores(int8_file, extremes, tmp_path)).all()


# ---- what is refused ----


def without_softmax(model: Any) -> None:
    model.subgraphs[0].operators = model.subgraphs[0].operators[:-1]


def with_float_input(model: Any) -> None:
    model.subgraphs[0].operators = model.subgraphs[0].operators[1:]


def with_another_divisor(model: Any) -> None:
    division = operators(model, OP.DIV)[0]
    division.inputs = [division.inputs[1], division.inputs[0]]


def with_gelu(model: Any) -> None:
    next(c for c in model.operatorCodes if c.builtinCode == OP.LOGISTIC).builtinCode = OP.GELU


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (without_softmax, r"needs a network from uint8 pixels to a softmax; export with --io image"),
        (with_float_input, r"needs a network from uint8 pixels to a softmax; export with --io image"),
        (with_another_divisor, r"division by what may be zero; accepted: by a softmax's sum"),
        (with_gelu, rf"knows no operator {OP.GELU}; accepted: those of our networks"),
    ],
)
def test_other_graphs_are_refused(damage: Callable[[Any], None], wrong: str, float_file: Path, ranges: Ranges) -> None:
    model = read_tflite(float_file)
    damage(model)
    with pytest.raises(ConversionError, match=wrong) as caught:
        quantise_fully(model, ranges)
    assert "\n" not in str(caught.value)


def test_a_tensor_without_a_range_is_named(float_file: Path, ranges: Ranges) -> None:
    model = read_tflite(float_file)
    tensor = int(operators(model, OP.CONV_2D)[0].outputs[0])
    name = model.subgraphs[0].tensors[tensor].name.decode()
    with pytest.raises(ConversionError) as caught:
        quantise_fully(model, {t: known for t, known in ranges.items() if t != tensor})
    assert f"tensor {tensor} ({name})" in str(caught.value)
