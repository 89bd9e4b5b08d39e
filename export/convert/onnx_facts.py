"""What is inside an ONNX file, and what the accelerators of phones would take of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2.bundle.accelerator import Accelerator, AcceleratorName, Verdict
from mvit2.bundle.manifest import GraphFacts
from mvit2.scratch import scratch_folder

if TYPE_CHECKING:
    import onnx

__all__ = ["inspect_onnx", "onnx_facts"]


def onnx_facts(file: Path, optimise: bool = True) -> GraphFacts:
    """Operators, ranks and accelerators.

    Args:
        optimise: see the graph as accelerators get it, after ONNX Runtime's basic simplifications; not for what was
            optimised before.
    """
    import onnx

    return replace(inspect_onnx(onnx.load(file)), accelerators=_accelerators(file, optimise))


def _accelerators(file: Path, optimise: bool) -> tuple[Accelerator, ...]:
    """As ``python -m onnxruntime.tools.check_onnx_model_mobile_usability`` says it, in numbers."""
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

    with scratch_folder() as scratch:
        seen = scratch / "seen.onnx" if optimise else file
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


def inspect_onnx(model: onnx.ModelProto) -> GraphFacts:
    """Operators and ranks of a model whose shapes are inferred."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    ranks = [len(v.type.tensor_type.shape.dim) for v in values] + [len(t.dims) for t in model.graph.initializer]
    operators = Counter(node.op_type for node in model.graph.node)
    custom = {f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")}
    channels = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    moved = [n for n in model.graph.node if n.op_type == "Transpose" and 1 not in channels.get(n.input[0], [])[1:]]
    return GraphFacts(dict(operators.most_common()), max(ranks), len(moved), tuple(sorted(custom)))
