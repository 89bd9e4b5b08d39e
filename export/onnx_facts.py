"""What is inside an ONNX file, and what the accelerators of phones would take of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mvit2.accelerator import Accelerator, AcceleratorName, Verdict
from mvit2.manifest import GraphFacts

__all__ = ["onnx_facts"]


def onnx_facts(file: Path, optimise: bool = True) -> GraphFacts:
    """Operators, ranks and accelerators.

    Args:
        optimise: see the graph as accelerators get it, after ONNX Runtime's basic simplifications; not for what was
            optimised before.
    """
    import onnx

    from .to_onnx import inspect_onnx

    return replace(inspect_onnx(onnx.load(file)), accelerators=_accelerators(file, optimise))


def _accelerators(file: Path, optimise: bool) -> tuple[Accelerator, ...]:
    """As ``python -m onnxruntime.tools.check_onnx_model_mobile_usability`` says it, in numbers."""
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

    with tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
        seen = Path(scratch) / "seen.onnx" if optimise else file
        if optimise:
            optimize_model(file, seen)
        model = ModelProtoWithShapeInfo(seen).model_with_shape_info
    return tuple(_accelerator(name, check(model, True)) for name, check in _checks().items())


def _checks() -> Mapping[AcceleratorName, Callable[[Any, bool], Any]]:
    """Each takes a model and whether its shapes must be fixed."""
    from onnxruntime.tools.mobile_helpers import usability_checker as checker

    core_ml = "coreml_supported_{}_ops.md".format
    return {
        "NNAPI": checker.check_nnapi_partitions,
        "CoreML NeuralNetwork": partial(checker.check_coreml_partitions, config_filename=core_ml("neuralnetwork")),
        "CoreML MLProgram": partial(checker.check_coreml_partitions, config_filename=core_ml("mlprogram")),
    }


def _accelerator(name: AcceleratorName, found: Any) -> Accelerator:
    """``found``: the checker's PartitioningInfo."""
    verdicts: tuple[Verdict, ...] = ("no", "maybe", "yes")  # by its number
    unsupported = tuple(sorted(found.unsupported_ops))
    verdict = verdicts[found.suitability()]
    return Accelerator(name, found.num_nodes, found.num_supported_nodes, found.num_partitions, unsupported, verdict)
