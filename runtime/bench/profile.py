"""Where the time of one inference goes, by block of the network, and how near each comes to what the machine can do.

ONNX Runtime times its operators itself. LiteRT times none inside XNNPACK, so its model is cut into blocks, which run
side by side as models of their own (tflite_blocks.py).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mvit2.errors import BundleError, MissingEngineError
from mvit2.network.architectures import ARCHITECTURES
from mvit2.network.blocks import block_of
from mvit2.runtime.engines.litert import open_interpreter
from mvit2.runtime.engines.onnx_runtime import OnnxRuntimeBackend
from mvit2.runtime.engines.random_inputs import random_inputs
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.timing import Bounds, in_turns
from mvit2.scratch import scratch_folder

from .gemm_peak import MACS, write_product
from .models import Subject, prepare
from .tflite_blocks import write_segments

__all__ = ["BlockTime", "Profile", "block_of_node", "profile"]

OUTSIDE = "outside of blocks"
_WRAPPERS = {"network", "model", *ARCHITECTURES}  # modules that hold the whole network
_NUMBERED = re.compile(r".*\.\d+")  # layer.3, stages.2.1
_WARMUP = 3
_PRODUCT = "a matrix product"  # among the blocks' names


@dataclass(frozen=True)
class BlockTime:
    """``share``: of all blocks' time; ``operators``: type -> milliseconds, the slowest first, where they are known;
    ``gmac_per_s``: 1e9 multiply-accumulates in a second, where the manifest says how many the block has.
    """

    block: str
    ms: float
    share: float
    operators: Mapping[str, float]
    gmac_per_s: float | None


@dataclass(frozen=True)
class Profile:
    """Milliseconds of an inference by block, the slowest first.

    ``ms``: the sum over the blocks; ``whole_ms``: of the model in one piece; ``peak_gmac_per_s``: of a plain matrix
    product of the same engine and precision, in the same run; None where none can be written.
    """

    model: str
    threads: int
    runs: int
    ms: float
    whole_ms: float
    peak_gmac_per_s: float | None
    blocks: tuple[BlockTime, ...]


def profile(subject: Subject, threads: int, runs: int) -> Profile:
    """Time the blocks of a model; each operator or block counts with the median of its runs.

    Raises BundleError: a TFLite file without a bundle that says what its blocks are.
    """
    with scratch_folder() as scratch:
        of_engine = _litert if subject.engine == "litert" else _onnx_runtime
        blocks, whole_ms, product_ms = of_engine(subject, threads, runs, scratch)
    total = sum(sum(operators.values()) for operators in blocks.values())
    macs = {block.name: block.macs for block in subject.pipeline.manifest.blocks} if subject.pipeline else {}
    times = [_block_time(block, operators, total, macs.get(block)) for block, operators in blocks.items()]
    slowest_first = tuple(sorted(times, key=lambda time: -time.ms))
    peak = MACS / product_ms / 1e6 if product_ms else None
    return Profile(subject.name, threads, runs, total, whole_ms, peak, slowest_first)


def _block_time(block: str, operators: Mapping[str, float], total: float, macs: int | None) -> BlockTime:
    ms, slowest_first = sum(operators.values()), sorted(operators.items(), key=lambda item: -item[1])
    rate = macs / ms / 1e6 if macs and ms else None
    return BlockTime(block, ms, ms / total if total else 0.0, dict(slowest_first) if len(operators) > 1 else {}, rate)


# block -> operator -> ms; ms of the model, of a product
Found = tuple[Mapping[str, Mapping[str, float]], float, float | None]


# ---- LiteRT ----


def _litert(subject: Subject, threads: int, runs: int, scratch: Path) -> Found:
    if subject.pipeline is None:
        raise BundleError(
            f"{subject.file}: LiteRT does not time operators inside XNNPACK, and only a bundle says where the blocks "
            "of a model begin; profile the .onnx of the same network."
        )
    files = write_segments(subject.file, subject.pipeline.manifest.blocks, scratch)
    files |= {subject.name: subject.file, _PRODUCT: _product(subject, scratch)}
    seconds = in_turns({name: [_invoke(file, threads)] for name, file in files.items()}, Bounds(runs, _WARMUP))
    ms = {name: float(np.median(taken)) * 1e3 for name, taken in seconds.items()}
    product, whole = ms.pop(_PRODUCT), ms.pop(subject.name)
    return {block: {"": taken} for block, taken in ms.items()}, whole, product


def _invoke(file: Path, threads: int) -> Callable[[object], object]:
    """Inference alone: the maps between blocks are larger than a model's input, and copying them would count."""
    inputs = random_inputs(open_any(file, threads))
    interpreter = open_interpreter(file, num_threads=threads)
    for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], values)
    return lambda _: interpreter.invoke()


# ---- ONNX Runtime ----


def _onnx_runtime(subject: Subject, threads: int, runs: int, scratch: Path) -> Found:
    plain = OnnxRuntimeBackend(subject.file, threads, in_turns=True)
    watched = OnnxRuntimeBackend(subject.file, threads, in_turns=True, profile_into=scratch)
    inputs = prepare(subject, watched)
    work = {subject.name: (plain, inputs), "watched": (watched, inputs)}
    with suppress(MissingEngineError):  # the package onnx, which a runtime alone does not need
        product = OnnxRuntimeBackend(_product(subject, scratch), threads, in_turns=True)
        work[_PRODUCT] = product, random_inputs(product)
    turns = {name: [lambda _, m=model, x=x: m.run_all(x)] for name, (model, x) in work.items()}
    seconds = in_turns(turns, Bounds(runs, _WARMUP))
    ms = {name: float(np.median(taken)) * 1e3 for name, taken in seconds.items()}
    events = json.loads(watched.end_profile().read_text(encoding="utf-8"))
    return _by_block(_operators(events)), ms[subject.name], ms.get(_PRODUCT)


def _product(subject: Subject, scratch: Path) -> Path:
    return write_product(subject.engine, subject.computes_in_int8, scratch)


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
    if path[:1] == ["encoder"]:  # of our network: what lies between its blocks belongs where it is executed
        return block_of(".".join(path))
    numbered = [i for i, module in enumerate(path) if _NUMBERED.fullmatch(module)]
    return ".".join(path[: numbered[-1] + 1] if numbered else path[:1]) or OUTSIDE
