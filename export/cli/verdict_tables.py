"""The tables of parity and of what quantisation cost."""

from __future__ import annotations

from collections.abc import Iterable

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.bundle.measurements import Accuracy, MaskAccuracy, Quantisation
from mvit2.difference import MEASURES, Difference, Measure
from mvit2.metrics.fidelity import confidence_interval
from mvit2.tasks import CLASSIFY, SEGMENT, task_named

__all__ = ["difference_tables", "fidelity_table"]

Rows = list[tuple[str, ...]]
_ACCURACY_COLUMNS = {
    CLASSIFY.manifest: ("top-1 / float32 (95 %)", "top-5 / float32"),
    SEGMENT.manifest: ("mIoU / float32", "pixel accuracy / float32"),
}


def difference_tables(differences: Iterable[Difference]) -> list[tuple[tuple[str, ...], Rows]]:
    """Columns and rows, a table for each kind of measure."""
    by_measure: dict[Measure, list[Difference]] = {}
    for difference in differences:
        by_measure.setdefault(difference.measure, []).append(difference)
    tables: list[tuple[tuple[str, ...], Rows]] = []
    for measure, some in by_measure.items():
        absolute, relative, agreement = MEASURES[measure]
        columns = ("stage", absolute, relative, "accepted", agreement, "")
        tables.append((columns, [_difference_row(one) for one in some]))
    return tables


def fidelity_table(manifest: Manifest) -> tuple[str, tuple[str, ...], Rows] | None:
    """Title, columns and rows; None where nothing is quantised."""
    quantised = [(a, a.quantisation) for a in manifest.artifacts if a.quantisation is not None]
    if not quantised:
        return None
    fidelity = quantised[0][1].fidelity
    task = task_named(manifest.task)
    columns = ("artifact", task.same, "SNR", "max |Δ p|", *_ACCURACY_COLUMNS[task.manifest], "XNNPACK")
    rows = [_fidelity_row(artifact, quantisation) for artifact, quantisation in quantised]
    return f"compared with float32 on {fidelity.on}", columns, rows


def _difference_row(d: Difference) -> tuple[str, ...]:
    if not d.finite:
        return d.stage, "-", "NaN or Inf", f"{d.tolerance:.0e}", "-", "FAILED"
    verdict = "ok" if d.passed else "FAILED"
    return (
        d.stage,
        f"{d.max_absolute:.1e}",
        f"{d.max_relative:.1e}",
        f"{d.tolerance:.0e}",
        f"{d.top1_agreement:.0%}",
        verdict,
    )


def _fidelity_row(artifact: Artifact, quantisation: Quantisation) -> tuple[str, ...]:
    f = quantisation.fidelity
    first = second = "-"
    if isinstance(f.accuracy, Accuracy) and isinstance(f.float_accuracy, Accuracy):
        low, high = confidence_interval(f.accuracy.top1, f.images)
        first = f"{f.accuracy.share:.1%} / {f.float_accuracy.share:.1%} ({low:.1%} to {high:.1%})"
        second = f"{f.accuracy.top5 / f.images:.1%} / {f.float_accuracy.top5 / f.images:.1%}"
    elif isinstance(f.accuracy, MaskAccuracy) and isinstance(f.float_accuracy, MaskAccuracy):
        first = f"{f.accuracy.share:.1%} / {f.float_accuracy.share:.1%}"
        second = f"{f.accuracy.pixel_accuracy:.1%} / {f.float_accuracy.pixel_accuracy:.1%}"
    figures = f"{f.agreement:.1%}", f"{f.snr_db:.1f} dB", f"{f.max_error:.2f}"
    return artifact.file.path, *figures, first, second, artifact.graph.in_xnnpack
