"""The model card: the report as Markdown, with the front matter of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mvit2.export.templating import environment

from .content import FILTERS, TEMPLATES, content
from .gather import Report
from .wording import OUR_ORIGINS, hub_id

__all__ = ["CARD", "MARK", "is_foreign", "markdown", "model_card"]

CARD = "README.md"
MARK = "<!-- written by mvit2 report; without this line it is left alone -->"
_MARKDOWN = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#+-])")  # elsewhere a hyphen is a hyphen
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_DATASETS = MappingProxyType({"imagenet1k": "imagenet-1k"})  # part of a repository's name -> the data set's on the hub
_NOT_IN_YAML = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # HTML; JSON that is no YAML, or ends a line


def model_card(report: Report) -> str:
    """Markdown with the front matter of the Hugging Face hub. Raises MissingEngineError."""
    from markupsafe import Markup

    jinja = environment(TEMPLATES, FILTERS, autoescape=False)
    jinja.finalize = lambda value: value if isinstance(value, Markup) else markdown(str(value))
    jinja.filters["yaml"] = lambda value: Markup(_yaml(value))
    added = {"mark": Markup(MARK), "front": _front(report)}
    return jinja.get_template(f"card_{report.task.name}.md.jinja").render(content(report) | added)


def _front(report: Report) -> dict[str, object]:
    """The front matter's keys that the hub reads, in its words; nothing is said of what is not known."""
    manifest, found = report.manifest, hub_id(report.manifest)
    datasets = [name for part, name in _DATASETS.items() if found is not None and part in found]
    rows = report.accuracy.rows if report.accuracy else ()
    metrics = list(dict.fromkeys(metric.type for row in rows for metric in row.metrics))
    known: dict[str, object] = {
        "library_name": "mvit2",
        "pipeline_tag": report.task.hub,
        **_license(manifest.weights.origin, found),
        "tags": [manifest.architecture, *dict.fromkeys(artifact.engine for artifact in manifest.artifacts)],
        "base_model": found,
        "base_model_relation": "quantized" if found and any(a.quantisation for a in manifest.artifacts) else None,
        "datasets": datasets,
        "metrics": metrics,
        "model-index": _results(report),
    }
    return {key: value for key, value in known.items() if value}


def _license(origin: str, repository: str | None) -> dict[str, str]:
    """Of the weights: ours, their repository's, or one that only their owner knows."""
    if origin in OUR_ORIGINS:
        return {"license": "mit"}
    if repository is not None:
        name = "that-of-the-base-model"
        return {"license": "other", "license_name": name, "license_link": f"https://huggingface.co/{repository}"}
    return {"license": "unknown"}


def _results(report: Report) -> list[dict[str, Any]]:
    """Accuracy as the hub's model-index holds it."""
    if report.accuracy is None:
        return []
    about = {
        "task": {"type": report.task.hub},
        "dataset": {"name": report.accuracy.source, "type": "labelled-images"},
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


def markdown(text: str) -> str:
    """``text`` as Markdown shows it, on one line: neither HTML nor Markdown of its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _NUMBERED.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", text))


def _yaml(value: object) -> str:
    """``value`` as JSON, which is YAML but for some characters."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# ---- files ----


def is_foreign(file: Path) -> bool:
    """A README.md that somebody wrote must not be lost."""
    return file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace")
