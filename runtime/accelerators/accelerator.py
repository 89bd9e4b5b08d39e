"""What a place is where a model file is proven, and what it says of one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Artifact, Precision
from mvit2.bundle.proofs import Arithmetic, Estimate

__all__ = ["Accelerator", "ExtraName", "Job", "Run", "one_line", "stack"]

ExtraName = Literal["qnn", "ethos-u", "litert", "fp16", "opencv"]
_MAX_LINE = 200


@dataclass(frozen=True)
class Job:
    """One file to be run at one place.

    Attributes:
        file: the model.
        chip: one of the accelerator's ``chips``; "" where it has none.
        inputs: what the model takes, [N, ...]: the golden pixels, or the values that a bare network wants.
        operators: of the file, as its manifest counts them.
        scratch: an empty folder for whatever a compiler writes.
        compiled: where the compiled model is to be written, by the accelerators that can; None: nowhere.
    """

    file: Path
    chip: str
    inputs: NDArray[Any]
    operators: int
    scratch: Path
    compiled: Path | None = None


@dataclass(frozen=True)
class Run:
    """What an accelerator says of one file; the fields are those of a Proof, and ``outputs`` [N, ...]."""

    chip: str
    arithmetic: Arithmetic
    operators: int | None = None
    placed: int | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    outputs: NDArray[Any] | None = None
    failure: str | None = None
    findings: tuple[str, ...] = ()
    compile_seconds: float | None = None
    inference_seconds: float | None = None
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Accelerator:
    """One row of ``ACCELERATORS``.

    Attributes:
        name: as it is typed, ``--on litert-gpu``.
        title: what it stands for.
        takes: why it is not for an artifact; None where it is.
        extra: of mvit2, which brings what it needs.
        libraries: distributions whose versions belong to a proof.
        missing: what this machine lacks, in one line with what to install; None where it has everything.
        run: executes a file. Is called in a process of its own, since compilers and drivers abort, print and hang.
        note: what a proof of it is worth.
        arithmetic: in which it computes what is float in a file.
        chips: what may be named after a colon -> its title; the first is the usual one.
        limit_seconds: of a run.
        compiles: whether it can write a compiled model.
        float_activations: precisions whose activations it leaves in float where a CPU rounds them while it runs. Its
            answers may then be as near to the float32 file's as to those that a CPU gave.
    """

    name: str
    title: str
    takes: Callable[[Artifact], str | None]
    extra: ExtraName
    libraries: tuple[str, ...]
    missing: Callable[[], str | None]
    run: Callable[[Job], Run]
    note: str
    arithmetic: Arithmetic
    chips: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"": ""}))
    limit_seconds: int = 900
    compiles: bool = False
    float_activations: tuple[Precision, ...] = ()


def one_line(text: object) -> str:
    """Whatever a library printed, fit for a message and a manifest."""
    words = " ".join(str(text).split())
    line = "".join(letter if letter.isprintable() else "?" for letter in words)
    return line[:_MAX_LINE] or "it printed nothing"


def stack(outputs: list[NDArray[Any]]) -> NDArray[Any]:
    """The outputs of single images as one array."""
    return np.concatenate(outputs)
