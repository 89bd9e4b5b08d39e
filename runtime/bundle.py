"""A bundle as Python code holds it: what the commands check, bench and evaluate do, with dataclasses as results.

>>> bundle = Bundle.open("build/mobilevitv2-1.0-imagenet1k-256")
>>> assert bundle.check().passed
>>> bundle.load().predict("coffee.jpg")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mvit2.bundle.manifest import Manifest, read_manifest
from mvit2.errors import UsageError
from mvit2.image.dataset import Reading
from mvit2.runtime.verify.check import BundleReport, check_bundle

from .open import open_bundle
from .timing import Bounds

if TYPE_CHECKING:
    from mvit2.runtime.bench.run import Trial
    from mvit2.runtime.tasks.classify.classifier import Classifier
    from mvit2.runtime.tasks.classify.metrics import Evaluation
    from mvit2.runtime.tasks.segment.metrics import MaskEvaluation
    from mvit2.runtime.tasks.segment.segmenter import Segmenter

__all__ = ["Bundle"]

_MOST_THREADS = 128


@dataclass(frozen=True)
class Bundle:
    """A folder with model files, labels, golden vectors and a manifest.

    Attributes:
        path: the folder.
        manifest: what it says of itself.
        warnings: what the export warned of, in the order in which it did; empty for a bundle that was opened.
    """

    path: Path
    manifest: Manifest
    warnings: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Raises BundleError: no bundle, damaged, or of a newer schema."""
        return cls(Path(path), read_manifest(Path(path)))

    def load(self, artifact: str | None = None, *, threads: int | None = None) -> Classifier | Segmenter:
        """As ``mvit2.load``: one model file, ready to predict."""
        return open_bundle(self.path, artifact, threads=threads)

    def check(self, threads: int | None = None) -> BundleReport:
        """As ``mvit2 check``; whether it ``passed`` is in the report. Raises BundleError for a damaged bundle."""
        return check_bundle(self.path, threads)

    def bench(
        self,
        artifacts: Sequence[str] = (),
        *,
        threads: int = 1,
        runs: int = 50,
        warmup: int = 5,
        duration: float | None = None,
    ) -> Trial:
        """As ``mvit2 bench``: the model files side by side, those whose engine is not installed left out.

        Args:
            artifacts: file names; none stands for all.
            threads: of one inference, 1..128.
            runs, warmup: turns that count, and turns before them that do not.
            duration: seconds, instead of ``runs``.

        Raises:
            BundleError: damaged, or without such an artifact. MissingEngineError: none of them can run here.
            UsageError: a number that is impossible.
        """
        from mvit2.runtime.bench.models import find_subjects, usable
        from mvit2.runtime.bench.run import bench

        if not 1 <= threads <= _MOST_THREADS:
            raise UsageError(f"threads is {threads}, accepted: 1 to {_MOST_THREADS}.")
        bounds = Bounds(runs, warmup, duration)
        subjects, _, _ = usable(find_subjects([self.path], artifacts=artifacts))
        return bench(subjects, threads, bounds)

    def evaluate(
        self,
        source: str | Path,
        artifacts: Sequence[str] = (),
        *,
        synsets: str | Path | None = None,
        split: str | None = None,
        ignore: Sequence[int] = (),
        reduce_labels: bool = False,
        processes: int | None = None,
        worst: int = 20,
    ) -> Evaluation | MaskEvaluation:
        """As ``mvit2 evaluate`` on this machine: accuracy or mIoU, agreement, the worst cases.

        It starts processes of its own: in a script call it below ``if __name__ == "__main__":``.

        Args:
            source: a folder for each class, or a CSV file; for segmentation a folder of images with masks.
            artifacts: file names; none stands for all whose engine is installed.
            synsets, split, ignore, reduce_labels: how labels are to be read, as mvit2.image.dataset.Reading says.
            processes: how many, each with all models; None is one for each core.
            worst: how many disagreements are kept.

        Raises:
            UsageError, ImageError: labels or images that cannot be used. BundleError: damaged, or without such an
            artifact. MissingEngineError, CheckFailed (NaN or Inf), Mvit2Error: as mvit2.runtime.evaluate.run.evaluate.
        """
        from mvit2.runtime.evaluate.plan import plan
        from mvit2.runtime.evaluate.results_file import open_progress
        from mvit2.runtime.evaluate.run import evaluate

        reading = Reading(None if synsets is None else Path(synsets), split, tuple(ignore), reduce_labels)
        planned = plan(self.path, Path(source), artifacts, reading)
        with open_progress(None, planned.header, planned.metric.answer) as progress:
            return evaluate(planned, progress, processes, worst)
