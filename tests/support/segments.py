"""Bundles of made-up segmentation networks whose answer is known: the class of a pixel is how red it is.

Test files reach this module through the fixture ``segments``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mvit2.bundle.manifest import (
    IO,
    LABELS,
    SCHEMA_VERSION,
    Artifact,
    GraphFacts,
    Manifest,
    OutputKind,
    WeightsIdentity,
    record,
    write_manifest,
)
from mvit2.difference import Difference
from mvit2.image.palette import voc_colors
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.tasks.outputs import OUTPUTS
from mvit2.runtime.verify.golden import Golden, write_golden

STRIDE = 16
SPEC = PreprocessSpec((64, 96), None, (64, 96))
MODEL = "model_float32.onnx"
TASK = "semantic-segmentation"


def reds(classes: int) -> NDArray[np.float32]:
    """The red of each class: a pixel is of the class whose red is nearest to its own."""
    return ((np.arange(classes) + 0.5) * 256 / classes).astype(np.float32)


def gradient(width: int, height: int) -> NDArray[np.uint8]:
    """RGB [height, width, 3]: red from 0 at the left to 255 at the right."""
    picture = np.full((height, width, 3), 9, np.uint8)
    picture[..., 0] = (np.arange(width) + 0.5) * 256 / width
    return picture


def write_bundle(
    folder: Path, classes: int = 8, spec: PreprocessSpec = SPEC, io: IO = "image", output_kind: OutputKind = "scores"
) -> Path:
    folder.mkdir(parents=True)
    write_model(folder / MODEL, classes, spec, io, output_kind)
    backend, output = open_model(folder / MODEL), OUTPUTS[TASK, output_kind]
    height, width = spec.image_size
    pixels = np.stack([gradient(width, height), np.zeros((height, width, 3), np.uint8)])
    golden = Golden(("gradient", "black"), (None, None), pixels, {MODEL: scores_of(backend, io, spec, pixels, output)})
    parity = Difference(MODEL, 2, 0.0, 0.0, 1.0, 1e-4, measure=output.name)
    graph = GraphFacts({"Conv": 1}, 4, 0)
    entry, outputs = record(folder, MODEL), (backend.output,)
    artifact = Artifact(entry, "onnxruntime", "float32", backend.input, outputs, graph, parity)
    (folder / LABELS).write_text("".join(f"class {index}\n" for index in range(classes)))
    files = [LABELS, *write_golden(folder, golden, [artifact], output)]
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name="segments",
        task=TASK,
        architecture="mobilevitv2",
        variant="0.5",
        io=io,
        weights=WeightsIdentity("segments", "made up", "huggingface", "0" * 64),
        preprocess=spec,
        classes=classes,
        artifacts=(artifact,),
        files=tuple(record(folder, file) for file in files),
        parity=(parity,),
        blocks=(),
        output_kind=output_kind,
        colors=voc_colors(classes),
    )
    write_manifest(folder, manifest)
    return folder


def write_model(file: Path, classes: int, spec: PreprocessSpec, io: IO, output_kind: OutputKind) -> None:
    """Logits are -(red - the class's red)^2 less red^2, which all classes share.

    That is linear in red, so neither pooling nor interpolation changes which class is nearest.
    """
    height, width = spec.image_size
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])
    tensor = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, height, width])
    pixels = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["x"], perm=[0, 3, 1, 2]),
    ]
    weights = np.zeros((classes, 3, 1, 1), np.float32)
    weights[:, 0, 0, 0] = 2 * reds(classes) * (1 if io == "image" else 255)
    constants = {"w": weights, "b": -(reds(classes) ** 2)}
    ends = {
        "scores": [
            helper.make_node("AveragePool", ["map"], ["cells"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
            helper.make_node("Transpose", ["cells"], ["scores"], perm=[0, 2, 3, 1]),
        ],
        "mask": [
            helper.make_node("ArgMax", ["map"], ["best"], axis=1, keepdims=0),
            helper.make_node("Cast", ["best"], ["mask"], to=TensorProto.UINT8),
        ],
    }
    kind, shape = {
        "scores": (TensorProto.FLOAT, [1, height // STRIDE, width // STRIDE, classes]),
        "mask": (TensorProto.UINT8, [1, height, width]),
    }[output_kind]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["map"]), *ends[output_kind]]
    graph = helper.make_graph(
        (pixels if io == "image" else []) + nodes,
        "segments",
        [image if io == "image" else tensor],
        [helper.make_tensor_value_info(output_kind, kind, shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
