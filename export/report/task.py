"""What of a report differs from task to task: the form of a row of ``report.REPORT_TASKS``, and what its rows share."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from mvit2.bundle.manifest import Artifact, Manifest, Precision
from mvit2.bundle.measurements import Fidelity
from mvit2.errors import MissingEngineError
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.tasks.bundle_model import open_artifact
from mvit2.runtime.tasks.classify.metrics import Evaluation
from mvit2.runtime.tasks.segment.metrics import MaskEvaluation

__all__ = [
    "MOST_PICTURES",
    "Accuracy",
    "BlockNoise",
    "Evaluated",
    "Highlight",
    "Metric",
    "Pictured",
    "ReportTask",
    "Row",
    "Shown",
    "Source",
    "data_uri",
]

MOST_PICTURES = 12  # of one section


@dataclass(frozen=True)
class Source:
    """The bundle that a report is about."""

    bundle: Path
    manifest: Manifest
    labels: tuple[str, ...]

    def models(self) -> Iterator[tuple[Artifact, Backend]]:
        """One float32 artifact and every one that is not float32; what has no engine here is left out."""
        plain = False
        for artifact in self.manifest.artifacts:
            if artifact.precision == "float32" and plain:
                continue
            try:
                yield artifact, open_artifact(self.bundle, self.manifest, artifact, 1)
            except MissingEngineError:
                continue
            plain = plain or artifact.precision == "float32"


@dataclass(frozen=True)
class Evaluated:
    """An evaluation; ``files``: those behind the names of its images and of their masks."""

    source: str
    evaluation: Evaluation | MaskEvaluation
    files: Mapping[str, Path]
    reduced: bool = False  # index 0 of its masks is no class, and k is class k - 1


@dataclass(frozen=True)
class Highlight:
    """A figure that the page begins with."""

    value: str
    name: str
    note: str


@dataclass(frozen=True)
class Metric:
    """A figure as the hub's model-index holds it."""

    type: str
    name: str
    value: float


class Row(Protocol):
    """How good one artifact is, by the metrics of its task."""

    @property
    def artifact(self) -> str: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def images(self) -> int: ...
    @property
    def agreement(self) -> float | None: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def highlight(self) -> Highlight: ...


@dataclass(frozen=True)
class Accuracy:
    """``evaluation`` is there where the report evaluated by itself; else the figures are those of the export."""

    source: str  # which images
    rows: tuple[Row, ...]
    evaluation: Evaluation | MaskEvaluation | None = None


@dataclass(frozen=True)
class Shown:
    """A class and its figure by each artifact: a probability, or a share of the image's pixels."""

    index: int
    label: str
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Pictured:
    """What is said of some images; ``images``: name -> data URI of what is shown of them."""

    said: tuple[Any, ...]
    images: Mapping[str, str]


@dataclass(frozen=True)
class ReportTask:
    """What a report says and shows of one task.

    Attributes:
        name: of its templates, report_NAME.html.jinja and card_NAME.md.jinja.
        hub: the task as the Hugging Face hub calls it.
        same: what two artifacts have in common where they agree.
        examples: what all artifacts say of these images (name -> file).
        worst: where the artifacts of an evaluation are furthest from float32.
        of_evaluation: how good the artifacts are.
        of_export: how good one is: the artifact, its figures in the manifest, how near it is to float32 (if not that).
        details: labels, accuracy -> what its templates see of the latter beside its figures, such as plots.
    """

    name: str
    hub: str
    same: str
    examples: Callable[[Source, Mapping[str, Path]], Pictured]
    worst: Callable[[Source, Evaluated], Pictured]
    of_evaluation: Callable[[Evaluated], Accuracy]
    of_export: Callable[[Artifact, Any, Fidelity | None], Row | None]
    details: Callable[[Sequence[str], Accuracy], dict[str, Any]]


def data_uri(image: Image.Image, format: str = "JPEG", **options: Any) -> str:
    """``options`` are those of Pillow's encoder."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True)
class BlockNoise:
    """One block when it alone is int8, as ``mvit2 sensitivity`` found it."""

    block: str
    alone_snr_db: float
    alone_agreement: float

    def __post_init__(self) -> None:
        named = self.block.isascii() and self.block.isprintable() and 0 < len(self.block) <= 200
        if not (named and 0 <= self.alone_agreement <= 1 and abs(self.alone_snr_db) <= 1000):
            raise ValueError(f"{self.block[:80]!r}: a name, a share or decibels that cannot be")
