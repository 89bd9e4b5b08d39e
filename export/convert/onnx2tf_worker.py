"""onnx2tf's command line, told what it would otherwise guess: ``python -m mvit2.export.convert.onnx2tf_worker``.

onnx2tf 1.28.8 exits 0 with a wrong model in three cases that this network meets (test_onnx2tf_worker.py):

1. It keeps convolutions channels-last, so a tensor may be stored in another order than ONNX has it, and it decides from
   shapes alone which tensors are. Where all dimensions after the first are equal, (2, 2, 2, 2) or (1, 64, 64, 64), both
   readings fit; it assumes another order and reduces along the wrong axes. Here the operator tells which one it is.
2. For the same reason it does not reorder the input of a Conv of such a shape.
3. A Resize with align_corners in a model of opset 18 or later becomes one without.

A fourth is avoided: of a Transpose that moves axis 0 it guesses the order from sizes. No network of ours has one, and
to_tflite.py refuses them.

It also writes a SavedModel and a float16 model, which nobody reads here, in a quarter of its time. They are left out;
the float32 model is the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from mvit2.worker_process import start_worker

__all__ = ["is_reordered"]

_FLAG = "before_op_output_shape_trans"  # onnx2tf's name for "stored in another order than in ONNX"
_AS_WRITTEN = frozenset({"Transpose", "Reshape", "MatMul", "Gemm", "Softmax"})


def is_reordered(op: str, inputs: list[bool]) -> bool:
    """Whether an operator's output is stored in another order than in ONNX; ``inputs`` says it of its inputs."""
    return op == "Conv" or (op not in _AS_WRITTEN and any(inputs))


def _is_ambiguous(output: Any, layer: Mapping[str, Any]) -> bool:
    shape = list(layer["tf_node"].shape)
    return len(shape) >= 3 and len(set(shape[1:])) == 1 and list(output.shape or []) == shape


def _informed(guess: Callable[..., Any]) -> Callable[..., Any]:
    """onnx2tf's decorator of every operator, with its guesses replaced by what is known."""

    def decorate(make_node: Callable[..., Any]) -> Callable[..., Any]:
        guessing = guess(make_node)

        @wraps(make_node)
        def informed(*args: Any, **kwargs: Any) -> Any:
            node, layers = kwargs["graph_node"], kwargs["tf_layers_dict"]
            if node.op == "Conv":
                _reorder_for_conv(node.inputs[0], layers[node.inputs[0].name])
            if node.op == "Resize":
                kwargs["opset"] = min(kwargs["opset"], 17)
            result = guessing(*args, **kwargs)
            flags = [bool(layers[tensor.name].get(_FLAG)) for tensor in node.inputs if tensor.name in layers]
            for output in node.outputs:
                if _is_ambiguous(output, layers[output.name]):
                    layers[output.name][_FLAG] = is_reordered(node.op, flags)
            return result

        return informed

    return decorate


def _reorder_for_conv(tensor: Any, layer: dict[str, Any]) -> None:
    """To (N, H, W, C), where the shape does not say that it still is (N, C, H, W); this Conv is its only reader."""
    import tensorflow as tf

    if _is_ambiguous(tensor, layer) and not layer[_FLAG]:
        layer["tf_node"] = tf.transpose(layer["tf_node"], [0, 2, 3, 1])
        layer[_FLAG] = True


class _NoSavedModel:
    """Stands where onnx2tf takes tf_keras.export.ExportArchive, and writes nothing."""

    def add_endpoint(self, **_: object) -> None: ...

    def write_out(self, _: str) -> None: ...


def _only_once(convert: Callable[..., bytes]) -> Callable[..., bytes]:
    """TensorFlow's conversion; after the first one, which is float32, it returns an empty file."""
    done = False

    @wraps(convert)
    def convert_once(converter: object) -> bytes:
        nonlocal done
        if done:
            return b""
        done = True
        return convert(converter)

    return convert_once


def _leave_out_what_nobody_reads() -> None:
    import tensorflow as tf
    import tf_keras

    tf_keras.export.ExportArchive = _NoSavedModel
    tf.lite.TFLiteConverter.convert = _only_once(tf.lite.TFLiteConverter.convert)


def main() -> None:
    start_worker()
    import onnx2tf.utils.common_functions as common

    common.inverted_operation_enable_disable = _informed(common.inverted_operation_enable_disable)
    import onnx2tf  # imports the operators, which take the decorator from above

    _leave_out_what_nobody_reads()
    onnx2tf.main()


if __name__ == "__main__":
    main()
