"""What a format's converter is given and what it hands back: the two ends of ``convert`` in export/formats.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mvit2.bundle.manifest import GraphFacts, Precision

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .tflite_metadata import ModelCard

__all__ = ["SIMPLIFIED", "Conversion", "Made"]

SIMPLIFIED = "simplified.onnx"  # in the scratch folder: to_onnx leaves it for the formats that are made from it


@dataclass(frozen=True)
class Conversion:
    """One format to be made.

    Attributes:
        network: torch's, with the contract of its input and output around it; it takes ``example``.
        example: zeros [1, ...] of the shape and dtype of the models' input.
        card: what the files say of themselves.
        names: of the models' input and output.
        opset: of ONNX.
        dynamic_batch: leave the number of images open.
        tools: library -> version, for files that say who made them.
        files: precision -> the file, or folder, to make. All lie in one folder.
        sources: the same of the format that this one is made from; none where that is torch's network.
        scratch: a folder for what is thrown away afterwards; what earlier converters left there.
    """

    network: nn.Module
    example: Tensor
    card: ModelCard
    names: tuple[str, str]
    opset: int
    dynamic_batch: bool
    tools: Mapping[str, str]
    files: Mapping[Precision, Path]
    sources: Mapping[Precision, Path]
    scratch: Path


@dataclass(frozen=True)
class Made:
    """What there is beside the ``files`` that were asked for.

    Attributes:
        stages: what it is called -> a model on the way, which is compared with torch, too.
        graphs: what is in a file, where its converter alone can tell; else it is inspected.
        beside: names of further files in the folder, which become part of the bundle.
    """

    stages: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    graphs: Mapping[Precision, GraphFacts] = field(default_factory=lambda: MappingProxyType({}))
    beside: tuple[str, ...] = ()
