"""What the templates of the report's page and of the model card see, and their filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mvit2.bundle.manifest import Engine
from mvit2.difference import MEASURES
from mvit2.network.architectures import network_title, transformer_title
from mvit2.network.blocks import Block
from mvit2.runtime.accelerators.standing import standings, unproven
from mvit2.runtime.tasks.outputs import output_of
from mvit2.units import human_bytes
from mvit2.versions import VERSION

from .gather import Report
from .network_drawing import block_title, draw_network
from .plots import Tradeoff, latency_plot, sensitivity_plot, tradeoff_plot
from .verdict import verdict
from .wording import (
    ERRORS,
    answer,
    by_float32,
    export_again,
    highlights,
    hub_id,
    number,
    postprocessing,
    preprocessing,
)

__all__ = ["FILTERS", "TEMPLATES", "content", "drawings"]

TEMPLATES = Path(__file__).parent / "templates"
_ENGINES: dict[Engine, str] = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _interval(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _points(share: float) -> str:
    """Percent with two digits that mean something."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"


FILTERS: dict[str, Callable[..., Any]] = {
    "percent": _percent,
    "points": _points,
    "interval": _interval,
    "bytes": human_bytes,
    "number": number,
    "standings": standings,
    "unproven": unproven,
    "block": block_title,
    "engine": _ENGINES.__getitem__,
    "ms": lambda value: f"{value:.2f}",
    "scientific": lambda value: f"{value:.1e}",
}


def content(report: Report) -> dict[str, Any]:
    """What the templates of the page and of the model card see."""
    manifest = report.manifest
    return {
        "version": VERSION,
        "report": report,
        "manifest": manifest,
        "task": report.task,
        "network_title": network_title(manifest.architecture, manifest.variant),
        "measures": MEASURES[output_of(manifest).name],
        "verdict": verdict(report),
        "highlights": highlights(report),
        "preprocessing": preprocessing(manifest),
        "postprocessing": postprocessing(manifest),
        "answer": answer(manifest),
        "error": ERRORS[output_of(manifest).name],
        "command": " \\\n    ".join(export_again(manifest)),
        "hub_id": hub_id(manifest),
        "precisions": {a.file.path: a.precision for a in manifest.artifacts},
        "sizes": {a.file.path: by_float32(manifest, a) for a in manifest.artifacts},
        "operators": _operators(report),
        "golden_files": [f for f in manifest.files if f.path.startswith("golden/")],
        "kinds": _by_kind(report),
        "left_out": {a.file.path: dict(Counter(a.graph.not_delegated or ())) for a in manifest.artifacts},
        "transformer_title": transformer_title(manifest.architecture),
    }


def drawings(report: Report) -> dict[str, Any]:
    """What the page alone shows; the drawings are ours and need no escaping."""
    from markupsafe import Markup

    blocks = report.manifest.blocks
    return {
        "network": Markup(draw_network(blocks)) if blocks else None,
        "tradeoff_plot": _tradeoff(report),
        "latency_plot": Markup(latency_plot(report.timing.trials)) if report.timing else None,
        "sensitivity_plot": Markup(sensitivity_plot(report.sensitivity)) if report.sensitivity else None,
        **(report.task.details(report.labels, report.accuracy) if report.accuracy else {}),
    }


def _tradeoff(report: Report) -> object:
    """Accuracy against latency, the area of a mark its size; None where one of them is unknown."""
    from markupsafe import Markup

    if report.accuracy is None or report.timing is None:
        return None
    medians = {m.model: m.inference.median for m in report.timing.trials[0].results}
    sizes = {a.file.path: a.file.bytes for a in report.manifest.artifacts}
    known = [
        Tradeoff(row.artifact, row.precision, medians[row.artifact], row.metrics[0].value, sizes[row.artifact])
        for row in report.accuracy.rows
        if row.artifact in medians and row.artifact in sizes
    ]
    return Markup(tradeoff_plot(known, report.accuracy.rows[0].metrics[0].name)) if len(known) > 1 else None


def _operators(report: Report) -> dict[str, tuple[list[str], list[tuple[str, list[int]]]]]:
    """Engine -> its artifacts, and for each type of operator its count in each of them; the most frequent first."""
    found = {}
    for engine, title in _ENGINES.items():
        graphs = {a.file.path: a.graph.operators for a in report.manifest.artifacts if a.engine == engine}
        kinds = {kind for counts in graphs.values() for kind in counts}
        types = {kind: [counts.get(kind, 0) for counts in graphs.values()] for kind in kinds}
        rows = sorted(types.items(), key=lambda row: (-max(row[1]), row[0]))
        if graphs:
            found[title] = (list(graphs), rows)
    return found


def _by_kind(report: Report) -> list[tuple[str, int, int, float]]:
    """Kind, how many blocks, their parameters, their share of the multiply-adds; the largest share first."""
    total = max(1, report.macs)
    groups: dict[str, list[Block]] = {}
    for block in report.manifest.blocks:
        groups.setdefault(block.kind, []).append(block)
    rows = [(k, len(g), sum(b.parameters for b in g), sum(b.macs for b in g) / total) for k, g in groups.items()]
    return sorted(rows, key=lambda row: -row[3])
