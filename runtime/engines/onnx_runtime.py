"""Models opened on ONNX Runtime."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import BundleError, MissingEngineError
from mvit2.telemetry import no_telemetry

from .backend import Array, cannot_open

__all__ = ["OnnxRuntimeBackend", "clips_sums", "sums_in_16_bits"]


def sums_in_16_bits() -> bool:
    """Whether ONNX Runtime's int8 kernels would clip sums of two products: on x86-64 without VNNI.

    onnxruntime_session_options_config_keys.h tells of the option that prevents it; elsewhere it only costs time.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # no Linux: do not risk it
        return True


def clips_sums(file: Path) -> bool:
    """Whether this file's int8 arithmetic is wrong here though right on phones: the option works on ONNX only."""
    return file.suffix == ".ort" and sums_in_16_bits()


class OnnxRuntimeBackend:
    engine: Engine = "onnxruntime"

    def __init__(self, model: Path, threads: int | None = None) -> None:
        no_telemetry()
        try:
            import onnxruntime as ort
        except ImportError:
            raise MissingEngineError("onnxruntime", "ort") from None
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0  # 0: one thread per core
        if sums_in_16_bits():
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its C++ bindings, without a common base
            raise cannot_open(model, "ONNX Runtime", error) from None
        self.input, self.output = (
            _onnx_facts(model, nodes) for nodes in (self._session.get_inputs(), self._session.get_outputs())
        )

    def run(self, batch: Array) -> Array:
        return np.asarray(self._session.run([self.output.name], {self.input.name: batch})[0])

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


def _onnx_facts(model: Path, nodes: list[Any]) -> TensorFacts:
    if len(nodes) != 1:
        raise BundleError(f"{model} has {len(nodes)} inputs or outputs, accepted is one of each.")
    node = nodes[0]
    dtype = {"tensor(float)": "float32"}.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return TensorFacts(node.name, dtype, tuple(d if isinstance(d, int) else None for d in node.shape))
