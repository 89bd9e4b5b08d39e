"""A rehearsal of half precision on this CPU: GPU delegates, the Neural Engine and Hexagon compute in it, CPUs do not.

ONNX Runtime's CPU has few kernels for half precision and widens to 32 bits around the others, so a float16 file would
prove nothing. Here weights and the result of every operator are rounded to float16, and inside of an operator sums are
kept in float32, as accelerators keep them. The exact network runs beside it in the same graph, so every operator tells
its largest value, its error, and whether half precision still has a number for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mvit2.bundle.manifest import Artifact
from mvit2.network.blocks import LARGEST_FLOAT16
from mvit2.onnx_rehearsal import Watched, write_rehearsal
from mvit2.runtime.bench.profile import OUTSIDE, block_of_node
from mvit2.runtime.engines.onnx_runtime import OnnxRuntimeBackend

from .accelerator import Job, Run, one_line, stack

__all__ = ["BlockRange", "missing", "run", "takes"]

_CHIP = "this CPU, rounding every result to float16"
_ROOM = 2.0  # other images reach further than the golden ones
_MOST_NAMED = 3


def takes(artifact: Artifact) -> str | None:
    if artifact.engine == "onnxruntime" and artifact.precision == "float32" and artifact.file.path.endswith(".onnx"):
        return None
    return "the rehearsal is made with the float32 .onnx file"


def missing() -> str | None:
    from importlib.util import find_spec

    absent = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    return f"{absent[0]} is not installed; install it with: pip install 'mvit2[fp16]'" if absent else None


@dataclass(frozen=True)
class BlockRange:
    """What half precision does to one block.

    Attributes:
        largest: |value| of the exact network.
        operator: which of its nodes reaches it.
        error: largest |difference| of the block's output, relative to its largest value.
        overflows: whether half precision has Inf or NaN where the exact network has a number.
    """

    block: str
    largest: float
    operator: str
    error: float
    overflows: bool


def run(job: Job) -> Run:
    start, file = time.perf_counter(), job.scratch / "rehearsal.onnx"
    try:
        nodes = write_rehearsal(job.file, file)
        backend = OnnxRuntimeBackend(file, as_written=True)  # casts would be optimised away
    except Exception as error:  # onnx raises classes of C++ bindings, without a common base
        return Run(_CHIP, "float16", failure=f"the file cannot be rehearsed: {one_line(error)}")
    compiled = time.perf_counter() - start
    answers, seen = [], []
    for image in job.inputs:
        scores, *figures = backend.run_all([image[None]])
        answers.append(scores)
        seen.append(np.array([float(value) for value in figures]).reshape(-1, 3))
    blocks = _by_block(nodes, seen)
    return Run(
        _CHIP,
        "float16",
        operators=job.operators,
        placed=job.operators,
        outputs=stack(answers),
        failure=_too_large(blocks),
        findings=tuple(_findings(blocks)),
        compile_seconds=compiled,
    )


# ---- what it says ----


def _by_block(nodes: Sequence[Watched], seen: Sequence[np.ndarray]) -> list[BlockRange]:
    """In the network's order; ``seen``: [node, figure] of each image. A node without a path is in the last block."""
    figures = np.stack(seen)
    largest, overflows = figures[..., 0].max(0), np.isnan(figures[..., 2]).any(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.nan_to_num(figures[..., 1] / figures[..., 0], nan=0.0, posinf=0.0).max(0)
    members: dict[str, list[int]] = {}
    block = "input"
    for index, node in enumerate(nodes):
        found = block_of_node(node.name)
        block = block if found in (None, OUTSIDE) else str(found)
        members.setdefault(block, []).append(index)
    ranges = []
    for block, indices in members.items():
        top = max(indices, key=lambda index: largest[index])
        lost = any(overflows[index] for index in indices)
        ranges.append(BlockRange(block, float(largest[top]), nodes[top].kind, float(errors[indices[-1]]), bool(lost)))
    return ranges


def _too_large(blocks: Sequence[BlockRange]) -> str | None:
    """Which blocks float16 has no numbers for, or will have none for when an image is a little more unusual."""
    over = [block for block in blocks if block.overflows or block.largest > LARGEST_FLOAT16]
    if over:
        rest = len(over) - _MOST_NAMED
        more = f", and {rest} more blocks" if rest > 0 else ""
        return "overflows in float16, which ends at 65504: " + ", ".join(map(_reach, over[:_MOST_NAMED])) + more
    near = [block for block in blocks if block.largest > LARGEST_FLOAT16 / _ROOM]
    if near:
        top = max(near, key=lambda block: block.largest)
        return f"{_reach(top)}, accepted: half of float16's 65504, since other images reach further than these"
    return None


def _reach(block: BlockRange) -> str:
    return f"{block.block} reaches {block.largest:.3g} ({block.operator})"


def _findings(blocks: Sequence[BlockRange]) -> Iterable[str]:
    yield f"largest value: {_reach(max(blocks, key=lambda block: block.largest))}"
    worst = max(blocks, key=lambda block: block.error)
    if not any(block.overflows for block in blocks):
        yield f"largest error: {worst.error:.2%} of the largest value, at the end of {worst.block}"
