"""Simplified ONNX -> TFLite by onnx2tf, in a process of its own; float16 is derived from its float32.

The process keeps tensorflow's memory, chatter and crashes out of ours; a failure leaves its output in a log file, which
the error names. It works in a scratch folder and without network.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from mvit2.bundle.manifest import Precision
from mvit2.errors import ConversionError
from mvit2.tflite_file import prune, read_tflite, write_tflite
from mvit2.worker_process import Ended, run_worker

from .conversion import SIMPLIFIED, Conversion, Made
from .float16 import to_float16
from .tflite_fixes import keep_maps, name_output, narrow_argmax, scale_input
from .tflite_metadata import write_with_metadata

__all__ = ["convert", "to_tflite"]

_TIMEOUT_SECONDS = 1800
# onnx2tf downloads a file of this name at every conversion unless it stands in the working directory.
_SAMPLES, _SAMPLES_SHAPE = "calibration_image_sample_data_20x128x128x3_float32.npy", (20, 128, 128, 3)


def convert(job: Conversion) -> Made:
    """Write the float32 file, and float16 where it is wanted, of what to_onnx left in the scratch folder.

    Raises ConversionError, as ``to_tflite``.
    """
    converted = to_tflite(onnx.load(job.scratch / SIMPLIFIED), job.card.preprocess.scale, job.scratch)
    for precision, file in job.files.items():
        write_with_metadata(read_tflite(converted[precision]), file, job.card)
    return Made()


def to_tflite(model: onnx.ModelProto, scale: float, scratch: Path) -> Mapping[Precision, Path]:
    """Convert; returns {"float32": path, "float16": path} inside ``scratch``.

    Args:
        scale: of a uint8 input, whose pixels the network sees as ``pixel * scale``; other inputs have none.

    Raises ConversionError: a graph that onnx2tf would get wrong; or one that names the log file, which then survives in
    the system's temporary folder.
    """
    _refuse_moved_batches(model)
    work = Path(tempfile.mkdtemp(prefix="onnx2tf-", dir=scratch))
    (work / _SAMPLES).write_bytes(_samples())
    onnx.save(model, work / "model.onnx")
    name = model.graph.input[0].name
    # -kat: the input keeps its layout; -nuo: it is simplified already; -n: no table of every layer; -dsm: do not search
    # for layouts by trial (the worker knows them).
    options = ["-i", "model.onnx", "-o", "out", "-kat", name, "-nuo", "-n", "-dsm"]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    steady = {"PYTHONHASHSEED": "0", "TMPDIR": str(work)}  # TensorFlow leaves generated code in the temporary folder
    worker = "mvit2.export.convert.onnx2tf_worker"
    ended = run_worker(worker, *options, limit=_TIMEOUT_SECONDS, folder=work, environment={**quiet, **steady})
    converted = work / "out" / "model_float32.tflite"
    if ended.how or not converted.is_file():
        raise ConversionError(_failure(ended))
    return _finish(converted, model.graph.output[0].name, scale)


def _refuse_moved_batches(model: onnx.ModelProto) -> None:
    """onnx2tf 1.28.8 guesses what a Transpose does that moves axis 0: of two equal sizes it takes the wrong one."""
    for node in model.graph.node:
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [-1])
        if node.op_type == "Transpose" and order[0] != 0:
            raise ConversionError(
                f"{node.name or node.output[0]} is a Transpose that moves axis 0, which onnx2tf may get wrong without "
                "a word; no network of ours has one: write it with reshapes."
            )


def _samples() -> bytes:
    stream = io.BytesIO()  # np.save to a full disk would not say why it failed
    np.save(stream, np.zeros(_SAMPLES_SHAPE, np.float32))
    return stream.getvalue()


def _finish(converted: Path, output: str, scale: float) -> Mapping[Precision, Path]:
    model = read_tflite(converted)
    name_output(model, output)
    scale_input(model, scale)
    narrow_argmax(model)
    keep_maps(model)
    prune(model)
    write_tflite(model, converted)
    to_float16(model)
    halved = converted.with_name("finished_float16.tflite")
    write_tflite(model, halved)
    return {"float32": converted, "float16": halved}


def _failure(ended: Ended) -> str:
    """In words, with the log saved from the scratch folder's clean-up."""
    handle, log = tempfile.mkstemp(prefix="mvit2-onnx2tf-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"{ended.stdout}\n{ended.stderr}")
    lines = [line.strip() for text in (ended.stdout, ended.stderr) for line in text.splitlines()]
    errors = [line for line in lines if "Error" in line or "error" in line]
    reason = errors[-1][:200] if errors else ended.last_line
    return f"onnx2tf {ended.how or 'made no model'}: {reason}. Its log: {log}"
