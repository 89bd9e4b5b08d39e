"""Where the time of one inference goes: ONNX Runtime's profile of a model, summed by block of the network."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mvit2.blocks import block_of
from mvit2.errors import BundleError

from .anymodel import open_any
from .inspect import inspect_tflite
from .subjects import Subject, prepare

__all__ = ["BlockTime", "Profile", "block_of_node", "profile"]

OUTSIDE = "outside of blocks"
_WRAPPERS = {"network", "mobilevitv2", "model"}  # modules that hold the whole network
_NUMBERED = re.compile(r".*\.\d+")  # layer.3, stages.2.1


@dataclass(frozen=True)
class BlockTime:
    """``share``: of all operators' time; ``operators``: type -> milliseconds, the slowest first."""

    block: str
    ms: float
    share: float
    operators: Mapping[str, float]


@dataclass(frozen=True)
class Profile:
    """Milliseconds of an inference in operators, by block, the slowest first."""

    model: str
    threads: int
    runs: int
    ms: float
    blocks: tuple[BlockTime, ...]


def profile(subject: Subject, threads: int, runs: int) -> Profile:
    """Run a model under ONNX Runtime's profiler; each operator counts with the median of its runs.

    Raises BundleError for TFLite: LiteRT's Python interpreter times no operator inside XNNPACK.
    """
    if subject.engine == "litert":
        raise _no_profile(subject)
    with tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
        model = open_any(subject.file, threads, profile_into=Path(scratch))
        inputs = prepare(subject, model)  # the first run, which warms up
        for _ in range(runs):
            model.run(inputs)
        assert model.end_profile is not None
        events = json.loads(Path(model.end_profile()).read_text(encoding="utf-8"))
    blocks = _by_block(_operators(events))
    total = sum(sum(operators.values()) for operators in blocks.values())
    times = [_block_time(block, operators, total) for block, operators in blocks.items()]
    return Profile(subject.name, threads, runs, total, tuple(sorted(times, key=lambda time: -time.ms)))


def _block_time(block: str, operators: Mapping[str, float], total: float) -> BlockTime:
    ms, slowest_first = sum(operators.values()), sorted(operators.items(), key=lambda item: -item[1])
    return BlockTime(block, ms, ms / total if total else 0.0, dict(slowest_first))


def _no_profile(subject: Subject) -> BundleError:
    graph = inspect_tflite(subject.file)
    inside = sum(graph.operators.values()) - len(graph.not_delegated or ())
    return BundleError(
        f"{subject.file}: LiteRT's Python interpreter does not time operators inside XNNPACK, and {inside} of its "
        f"{sum(graph.operators.values())} run there; profile the .onnx of the same network."
    )


def _operators(events: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """(node, type, milliseconds) of each operator in the order of execution, its first run left out."""
    taken: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]].append(event["dur"])
    return [(node, kind, median(times[1:] or times) / 1e3) for (node, kind), times in taken.items()]


def _by_block(operators: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    """Milliseconds by operator type, by block. What the engine's optimiser made up belongs where it is executed."""
    blocks: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    block = OUTSIDE
    for node, kind, ms in operators:
        block = block_of_node(node) or block
        blocks[block][kind] += ms
    return blocks


def block_of_node(node: str) -> str | None:
    """The block of a node that carries its module's path; None for names that carry none.

    >>> block_of_node("/network/mobilevitv2/encoder/layer.2/transformer/layer.0/attention/Exp")
    'encoder.layer.2.transformer.layer.0'
    >>> block_of_node("/network/classifier/Gemm")
    'classifier'
    """
    if not node.startswith("/"):
        return None
    modules = node.strip("/").split("/")[:-1]  # the last is the operator
    path = [module for module in modules if module not in _WRAPPERS]
    if (ours := block_of(".".join(path))) is not None:
        return ours
    numbered = [i for i, module in enumerate(path) if _NUMBERED.fullmatch(module)]
    return ".".join(path[: numbered[-1] + 1] if numbered else path[:1]) or OUTSIDE
