"""ONNX files that keep tensors elsewhere, wherever in the graph the tensor is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mvit2.errors import BundleError
from mvit2.onnx_external import external_tensor
from mvit2.runtime.engines.table import open_any

FLOAT = TensorProto.FLOAT


def _external(name: str) -> TensorProto:
    tensor = helper.make_tensor(name, FLOAT, [2], np.zeros(2, "<f4").tobytes(), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "8")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def _model(*nodes: object, tensors: tuple[TensorProto, ...] = ()) -> ModelProto:
    x, y = (helper.make_tensor_value_info(name, FLOAT, [2]) for name in ("x", "y"))
    graph = helper.make_graph([*nodes, helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


def _in_constant() -> ModelProto:
    return _model(helper.make_node("Constant", [], ["c"], value=_external("w")))


def _in_branch() -> ModelProto:
    value = helper.make_tensor_value_info("w", FLOAT, [2])
    branch = helper.make_graph([], "branch", [], [value], [_external("w")])
    return _model(helper.make_node("If", ["b"], ["z"], then_branch=branch, else_branch=branch))


def _in_function() -> ModelProto:
    model = _model()
    node = helper.make_node("Constant", [], ["c"], value=_external("w"))
    model.functions.append(helper.make_function("ours", "F", [], ["c"], [node], [helper.make_opsetid("", 18)]))
    return model


def _sparse() -> ModelProto:
    model = _model()
    indices = numpy_helper.from_array(np.array([0], np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(_external("w"), indices, [2]))
    return model


@pytest.mark.parametrize(
    "make", [lambda: _model(tensors=(_external("w"),)), _in_constant, _in_branch, _in_function, _sparse]
)
def test_a_tensor_elsewhere_is_found_and_refused(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(make().SerializeToString())
    (tmp_path / "w.bin").write_bytes(bytes(8))
    assert external_tensor(file) == "w"
    with pytest.raises(BundleError, match=r"m\.onnx keeps the tensor 'w' in another file; accepted: models in one"):
        open_any(file)


def test_a_model_in_one_file(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.arange(2, dtype=np.float32), "w")
    (tmp_path / "m.onnx").write_bytes(_model(tensors=(weights,)).SerializeToString())
    assert external_tensor(tmp_path / "m.onnx") is None
    np.testing.assert_array_equal(open_any(tmp_path / "m.onnx").run(np.ones(2, np.float32)), [1, 1])


@pytest.mark.parametrize(
    "content", [b"location" + b"\xff" * 40, b"\x3a\xff\xff\x03location", b"\x0blocation", b"\x7a\x08location\x3a"]
)
def test_what_is_no_protobuf(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="no protobuf"):
        external_tensor(tmp_path / "m.onnx")
