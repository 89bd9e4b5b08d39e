"""The report as one HTML file; it and the model card are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from mvit2.atomic_write import write_text
from mvit2.errors import BundleError, OutputError
from mvit2.export.templating import environment

from .content import FILTERS, TEMPLATES, content, drawings
from .gather import Report
from .model_card import CARD, is_foreign, model_card

__all__ = ["PAGE", "page", "write_report"]

PAGE = "report.html"


def write_report(bundle: Path, report: Report, output: Path | None = None) -> tuple[Path, ...]:
    """Write report.html, and README.md unless somebody else's is there; returns what was written.

    ``output``: write the page into this file instead, and no model card.

    Raises OutputError, MissingEngineError, BundleError (the manifest holds numbers that nothing has).
    """
    try:
        texts = {PAGE: page(report)} if output is not None else {PAGE: page(report), CARD: model_card(report)}
    except OverflowError:
        raise BundleError(f"{bundle}: the manifest holds numbers that no model has. Export the bundle again.") from None
    if output is not None:
        _write_whole(output, texts[PAGE])
        return (output,)
    written = []
    for name, text in texts.items():
        if name == CARD and is_foreign(bundle / name):
            continue
        _write_whole(bundle / name, text)
        written.append(bundle / name)
    return tuple(written)


def page(report: Report) -> str:
    """Raises MissingEngineError."""
    template = environment(TEMPLATES, FILTERS, autoescape=True).get_template(f"report_{report.task.name}.html.jinja")
    return template.render(content(report) | drawings(report))


def _write_whole(file: Path, text: str) -> None:
    try:
        write_text(file, text)
    except OSError as error:
        raise OutputError(f"{file} cannot be written ({error.strerror}); it is as it was before.") from None
