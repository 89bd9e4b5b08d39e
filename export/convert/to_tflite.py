"""Simplified ONNX -> TFLite by onnx2tf, in a process of its own; float16 is derived from its float32.

The process keeps tensorflow's memory, chatter and crashes out of ours; its output goes to a log file that every
error names. It works in a scratch folder and without network.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from mvit2.bundle.manifest import Precision
from mvit2.errors import ConversionError
from mvit2.tflite_file import read_tflite, write_tflite

from .float16 import to_float16
from .tflite_fixes import name_output, narrow_argmax, scale_input

__all__ = ["to_tflite"]

_TIMEOUT_SECONDS = 1800
# onnx2tf downloads a file of this name at every conversion unless it stands in the working directory.
_SAMPLES, _SAMPLES_SHAPE = "calibration_image_sample_data_20x128x128x3_float32.npy", (20, 128, 128, 3)


def to_tflite(model: onnx.ModelProto, scale: float, scratch: Path) -> Mapping[Precision, Path]:
    """Convert; returns {"float32": path, "float16": path} inside ``scratch``.

    Args:
        scale: of a uint8 input, whose pixels the network sees as ``pixel * scale``; other inputs have none.

    Raises ConversionError that names the log file, which then survives in the system's temporary folder.
    """
    work = Path(tempfile.mkdtemp(prefix="onnx2tf-", dir=scratch))
    (work / _SAMPLES).write_bytes(_samples())
    onnx.save(model, work / "model.onnx")
    name = model.graph.input[0].name
    # -kat: the input keeps its layout; -nuo: it is simplified already; -n: no table of every layer; -dsm: do not search
    # for layouts by trial (the worker knows them).
    options = ["-i", "model.onnx", "-o", "out", "-kat", name, "-nuo", "-n", "-dsm"]
    command = [sys.executable, "-m", "mvit2.export.convert.onnx2tf_worker", *options]
    log = work / "onnx2tf.log"
    status = _run(command, work, log)
    converted = work / "out" / "model_float32.tflite"
    if status != 0 or not converted.is_file():
        raise ConversionError(_failure(status, log))
    return _finish(converted, model.graph.output[0].name, scale)


def _samples() -> bytes:
    stream = io.BytesIO()  # np.save to a full disk would not say why it failed
    np.save(stream, np.zeros(_SAMPLES_SHAPE, np.float32))
    return stream.getvalue()


def _finish(converted: Path, output: str, scale: float) -> Mapping[Precision, Path]:
    model = read_tflite(converted)
    name_output(model, output)
    scale_input(model, scale)
    narrow_argmax(model)
    write_tflite(model, converted)
    to_float16(model)
    halved = converted.with_name("finished_float16.tflite")
    write_tflite(model, halved)
    return {"float32": converted, "float16": halved}


def _run(command: list[str], work: Path, log: Path) -> int:
    """Run to the end; whatever interrupts us (Ctrl-C, SIGTERM) ends the whole process group first."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    steady = {"PYTHONHASHSEED": "0", "TMPDIR": str(work)}  # TensorFlow leaves generated code in the temporary folder
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=work,
            env={**os.environ, **quiet, **steady},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            return process.wait(_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"onnx2tf did not finish in {_TIMEOUT_SECONDS} s; {_kept(log)}") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _failure(status: int, log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "error" in line]
    reason = (errors or lines or ["it printed nothing"])[-1][:200]
    end = f"was killed by signal {-status} (out of memory?)" if status < 0 else f"exited {status}"
    return f"onnx2tf {end}: {reason}. {_kept(log)}"


def _kept(log: Path) -> str:
    """Save the log from the scratch folder's clean-up."""
    handle, path = tempfile.mkstemp(prefix="mvit2-onnx2tf-", suffix=".log")
    with os.fdopen(handle, "wb") as copy:
        copy.write(log.read_bytes())
    return f"Its log: {path}"
