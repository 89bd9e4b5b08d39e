"""torch -> ONNX -> simplified ONNX.

torch's TorchScript exporter is used: this network needs none of what the newer one adds, and it is ten times faster,
honours every opset from 13 on and needs no further package.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import onnx
import onnxsim
import torch
from torch import Tensor, nn

from mvit2.errors import ConversionError

from .conversion import SIMPLIFIED, Conversion, Made
from .onnx_input import with_dequantised_input

__all__ = ["convert", "metadata_props", "simplify", "to_onnx"]

_SKIPPED = (
    "fuse_consecutive_reduce",  # means stay in two steps (mvit2.network.mobilevitv2.GlobalNorm)
    "fuse_qkv",  # query, key and value stay the layers that quantize/plan.py knows, and no slices cut them apart
)


def convert(job: Conversion) -> Made:
    """Write the float32 model; it goes by the name of "ONNX as exported" before it is simplified.

    Raises ConversionError.
    """
    exported = to_onnx(job.network, job.example, names=job.names, opset=job.opset, dynamic_batch=job.dynamic_batch)
    raw = job.scratch / "exported.onnx"
    raw.write_bytes(exported.SerializeToString())
    simplified = simplify(exported, metadata_props({**job.card.facts, "tools": job.tools}))
    onnx.save(simplified, job.scratch / SIMPLIFIED)
    model = with_dequantised_input(simplified)
    job.files["float32"].write_bytes(model.SerializeToString(deterministic=True))
    return Made(stages={"ONNX as exported": raw})


def to_onnx(
    network: nn.Module, example: Tensor, *, names: tuple[str, str], opset: int, dynamic_batch: bool = False
) -> onnx.ModelProto:
    """Trace ``network`` on ``example``.

    Args:
        names: of the input and the output.
        dynamic_batch: leave the first dimension of both open, under the name "batch".

    Raises:
        ConversionError: the exporter failed.
    """
    buffer: Any = io.BytesIO()  # torch declares paths only, and takes streams too
    axes = {name: {0: "batch"} for name in names} if dynamic_batch else None
    try:
        with warnings.catch_warnings():
            # The height and width of the map are meant to become constants; and the exporter's age is known.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (example,),
                buffer,
                input_names=[names[0]],
                output_names=[names[1]],
                opset_version=opset,
                dynamic_axes=axes,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ConversionError(f"torch -> ONNX failed: {' '.join(str(error).split())[:300]}") from None
    return onnx.load_model_from_string(buffer.getvalue())


def simplify(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Fold what is constant, check the result and stamp it with ``metadata``. Raises ConversionError."""
    try:
        # What is computed is compared later.
        simplified: onnx.ModelProto = onnxsim.simplify(model, skipped_optimizers=list(_SKIPPED))[0]
        onnx.helper.set_model_props(simplified, dict(metadata))
        onnx.checker.check_model(simplified, full_check=True)
    except (RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"ONNX simplification failed: {' '.join(str(error).split())[:300]}") from None
    return simplified


def metadata_props(facts: Mapping[str, object]) -> dict[str, str]:
    """``facts`` under the documented keys "mvit2.*"; what is not text is JSON."""
    return {f"mvit2.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
