"""What ``mvit2 evaluate`` shows of a classifier: its tables, and the images of the worst disagreements."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .console import screen

if TYPE_CHECKING:
    from mvit2.runtime.evaluate.plan import Plan
    from mvit2.runtime.tasks.classify.metrics import ArtifactFigures, Disagreement, Evaluation, Named

__all__ = ["plain", "save", "show", "show_pairs", "worst_name"]

_CLASSES_SHOWN = 10
_LONGEST_WORD = 24  # of a label in a file's name: four of them stay far below the 255 bytes of a name


def show(found: Evaluation) -> None:
    names = [figures.artifact for figures in found.artifacts]
    columns = ("artifact", "top-1 (95 %)", "top-5 (95 %)", "top-1 agreement", "SNR", "max |Δ log p|")
    rows = [_artifact_row(figures, found.images) for figures in found.artifacts]
    beside = f"; the last three columns: against {found.reference}" if found.reference and len(names) > 1 else ""
    screen.table(f"accuracy on {found.images} images{beside}", columns, rows)
    show_pairs("top-1 agreement", found.agreement)
    classes = sorted(found.classes, key=lambda c: (sum(c.top1.values()) / c.images, c.index))[:_CLASSES_SHOWN]
    screen.table(
        f"top-1 of the worst {len(classes)} of {len(found.classes)} classes",
        ("class", "images", *names, "most confused with"),
        (
            (c.label, str(c.images), *(f"{hits / c.images:.1%}" for hits in c.top1.values()), c.mistaken_for or "-")
            for c in classes
        ),
    )
    share = len(found.all_wrong) / found.images
    screen.result(f"{len(found.all_wrong)} image(s) ({share:.1%}) every artifact gets wrong; --json names them")


def show_pairs(title: str, agreement: Mapping[str, Mapping[str, float]]) -> None:
    """How often every two artifacts agree, where there are more than the two that the first table compares."""
    names = list(agreement)
    if len(names) > 2:
        cells = [[f"{agreement[a][b]:.1%}" if a != b else "" for b in names] for a in names]
        screen.table(title, ("", *names), ((name, *row) for name, row in zip(names, cells, strict=True)))


def _artifact_row(figures: ArtifactFigures, images: int) -> tuple[str, ...]:
    first, fifth = (
        f"{hits / images:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        for hits, (low, high) in ((figures.top1, figures.top1_interval), (figures.top5, figures.top5_interval))
    )
    if figures.agreement is None:
        return figures.artifact, first, fifth, "-", "-", "-"
    return (
        figures.artifact,
        first,
        fifth,
        f"{figures.agreement:.1%}",
        f"{figures.snr_db:.1f} dB",
        f"{figures.max_drift:.1e}",
    )


# ---- the worst disagreements as images ----


def save(folder: Path, plan: Plan, worst: Sequence[Disagreement]) -> None:
    """A copy of each image, the worst first."""
    pictures = dict(zip(plan.names, plan.pictures, strict=True))
    for place, disagreement in enumerate(worst, 1):
        shutil.copyfile(pictures[disagreement.picture], folder / worst_name(place, disagreement))


def worst_name(place: int, found: Disagreement) -> str:
    """Such as 01_cat_as_dog__float32-cat-0.91__int8-dog-0.55.jpg: ASCII, without anything that a file system minds."""
    true = plain(found.label) or "class"
    answers = (_answer("float32", found.reference), _answer(found.precision, found.answer))
    taken_for = plain(found.answer.label) or f"class-{found.answer.index}"
    return f"{place:02}_{true}_as_{taken_for}__{'__'.join(answers)}{Path(found.picture).suffix.lower()}"


def _answer(precision: str, named: Named) -> str:
    return f"{precision}-{plain(named.label) or f'class-{named.index}'}-{named.score:.2f}"


def plain(label: str) -> str:
    """ASCII, without anything that a file system minds; it may be empty."""
    ascii_only = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", ascii_only)[:_LONGEST_WORD].strip("-")
