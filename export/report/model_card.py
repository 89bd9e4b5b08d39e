"""The model card: the report as Markdown, with the front matter of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mvit2.export.templating import environment

from .content import FILTERS, TEMPLATES, content
from .gather import Report

__all__ = ["CARD", "is_foreign", "model_card"]

CARD = "README.md"
_MARK = "<!-- written by mvit2 report; without this line it is left alone -->"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_NOT_IN_YAML = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # HTML; JSON that is no YAML, or ends a line


def model_card(report: Report) -> str:
    """Markdown with the front matter of the Hugging Face hub. Raises MissingEngineError."""
    from markupsafe import Markup

    jinja = environment(TEMPLATES, FILTERS, autoescape=False)
    jinja.finalize = lambda value: value if isinstance(value, Markup) else _markdown(str(value))
    jinja.filters["yaml"] = lambda value: Markup(_yaml(value))
    tags = [report.manifest.architecture, *dict.fromkeys(a.engine for a in report.manifest.artifacts)]
    front = {"mark": Markup(_MARK), "tags": tags, "results": _results(report)}
    return jinja.get_template(f"card_{report.task.name}.md.jinja").render(content(report) | front)


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


def is_foreign(file: Path) -> bool:
    """A README.md that somebody wrote must not be lost."""
    return file.exists() and _MARK not in file.read_text(encoding="utf-8", errors="replace")
