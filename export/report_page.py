"""The report as one HTML file and as a model card: templates filled, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mvit2
from mvit2.blocks import Block
from mvit2.errors import BundleError, OutputError
from mvit2.manifest import Engine
from mvit2.measured import MEASURES
from mvit2.runtime.outputs import output_of

from .console import human_bytes
from .drawing import block_title, draw_network
from .plots import latency_plot, sensitivity_plot
from .report import Report
from .report_words import (
    ERRORS,
    answer,
    by_float32,
    delegation,
    export_again,
    highlights,
    hub_id,
    number,
    postprocessing,
    preprocessing,
)
from .templating import environment

__all__ = ["CARD", "PAGE", "model_card", "page", "write_report"]

PAGE, CARD = "report.html", "README.md"
_MARK = "<!-- written by mvit2 report; without this line it is left alone -->"
_TEMPLATES = Path(__file__).parent / "templates"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_NOT_IN_YAML = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # HTML; JSON that is no YAML, or ends a line
_ENGINES: dict[Engine, str] = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


def write_report(bundle: Path, report: Report) -> tuple[Path, ...]:
    """Write report.html, and README.md unless somebody else's is there; returns what was written.

    Raises OutputError, MissingEngineError, BundleError (the manifest holds numbers that nothing has).
    """
    try:
        texts = {PAGE: page(report), CARD: model_card(report)}
    except OverflowError:
        raise BundleError(f"{bundle}: the manifest holds numbers that no model has. Export the bundle again.") from None
    written = []
    for name, text in texts.items():
        if name == CARD and _is_foreign(bundle / name):
            continue
        _write_whole(bundle / name, text)
        written.append(bundle / name)
    return tuple(written)


def page(report: Report) -> str:
    """Raises MissingEngineError."""
    template = environment(_TEMPLATES, _FILTERS, autoescape=True).get_template(f"report_{report.task.name}.html.jinja")
    return template.render(_content(report))


def model_card(report: Report) -> str:
    """Markdown with the front matter of the Hugging Face hub. Raises MissingEngineError."""
    from markupsafe import Markup

    jinja = environment(_TEMPLATES, _FILTERS, autoescape=False)
    jinja.finalize = lambda value: value if isinstance(value, Markup) else _markdown(str(value))
    jinja.filters["yaml"] = lambda value: Markup(_yaml(value))
    tags = ["mobilevitv2", *dict.fromkeys(a.engine for a in report.manifest.artifacts)]
    front = {"mark": Markup(_MARK), "tags": tags, "results": _results(report)}
    return jinja.get_template(f"card_{report.task.name}.md.jinja").render(_content(report) | front)


def _results(report: Report) -> list[dict[str, Any]]:
    """Accuracy as the hub's model-index holds it."""
    if report.accuracy is None:
        return []
    about = {
        "task": {"type": report.task.hub},
        "dataset": {"name": report.accuracy.source, "type": "labelled-pictures"},
    }
    results = [
        about
        | {
            "metrics": [
                {"type": metric.type, "name": f"{metric.name}, {row.artifact}", "value": round(metric.value, 6)}
                for metric in row.metrics
            ]
        }
        for row in report.accuracy.rows
    ]
    return [{"name": report.manifest.name, "results": results}]


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _interval(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _points(share: float) -> str:
    """Percent with two digits that mean something."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"


_FILTERS: dict[str, Callable[..., Any]] = {
    "percent": _percent,
    "points": _points,
    "interval": _interval,
    "bytes": human_bytes,
    "number": number,
    "delegation": delegation,
    "block": block_title,
    "engine": _ENGINES.__getitem__,
    "ms": lambda value: f"{value:.2f}",
    "scientific": lambda value: f"{value:.1e}",
}


def _content(report: Report) -> dict[str, Any]:
    """What the templates see; the drawings are ours and need no escaping."""
    from markupsafe import Markup

    manifest = report.manifest
    return {
        "version": mvit2.__version__,
        "report": report,
        "manifest": manifest,
        "task": report.task,
        "measures": MEASURES[output_of(manifest).name],
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
        "network": Markup(draw_network(manifest.blocks)) if manifest.blocks else None,
        "latency_plot": Markup(latency_plot(report.timing.trials)) if report.timing else None,
        "sensitivity_plot": Markup(sensitivity_plot(report.sensitivity)) if report.sensitivity else None,
        **(report.task.details(report.labels, report.accuracy) if report.accuracy else {}),
    }


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


# ---- text from outside ----


def _markdown(text: str) -> str:
    """``text`` as Markdown shows it, on one line: neither HTML nor Markdown of its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def _yaml(value: object) -> str:
    """``value`` as JSON, which is YAML but for some characters."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# ---- files ----


def _is_foreign(file: Path) -> bool:
    """A README.md that somebody wrote must not be lost."""
    return file.exists() and _MARK not in file.read_text(encoding="utf-8", errors="replace")


def _write_whole(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))  # a file's name may hold what is no text
        os.replace(part, file)
    except OSError as error:
        raise OutputError(f"{file} cannot be written ({error.strerror}); it is as it was before.") from None
    finally:
        part.unlink(missing_ok=True)
