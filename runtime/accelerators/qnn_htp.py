"""Qualcomm's Hexagon NPU through ONNX Runtime's QNN provider: the compiler with its simulator on x86-64.

The provider's wheel holds the compiler of every chip. Its licence lies in it; nothing of it is part of mvit2.
"""

from __future__ import annotations

import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from mvit2.bundle.manifest import Artifact
from mvit2.runtime.engines.onnx_runtime import open_session, session_options

from .accelerator import Job, Run, one_line, stack

__all__ = ["CHIPS", "Chip", "missing", "run", "takes"]

_INSTALL = "onnxruntime-qnn is not installed; install it with: pip install 'mvit2[qnn]'"
_MINIMUM_PYTHON = (3, 11)


@dataclass(frozen=True)
class Chip:
    """``soc``: Qualcomm's number of the chip (QnnTypes.h), ``architecture``: of its Hexagon, the 73 of v73."""

    title: str
    soc: int
    architecture: int


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "8gen2": Chip("Snapdragon 8 Gen 2 (simulator)", 43, 73),
        "8gen3": Chip("Snapdragon 8 Gen 3 (simulator)", 57, 75),
        "8elite": Chip("Snapdragon 8 Elite (simulator)", 69, 79),
        "8elite-gen5": Chip("Snapdragon 8 Elite Gen 5 (simulator)", 87, 81),
        "8gen1": Chip("Snapdragon 8 Gen 1 (simulator)", 36, 69),
    }
)


def takes(artifact: Artifact) -> str | None:
    if artifact.file.path.endswith(".onnx"):
        return None
    return "the QNN provider compiles .onnx files"


def missing() -> str | None:
    from importlib.util import find_spec

    if find_spec("onnxruntime_qnn") is None or find_spec("onnxruntime") is None:
        wrong = sys.version_info < _MINIMUM_PYTHON or not _simulates()
        where = f" (there is one for Python 3.11 to 3.14 on Linux and Windows, this is {platform.python_version()})"
        return _INSTALL + (where if wrong else "")
    return None


def _simulates() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def run(job: Job) -> Run:
    """Everything on the NPU where that can be; else with the CPU's help, and which nodes it has to lend it for."""
    import onnxruntime as ort

    if job.chip and not _simulates():
        chip, options = f"this machine's NPU ({platform.machine()})", {}
    else:
        found = CHIPS[job.chip]
        chip = found.title
        options = {"htp_arch": str(found.architecture), "soc_model": str(found.soc)}
    findings: tuple[str, ...] = ()
    start = time.perf_counter()
    try:
        session = _session(ort, job, options, alone=True)
    except Exception as error:  # ONNX Runtime raises classes of its C++ bindings, without a common base
        findings = (f"the NPU alone does not take the file: {_said(error)}",)
        start = time.perf_counter()
        try:
            session = _session(ort, job, options, alone=False)
        except Exception as second:
            return Run(chip, "float16", failure=f"the compiler refuses the file: {_said(second)}")
    compiled = time.perf_counter() - start
    operators, refused = _placement(session)
    outputs, seconds = _answers(session, job)
    return Run(
        chip,
        "float16",
        operators=operators,
        placed=operators - sum(refused.values()),
        refused=refused,
        outputs=outputs,
        findings=findings,
        compile_seconds=compiled,
        inference_seconds=None if options else seconds,
    )


def _said(error: Exception) -> str:
    """Without ONNX Runtime's codes in front: "[ONNXRuntimeError] : 1 : FAIL : "."""
    return one_line(re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)))


def _session(ort: Any, job: Job, options: Mapping[str, str], alone: bool) -> Any:
    import onnxruntime_qnn as qnn

    ort.set_default_logger_severity(3)
    name = qnn.get_ep_name()
    if not any(device.ep_name == name for device in ort.get_ep_devices()):
        ort.register_execution_provider_library(name, qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name][:1]
    settings = session_options()
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if alone:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if job.compiled is not None:
        job.compiled.unlink(missing_ok=True)
        settings.add_session_config_entry("ep.context_enable", "1")
        settings.add_session_config_entry("ep.context_file_path", str(job.compiled))
        settings.add_session_config_entry("ep.context_embed_mode", "1")  # one file, that of the chip's code within
    settings.add_provider_for_devices(devices, {"backend_path": qnn.get_qnn_htp_path(), **options})
    return open_session(job.file, settings)


def _placement(session: Any) -> tuple[int, Mapping[str, int]]:
    """How many nodes there are after ONNX Runtime's optimisations, and type -> how many the CPU keeps."""
    kept: Counter[str] = Counter()
    operators = 0
    for part in session.get_provider_graph_assignment_info():
        types = [node.op_type for node in part.get_nodes()]
        operators += len(types)
        if part.ep_name == "CPUExecutionProvider":
            kept.update(types)
    return operators, {f"{kind} stays on the CPU": count for kind, count in kept.most_common(40)}


def _answers(session: Any, job: Job) -> tuple[np.ndarray, float]:
    name, answers, taken = session.get_inputs()[0].name, [], []
    for image in job.inputs:
        start = time.perf_counter()
        answers.append(np.asarray(session.run(None, {name: image[None]})[0]))
        taken.append(time.perf_counter() - start)
    return stack(answers), min(taken)
