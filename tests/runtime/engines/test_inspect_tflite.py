"""What is read off a TFLite file, on models of TensorFlow's own converter whose structure is known."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mvit2.bundle.manifest import GraphFacts, read_manifest
from mvit2.errors import BundleError
from mvit2.runtime.engines.inspect_tflite import inspect_tflite

# CUMSUM is an operator of TFLite that XNNPACK does not take; AudioSpectrogram is a custom operator that LiteRT brings.
_MAKE_MODELS = """
import sys
import tensorflow as tf

kernel = tf.constant(tf.random.stateless_normal([3, 3, 4, 4], [1, 2]))
conv = lambda x: tf.nn.conv2d(x, kernel, 1, "SAME")
cumsum = lambda x: tf.cumsum(x, axis=1)
picture, clip = (1, 8, 8, 4), (64, 1)
models = {
    "one_part": (picture, lambda x: conv(tf.nn.relu(conv(x)))),
    "two_parts": (picture, lambda x: conv(cumsum(conv(x)))),
    "three_parts": (picture, lambda x: conv(cumsum(conv(cumsum(conv(x)))))),
    "first": (picture, lambda x: conv(cumsum(x))),
    "last": (picture, lambda x: cumsum(conv(x))),
    "branches": (picture, lambda x: cumsum(conv(x)) + conv(x)),
    "nothing": (picture, cumsum),
    "map_transposed": (picture, lambda x: tf.nn.softmax(tf.transpose(conv(x), [0, 2, 1, 3]))),
    "mask_transposed": (picture, lambda x: x + tf.transpose(tf.reduce_sum(x, -1, keepdims=True), [0, 2, 1, 3])),
    "input_transposed": ((1, 4, 8, 8), lambda x: conv(tf.transpose(x, [0, 2, 3, 1]))),
    "rank_5": (picture, lambda x: tf.reshape(tf.abs(tf.reshape(x, [1, 2, 4, 8, 4])), picture)),
    "custom": (clip, lambda x: tf.nn.relu(tf.raw_ops.AudioSpectrogram(input=x, window_size=8, stride=4))),
    "flex": ((1, 4, 4), lambda x: tf.nn.relu(tf.raw_ops.MatrixInverse(input=x))),
}
for name, (shape, function) in models.items():
    concrete = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.allow_custom_ops = name == "custom"
    if name == "flex":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS, tf.lite.OpsSet.TFLITE_BUILTINS]
    with open(f"{sys.argv[1]}/{name}.tflite", "wb") as file:
        file.write(converter.convert())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TensorFlow takes seconds to import and prints a lot, so once, and in a process of its own."""
    folder = tmp_path_factory.mktemp("tflite")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", _MAKE_MODELS, str(folder)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return folder


CONV, CUMSUM = "CONV_2D", "CUMSUM"


@pytest.mark.parametrize(
    ("name", "operators", "partitions", "outside"),
    [
        ("one_part", {CONV: 2}, 1, ()),  # RELU is part of the convolution
        ("two_parts", {CONV: 2, CUMSUM: 1}, 2, (CUMSUM,)),
        ("three_parts", {CONV: 3, CUMSUM: 2}, 3, (CUMSUM, CUMSUM)),
        ("first", {CONV: 1, CUMSUM: 1}, 1, (CUMSUM,)),
        ("last", {CONV: 1, CUMSUM: 1}, 1, (CUMSUM,)),
        ("branches", {CONV: 1, CUMSUM: 1, "ADD": 1}, 2, (CUMSUM,)),  # both convolutions are one
        ("nothing", {CUMSUM: 1}, 0, (CUMSUM,)),
    ],
)
def test_partitions(
    name: str, operators: dict[str, int], partitions: int, outside: tuple[str, ...], models: Path
) -> None:
    assert inspect_tflite(models / f"{name}.tflite") == GraphFacts(operators, 4, 0, (), partitions, outside)


@pytest.mark.parametrize(
    ("name", "transposes", "of_maps"),
    [("one_part", 0, 0), ("map_transposed", 1, 1), ("mask_transposed", 1, 0), ("input_transposed", 1, 0)],
)
def test_transposes_of_maps(name: str, transposes: int, of_maps: int, models: Path) -> None:
    """One at the input or on a map of one channel costs nothing."""
    graph = inspect_tflite(models / f"{name}.tflite")
    assert (graph.operators.get("TRANSPOSE", 0), graph.transposes_of_maps) == (transposes, of_maps)


@pytest.mark.parametrize(("name", "rank"), [("one_part", 4), ("rank_5", 5), ("custom", 3)])
def test_max_rank(name: str, rank: int, models: Path) -> None:
    assert inspect_tflite(models / f"{name}.tflite").max_rank == rank


def test_a_custom_operator_is_named(models: Path) -> None:
    graph = inspect_tflite(models / "custom.tflite")
    assert graph.flex_or_custom == graph.not_delegated == ("AudioSpectrogram",)
    assert inspect_tflite(models / "two_parts.tflite").flex_or_custom == ()


def test_a_flex_operator_cannot_be_opened(models: Path) -> None:
    """LiteRT comes without TensorFlow's kernels, as do apps."""
    with pytest.raises(BundleError, match=r"flex\.tflite: LiteRT cannot open it \(Select TensorFlow op") as caught:
        inspect_tflite(models / "flex.tflite")
    assert "\n" not in str(caught.value)


def test_no_tflite(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"garbage")
    with pytest.raises(BundleError, match="cannot open it"):
        inspect_tflite(tmp_path / "m.tflite")


# ---- the demo ----


def test_the_exported_graph_is_fit_for_a_phone(demo_bundle: Path) -> None:
    graph = inspect_tflite(demo_bundle / "model_float32.tflite")
    assert graph.max_rank <= 4
    assert graph.flex_or_custom == ()
    assert graph.transposes_of_maps == 0
    assert (graph.xnnpack_partitions, graph.not_delegated) == (1, ())


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_manifest_says_what_is_found(precision: str, demo_bundle: Path) -> None:
    said = {a.file.path: a.graph for a in read_manifest(demo_bundle).artifacts}[f"model_{precision}.tflite"]
    assert inspect_tflite(demo_bundle / f"model_{precision}.tflite") == said


def test_operators_are_those_of_the_file(demo_bundle: Path) -> None:
    """Counted in the flatbuffer itself, by the schema and without the interpreter."""
    from ai_edge_litert import schema_py_generated as schema

    file = demo_bundle / "model_float32.tflite"
    model = schema.Model.GetRootAsModel(file.read_bytes(), 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(graph.Operators(i).OpcodeIndex()) for i in range(graph.OperatorsLength())]
    found = inspect_tflite(file)
    assert model.SubgraphsLength() == 1
    assert found.operators == Counter(names[code.BuiltinCode()] for code in codes)
    assert found.max_rank == max(graph.Tensors(i).ShapeLength() for i in range(graph.TensorsLength()))
