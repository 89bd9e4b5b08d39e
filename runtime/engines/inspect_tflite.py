"""What is inside a model file, read with the engine that will run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mvit2.bundle.manifest import GraphFacts

from .litert import open_interpreter

__all__ = ["inspect_tflite"]

Op = Mapping[str, Any]  # of LiteRT's interpreter: op_name, inputs, outputs (tensor indices)


def inspect_tflite(model: Path) -> GraphFacts:
    """Count operators, ranks and layout changes, and ask XNNPACK which operators it takes.

    Raises MissingEngineError without LiteRT, BundleError for a file that it cannot open.
    """
    delegated = open_interpreter(model, num_threads=1)
    from ai_edge_litert.interpreter import OpResolverType

    plain = open_interpreter(model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    ops: list[Op] = plain._get_ops_details()
    tensors = {t["index"]: t for t in plain.get_tensor_details()}
    shapes = {index: tuple(map(int, t["shape"])) for index, t in tensors.items()}
    partitions = [op for op in delegated._get_ops_details() if op["op_name"] == "DELEGATE"]
    custom = {op["op_name"] for op in ops if not op["op_name"].isupper()}  # LiteRT's own are called like CONV_2D
    outputs = [t["index"] for t in plain.get_output_details()]
    inputs = [t["index"] for t in plain.get_input_details()]
    return GraphFacts(
        operators=dict(Counter(op["op_name"] for op in ops).most_common()),
        max_rank=max(len(shape) for shape in shapes.values()),
        transposes_of_maps=sum(1 for op in ops if _moves_a_map(op, shapes, inputs)),
        flex_or_custom=tuple(sorted(custom)),
        xnnpack_partitions=len(partitions),
        not_delegated=tuple(op["op_name"] for op in _left_to_litert(ops, partitions, outputs)),
    )


def _moves_a_map(op: Op, shapes: Mapping[int, tuple[int, ...]], inputs: Iterable[int]) -> bool:
    """A TRANSPOSE that is neither at the input nor on a map of one channel."""
    if op["op_name"] != "TRANSPOSE" or int(op["inputs"][0]) in inputs:
        return False
    return min(shapes[int(op["inputs"][0])][-1:] + shapes[int(op["outputs"][0])][-1:]) > 1


def _left_to_litert(ops: list[Op], partitions: list[Op], outputs: Iterable[int]) -> list[Op]:
    """The operators that run outside XNNPACK, in graph order.

    LiteRT lists the replaced operators beside the DELEGATE ones, so walk back from the outputs along what is really
    executed: a tensor that a partition writes comes from that partition, any other from its operator.
    """
    by_partition = {int(t): p for p in partitions for t in p["outputs"]}
    by_op = {int(t): i for i, op in enumerate(ops) for t in op["outputs"]}
    open_tensors, seen, left = [int(t) for t in outputs], set[int](), set[int]()
    while open_tensors:
        tensor = open_tensors.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        producer = by_partition.get(tensor)
        if producer is None and tensor in by_op:
            left.add(by_op[tensor])
            producer = ops[by_op[tensor]]
        open_tensors += [] if producer is None else [int(t) for t in producer["inputs"]]
    return [ops[i] for i in sorted(left)]
