"""A classifier's part of a report: top-1 and top-5, the best classes of every image, other first classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvit2.bundle.manifest import Artifact, Precision
from mvit2.bundle.measurements import Accuracy as Hits
from mvit2.bundle.measurements import Fidelity
from mvit2.errors import BundleError
from mvit2.image.preprocess import preprocess
from mvit2.metrics.fidelity import confidence_interval
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.runtime.tasks.classify.metrics import Disagreement, Evaluation
from mvit2.runtime.tasks.classify.prediction import top_k

from .plots import PAPER, colour_of, drawn, label_row
from .task import MOST_PICTURES, Accuracy, Evaluated, Highlight, Metric, Pictured, ReportTask, Shown, Source, data_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CLASSIFICATION", "ClassifierRow", "Example", "accuracy_plot"]

_EDGE = 160  # pixels of an image in the page
_WORST_CLASSES = 10


# ---- accuracy ----


@dataclass(frozen=True)
class ClassifierRow:
    """One artifact on labelled images; the intervals are Wilson's 95 % of the share. None: not compared."""

    artifact: str
    precision: Precision
    images: int
    top1: int
    top5: int
    agreement: float | None = None  # share of images with float32's first class
    snr_db: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.top1 <= self.top5 <= self.images and self.images > 0):
            hits = f"{self.top1} and {self.top5} of {self.images}"
            raise BundleError(f"the accuracy of {self.artifact} is {hits} images; export the bundle again.")

    @property
    def top1_interval(self) -> tuple[float, float]:
        return confidence_interval(self.top1, self.images)

    @property
    def top5_interval(self) -> tuple[float, float]:
        return confidence_interval(self.top5, self.images)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        hits = ((1, self.top1), (5, self.top5))
        return tuple(Metric("accuracy", f"top-{k}", found / self.images) for k, found in hits)

    @property
    def highlight(self) -> Highlight:
        low, high = self.top1_interval
        note = f"95 %: {100 * low:.1f} to {100 * high:.1f}"
        return Highlight(f"{self.top1 / self.images:.1%}", "top-1 accuracy", note)


def _of_evaluation(evaluated: Evaluated) -> Accuracy:
    found = evaluated.evaluation
    assert isinstance(found, Evaluation)
    rows = (
        ClassifierRow(a.artifact, a.precision, found.images, a.top1, a.top5, a.agreement, a.snr_db)
        for a in found.artifacts
    )
    return Accuracy(evaluated.source, tuple(rows), found)


def _of_export(artifact: Artifact, figures: object, fidelity: Fidelity | None) -> ClassifierRow | None:
    if not isinstance(figures, Hits):
        return None
    near = (None, None) if fidelity is None else (fidelity.agreement, fidelity.snr_db)
    return ClassifierRow(artifact.file.path, artifact.precision, figures.images, figures.top1, figures.top5, *near)


def _details(labels: Sequence[str], accuracy: Accuracy) -> dict[str, Any]:
    from markupsafe import Markup

    evaluation = accuracy.evaluation
    classes = evaluation.classes if isinstance(evaluation, Evaluation) else ()
    rows = [row for row in accuracy.rows if isinstance(row, ClassifierRow)]
    return {
        "accuracy_plot": Markup(accuracy_plot(rows)),
        "worst_classes": sorted(classes, key=lambda c: sum(c.top1.values()) / c.images)[:_WORST_CLASSES],
    }


# ---- images ----


@dataclass(frozen=True)
class Example:
    """An image, and every class that is among the best five of an artifact."""

    picture: str
    artifacts: tuple[str, ...]
    classes: tuple[Shown, ...]


def _examples(source: Source, pictures: Mapping[str, Path]) -> Pictured:
    manifest = source.manifest
    pixels = {name: preprocess(path, manifest.preprocess) for name, path in pictures.items()}
    names: list[str] = []
    scores: dict[str, list[NDArray[np.float32]]] = {picture: [] for picture in pixels}
    for artifact, backend in source.models():
        names.append(artifact.file.path)
        for picture, image in pixels.items():
            scores[picture].append(scores_of(backend, manifest.io, manifest.preprocess, image[None])[0])
    said = tuple(Example(p, tuple(names), _shown(found, source.labels)) for p, found in scores.items() if found)
    return Pictured(said, {name: _thumbnail(image) for name, image in pixels.items()})


def _shown(scores: Sequence[NDArray[np.float32]], labels: tuple[str, ...]) -> tuple[Shown, ...]:
    """The classes among anybody's best five, in the order of the first artifact."""
    best = {prediction.index for found in scores for prediction in top_k(found, labels, 5)}
    order = sorted(best, key=lambda index: -scores[0][index])
    return tuple(Shown(i, labels[i], tuple(float(found[i]) for found in scores)) for i in order)


def _worst(source: Source, evaluated: Evaluated) -> Pictured:
    assert isinstance(evaluated.evaluation, Evaluation)
    said = tuple(found for found in evaluated.evaluation.worst if _differs(found))[:MOST_PICTURES]
    spec = source.manifest.preprocess
    return Pictured(said, {d.picture: _thumbnail(preprocess(evaluated.files[d.picture], spec)) for d in said})


def _differs(found: Disagreement) -> bool:
    """The same first class with another probability is no disagreement."""
    return found.reference.index != found.answer.index


def _thumbnail(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    return data_uri(image, quality=85)


CLASSIFICATION = ReportTask(
    name="classify",
    hub="image-classification",
    same="top-1 agreement",
    examples=_examples,
    worst=_worst,
    of_evaluation=_of_evaluation,
    of_export=_of_export,
    details=_details,
)


def accuracy_plot(rows: Sequence[ClassifierRow]) -> str:
    """Top-1 (filled) and top-5 (open) of every artifact with their intervals."""
    lowest = min(row.top1_interval[0] for row in rows)

    def draw(axes: Axes) -> None:
        for y, row in enumerate(rows):
            colour = colour_of(row.precision)
            for hits, interval, fill in ((row.top1, row.top1_interval, colour), (row.top5, row.top5_interval, PAPER)):
                axes.plot(interval, (y, y), color=colour, linewidth=2, solid_capstyle="round")
                axes.plot(hits / row.images, y, "o", markersize=6.5, markeredgecolor=colour, markerfacecolor=fill)
            label_row(axes, y, row.artifact, f"{row.top1 / row.images:.1%} · {row.top5 / row.images:.1%}")
        axes.set_xlim(max(0.0, lowest - 0.05), 1.0)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")

    return drawn("accuracy", "Top-1 and top-5 of every artifact with 95 % intervals", len(rows), draw)
