"""What the steps of an export are given and hand to each other: values that no later step changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mvit2.bundle.manifest import Artifact, Precision
from mvit2.difference import Difference
from mvit2.export.convert.tflite_metadata import ModelCard
from mvit2.export.formats import FORMATS, Format, FormatName
from mvit2.export.listener import Listener
from mvit2.export.request import ExportRequest
from mvit2.network.blocks import Block
from mvit2.runtime.engines.backend import Array
from mvit2.runtime.tasks.outputs import Output
from mvit2.runtime.verify.golden import Golden

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvit2.checkpoint.load import Checkpoint

__all__ = ["Build", "Converted", "ExportForm", "Reference"]


@dataclass(frozen=True)
class Build:
    """One run: what is asked for, and where its files go.

    Attributes:
        checkpoint: as it was given; what every stage is compared with.
        card: what the files say of themselves.
        output: what the models put out.
        folder, scratch: the bundle, and what does not go into it.
    """

    request: ExportRequest
    checkpoint: Checkpoint
    card: ModelCard
    output: Output
    folder: Path
    scratch: Path
    listener: Listener

    def file(self, row: Format, precision: Precision) -> Path:
        """A model of that format: part of the bundle only where the format was asked for."""
        home = self.folder if row.name in self.request.formats else self.scratch
        return home / row.file(precision)

    @property
    def float_files(self) -> Mapping[FormatName, Path]:
        """Format -> the file that quantised ones are written of."""
        rows = [FORMATS[name] for name in self.request.converted]
        return {row.name: self.file(row, row.base) for row in rows}


@dataclass(frozen=True)
class Reference:
    """What the plain torch model returns for the parity images; every later stage is compared with it.

    Attributes:
        images: the parity images; no model file has scored them yet.
        output: what the models of this export put out.
        scores: [N, ...] in the output's dtype, computed in float64 so that only the stages round.
        difference: the same network computed in float32.
        same: a sentence where the network says the same of all images, so that the comparison proves nothing.
    """

    images: Golden
    output: Output
    scores: Array
    difference: Difference
    same: str | None = None

    def compare(self, stage: str, scores: Array, precision: Precision) -> Difference:
        """``scores``: [N, ...], what a stage returns for the parity images."""
        return self.output.compare(stage, self.scores, scores, self.output.tolerances[precision])


@dataclass(frozen=True)
class ExportForm:
    """The network that is converted, with the contract of its input and output around it.

    Attributes:
        network: takes ``example``.
        example: zeros [1, ...] of the shape and dtype of the models' input.
        blocks: of the network, in order, with the largest value that each reaches on the parity images.
        difference: from the reference.
    """

    network: nn.Module
    example: Tensor
    blocks: tuple[Block, ...]
    difference: Difference


@dataclass(frozen=True)
class Converted:
    """What one step made, or several together (``+``). Raises ValueError: an artifact that has not been run.

    Attributes:
        artifacts: model files of the bundle, in order.
        scores: artifact's file -> what it returned for the parity images, [N, ...].
        differences: from the reference, in order; of stages that are no artifacts, too.
        files: of the bundle beside artifacts.
    """

    artifacts: tuple[Artifact, ...] = ()
    scores: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    differences: tuple[Difference, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [artifact.file.path for artifact in self.artifacts]
        if sorted(names) != sorted(self.scores):
            raise ValueError(f"scores of {sorted(self.scores)} for the artifacts {sorted(names)}")

    def __add__(self, later: Converted) -> Converted:
        return Converted(
            self.artifacts + later.artifacts,
            {**self.scores, **later.scores},
            self.differences + later.differences,
            self.files + later.files,
        )
