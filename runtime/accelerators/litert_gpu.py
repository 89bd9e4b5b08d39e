"""LiteRT's GPU accelerator: the one behind CompiledModel, on this machine's GPU or on SwiftShader, which is none.

SwiftShader is a Vulkan driver that computes on the CPU. Debian's chromium and Playwright's Chromium bring it.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from mvit2.bundle.manifest import Artifact
from mvit2.errors import BundleError, MissingEngineError
from mvit2.runtime.engines.litert import open_interpreter
from mvit2.worker_process import printed_so_far

from .accelerator import Job, Run, one_line, stack

__all__ = ["missing", "run", "takes", "vulkan_driver"]

_DRIVER, _LOADER = "vk_swiftshader_icd.json", "libvulkan.so.1"
_NAMED = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")  # of the Vulkan loader itself
_CHROMIUM = ("/usr/lib/chromium", "/usr/lib64/chromium", "/opt/google/chrome", "/usr/lib/chromium-browser")
_ADAPTER = re.compile(r"Selected adapter: ([^,\n]+)")
_REASONS = (  # of a refusal, the most telling first: what the GPU's code logged, what LiteRT did
    re.compile(r"^E\d{4} [^\]\n]*\] (?:Failed to create [\w:]+: )?(.+)$", re.MULTILINE),
    re.compile(r"^ERROR: (.+)$", re.MULTILINE),
)
_MISMATCH = re.compile(r"Shape mismatch .*? shape:\{bhwdc, (\{.*?\})\} vs .*? shape: \{bhwdc, (\{.*?\})\}")
_INSTALL = (
    "no Vulkan driver was found: install Debian's chromium or Playwright's (playwright install chromium), or name one "
    f"with {_NAMED[0]}=/FOLDER/{_DRIVER}"
)


def takes(artifact: Artifact) -> str | None:
    return None if artifact.engine == "litert" else "LiteRT opens .tflite files"


def missing() -> str | None:
    from importlib.util import find_spec

    if find_spec("ai_edge_litert") is None:
        return str(MissingEngineError("ai-edge-litert", "litert"))
    if find_spec("ai_edge_litert.compiled_model") is None:
        return "this ai-edge-litert has no CompiledModel; install a newer one with: pip install -U 'mvit2[litert]'"
    return None if vulkan_driver() or _has_gpu() else _INSTALL


def vulkan_driver() -> Path | None:
    """The driver's description that was named, or that of SwiftShader; None: neither is there."""
    named = next((os.environ[name] for name in _NAMED if os.environ.get(name)), None)
    if named is not None:
        files = [Path(part) for part in named.split(os.pathsep)]
        return next((file for file in files if file.is_file()), None)
    folders = [Path(folder) for folder in _CHROMIUM]
    browsers = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")
    if browsers.is_dir():
        folders += sorted(path.parent for path in browsers.glob(f"chromium*/*/{_DRIVER}"))
    return next((folder / _DRIVER for folder in folders if (folder / _DRIVER).is_file()), None)


def _has_gpu() -> bool:
    """Whether Linux shows one and somebody installed a driver for it."""
    return any(Path("/dev/dri").glob("renderD*")) and any(Path("/usr/share/vulkan/icd.d").glob("*.json"))


def run(job: Job) -> Run:
    """Open the file on the GPU alone; where it refuses, with the CPU's help, which is what apps ask for."""
    try:
        open_interpreter(job.file)
    except BundleError as error:  # CompiledModel would crash on what is no model
        return Run("unknown", "float32", failure=one_line(error))
    _find_driver(job)
    from ai_edge_litert.compiled_model import HardwareAccelerator

    gpu, cpu = HardwareAccelerator.GPU, HardwareAccelerator.CPU
    findings: tuple[str, ...] = ()
    start = time.perf_counter()
    try:
        model = _opened(job, gpu)
    except RuntimeError as error:
        refused = f"the GPU alone does not open it: {_reason(error)}"
        start = time.perf_counter()
        try:
            model, findings = _opened(job, gpu | cpu), (refused,)
        except RuntimeError as second:
            failure = f"neither the GPU alone nor GPU and CPU together open it: {_reason(second)}"
            return Run(_chip(), "float32", failure=failure, findings=_mismatches())
    compiled = time.perf_counter() - start
    outputs, seconds = _answers(model, job)
    chip, all_of_it = _chip(), model.is_fully_accelerated()
    return Run(
        chip,
        "float32",
        operators=job.operators,
        placed=job.operators if all_of_it else None,
        outputs=outputs,
        findings=findings if all_of_it or findings else ("LiteRT leaves operators to the CPU",),
        compile_seconds=compiled,
        inference_seconds=None if "SwiftShader" in chip else seconds,
    )


def _find_driver(job: Job) -> None:
    """For the Vulkan loader, which LiteRT loads when it looks for a GPU."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(job.scratch))
    driver = vulkan_driver()
    if driver is None or (_has_gpu() and not any(os.environ.get(name) for name in _NAMED)):
        return
    os.environ[_NAMED[0]] = str(driver)
    try:
        ctypes.CDLL(_LOADER)
    except OSError:  # chromium brings its own; once loaded it is found by its name
        beside = driver.with_name(_LOADER)
        if beside.is_file():
            ctypes.CDLL(str(beside), ctypes.RTLD_GLOBAL)


def _opened(job: Job, hardware: Any) -> Any:
    from ai_edge_litert.compiled_model import CompiledModel, GpuOptions, Options

    # A phone's GPU computes in 16 bits unless told so; SwiftShader cannot, so nothing is proven of that here.
    options = Options(hardware_accelerators=hardware, gpu_options=GpuOptions(enforce_f32=True))
    return CompiledModel.from_file(str(job.file), options=options)


def _answers(model: Any, job: Job) -> tuple[np.ndarray, float]:
    """Outputs [N, ...], and the seconds of the fastest image."""
    key = next(iter(model.get_signature_list()))
    details = next(iter(model.get_output_tensor_details(key).values()))
    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    answers, taken = [], []
    for image in job.inputs:
        inputs[0].write(image[None])
        start = time.perf_counter()
        model.run_by_index(0, inputs, outputs)
        answers.append(np.array(outputs[0].read(int(np.prod(shape)), dtype)).reshape(shape))
        taken.append(time.perf_counter() - start)
    return stack(answers), min(taken)


def _chip() -> str:
    found = _ADAPTER.search(printed_so_far())
    return one_line(found[1]) if found else "unknown GPU"


def _reason(error: Exception) -> str:
    """LiteRT's exceptions say little; what it printed says why."""
    log = printed_so_far()
    said = [message for pattern in _REASONS for message in pattern.findall(log)[-1:]]
    return one_line(said[0] if said else error)


def _mismatches() -> tuple[str, ...]:
    """Layers whose output has another form than the GPU gives it, such as [256, 128] instead of [1, 16, 16, 128]."""
    found = _MISMATCH.findall(printed_so_far())
    if not found:
        return ()
    wanted, given = found[0]
    said = f"{len(found)} layers return {wanted} where the GPU has {given} (batch, height, width, depth, channels)"
    return (one_line(said),)
