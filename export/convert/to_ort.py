"""Simplified ONNX -> .ort, which ONNX Runtime's mobile builds read, by its own converter in a process of its own.

The optimisations that it would make at every start are in the file already ("fixed" style), so a build without an
optimiser can run it; none of them is for one kind of CPU only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mvit2.bundle.manifest import GraphFacts
from mvit2.errors import ConversionError
from mvit2.scratch import scratch_folder
from mvit2.worker_process import run_worker

from .conversion import Conversion, Made
from .onnx_facts import onnx_facts

__all__ = ["OPERATORS", "convert", "to_ort"]

OPERATORS = "required_operators_and_types.config"  # for build.py --include_ops_by_config of a custom ONNX Runtime
_TIMEOUT_SECONDS = 600
_LEVEL = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"  # a user's variable that would change file names


def convert(job: Conversion) -> Made:
    """Write every ONNX file once more. Raises ConversionError."""
    folder = next(iter(job.files.values())).parent
    graphs = to_ort(job.sources.values(), folder)
    return Made(graphs={precision: graphs[file.name] for precision, file in job.files.items()}, beside=(OPERATORS,))


def to_ort(models: Iterable[Path], folder: Path) -> Mapping[str, GraphFacts]:
    """Write each of ``models`` into ``folder`` as .ort, and one list of the operators that all of them need.

    Returns name of the .ort file -> its graph as optimised. Raises ConversionError.
    """
    with scratch_folder() as scratch:
        source, target = scratch / "onnx", scratch / "ort"
        source.mkdir()
        for model in models:
            (source / model.name).write_bytes(model.read_bytes())
        _convert(source, target)
        (folder / OPERATORS).write_bytes((target / OPERATORS).read_bytes())
        graphs = {}
        for made in sorted(target.glob("*.ort")):
            (folder / made.name).write_bytes(made.read_bytes())
            graphs[made.name] = onnx_facts(made.with_suffix(".optimized.onnx"), optimise=False)
    return graphs


def _convert(source: Path, target: Path) -> None:
    environment = {_LEVEL: None, "PYTHONHASHSEED": "0"}
    worker = "mvit2.export.convert.ort_worker"
    ended = run_worker(worker, source, target, limit=_TIMEOUT_SECONDS, environment=environment)
    if ended.how:
        raise ConversionError(f"ONNX -> ORT failed: the converter {ended.how}: {ended.last_line}")
