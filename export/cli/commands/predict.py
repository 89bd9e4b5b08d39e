"""``mvit2 predict``: the command; what it shows and writes depends on what the bundle's network does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mvit2.errors import MissingEngineError, Mvit2Error, UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import ArtifactFile, Bundle, Images, Json, Number, Opt, Quiet, Threads
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName, task_named

if TYPE_CHECKING:
    from mvit2.bundle.manifest import Manifest
    from mvit2.runtime import Segmenter

__all__ = ["predict"]

_TOP_K = 5
_MASK, _OVERLAY = ".mask.png", ".overlay.png"
TopK = Annotated[int | None, Number(metavar="K", help=f"Classifiers: how many classes to show; default: {_TOP_K}.")]
_OUTPUT = "Segmentation: where NAME.mask.png and NAME.overlay.png go; default: the current folder."
Output = Annotated[Path | None, Opt("--output", "-o", metavar="FOLDER", help=_OUTPUT)]
Replace = Annotated[bool, Opt("--overwrite", help="Replace masks and overlays that are there.")]


def predict(
    bundle: Bundle,
    images: Images,
    top_k: TopK = None,
    output: Output = None,
    overwrite: Replace = False,
    artifact: ArtifactFile = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    if top_k is not None and top_k < 1:
        raise UsageError(f"--top-k is {top_k}, accepted: 1 or more.")
    from mvit2.bundle.manifest import read_manifest

    manifest = read_manifest(bundle)
    asked = {"--top-k": top_k is not None, "--output": output is not None, "--overwrite": overwrite}
    _refuse_options_of_others(bundle, manifest, asked)
    names = [artifact] if artifact else [a.file.path for a in manifest.artifacts]
    job = _Job(bundle, images, names, threads)
    predict_as: Mapping[TaskName, Callable[[], None]] = {
        CLASSIFY.manifest: lambda: _classify(job, top_k or _TOP_K),
        SEGMENT.manifest: lambda: _segment(job, output or Path(), overwrite),
    }
    predict_as[manifest.task]()


_OPTIONS: Mapping[TaskName, tuple[str, ...]] = {
    CLASSIFY.manifest: ("--top-k",),
    SEGMENT.manifest: ("--output", "--overwrite"),
}


def _refuse_options_of_others(bundle: Path, manifest: Manifest, asked: Mapping[str, bool]) -> None:
    for option, given in asked.items():
        if given and option not in _OPTIONS[manifest.task]:
            network = task_named(manifest.task).network
            own = " and ".join(_OPTIONS[manifest.task])
            raise UsageError(f"{option} is of no use for {bundle}, {network}; accepted: {own}; leave {option} out.")


@dataclass(frozen=True)
class _Job:
    bundle: Path
    images: Sequence[Path]
    names: Sequence[str]  # of the artifacts
    threads: int | None

    def opened(self, kind: Any) -> Iterator[tuple[str, Any]]:
        """(name, artifact opened as ``kind``), without those whose engine is missing.

        Raises MissingEngineError where that is the only one, Mvit2Error where it is all of them.
        """
        none = True
        for name in self.names:
            with _engine_may_be_missing(name, only=len(self.names) == 1):
                model = kind.open(self.bundle, name, threads=self.threads)
                none = False
                yield name, model
        if none:
            raise Mvit2Error(
                "no artifact could run here; install an engine: pip install 'mvit2[ort]' or 'mvit2[litert]'."
            )


@contextmanager
def _engine_may_be_missing(artifact: str, only: bool) -> Iterator[None]:
    """Turn a missing engine into a warning, unless it was the only artifact asked for."""
    try:
        yield
    except MissingEngineError as error:
        if only:
            raise
        screen.warn(f"{artifact} was left out: {error}")


def _side_by_side(image: Path, found: Mapping[str, Mapping[int, tuple[str, str]]]) -> None:
    """A table of classes, one column for each artifact. ``found``: artifact -> index -> label, figure."""
    labels = {index: label for answer in found.values() for index, (label, _) in answer.items()}
    rows = [(label, *(answer.get(i, ("", "-"))[1] for answer in found.values())) for i, label in labels.items()]
    screen.table(str(image), ("label", *found), rows)


# ---- classifiers ----


def _classify(job: _Job, top_k: int) -> None:
    from mvit2.runtime import Classifier

    found = {name: classifier.predict(job.images, top_k=top_k) for name, classifier in job.opened(Classifier)}
    for i, image in enumerate(job.images):
        scores = {name: {p.index: (p.label, f"{p.score:.4f}") for p in results[i]} for name, results in found.items()}
        _side_by_side(image, scores)
    screen.json(
        {
            name: {str(image): [asdict(p) for p in result] for image, result in zip(job.images, results, strict=True)}
            for name, results in found.items()
        }
    )


# ---- segmentation networks ----


def _segment(job: _Job, output: Path, overwrite: bool) -> None:
    from mvit2.export.atomic import check_files, files_under_construction
    from mvit2.runtime import Segmenter

    stems = _stems(job)
    check_files(output, (stem + end for stem in stems.values() for end in (_MASK, _OVERLAY)), overwrite)
    found: dict[str, dict[Path, dict[str, Any]]] = {}
    total = len(job.images) * len(job.names)
    with files_under_construction(output) as building, screen.progress("segmenting", total) as advance:
        for name, segmenter in job.opened(Segmenter):
            for image in job.images:
                stem = stems[name, image]
                found.setdefault(name, {})[image] = {
                    "mask": str(output / (stem + _MASK)),
                    "overlay": str(output / (stem + _OVERLAY)),
                    **_written(segmenter, image, building / stem),
                }
                advance(1)
    for image in job.images:
        _side_by_side(image, {name: _shares(answers[image]) for name, answers in found.items()})
    for answer in (answers[image] for image in job.images for answers in found.values()):
        screen.result(f"written: {answer['mask']}  {answer['overlay']}")
    screen.result(f"next: mvit2 check {job.bundle}")
    screen.json({name: {str(image): answer for image, answer in answers.items()} for name, answers in found.items()})


def _stems(job: _Job) -> dict[tuple[str, Path], str]:
    """(artifact, picture) -> how its files begin; the artifact is part of it where several are asked for.

    Raises UsageError: two pictures of one name.
    """
    several = len(job.names) > 1
    known: dict[str, Path] = {}
    for image in job.images:
        if known.setdefault(image.stem, image) != image:
            raise UsageError(
                f"{known[image.stem]} and {image} would both become {image.stem}{_MASK}; accepted: pictures of "
                "different names; predict one after the other, each with an --output of its own."
            )
    return {(n, image): f"{image.stem}.{n}" if several else image.stem for n in job.names for image in job.images}


def _written(segmenter: Segmenter, image: Path, path: Path) -> dict[str, Any]:
    """Predict one picture and write its files; returns what is to be said of it."""
    found = segmenter.predict(image)
    found.color_mask().save(f"{path}{_MASK}")
    found.overlay(image).save(f"{path}{_OVERLAY}")
    return {"classes": [asdict(area) for area in found.classes], "seen": found.seen, "box": found.box}


def _shares(answer: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """index -> label and share of the picture; what was not seen comes last, under an index that no class has."""
    shares = {area["index"]: (area["label"], f"{area['share']:.1%}") for area in answer["classes"]}
    return shares if answer["seen"] == 1 else {**shares, -1: ("(not seen)", f"{1 - answer['seen']:.1%}")}
