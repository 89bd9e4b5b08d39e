"""``mvit2 predict``: the command; what it shows and writes depends on what the bundle's network does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvit2.errors import ImageError, MissingEngineError, Mvit2Error, UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import ArtifactFile, Bundle, Images, Json, Number, Opt, Quiet, Threads
from mvit2.export.cli.prediction_views import VIEWS, Shown, shown_as
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName, task_named

if TYPE_CHECKING:
    from mvit2.bundle.manifest import Manifest
    from mvit2.export.cli.image_sources import Source
    from mvit2.runtime import Classifier, Segmenter

__all__ = ["predict"]

_TOP_K = 5
_CAMERA_FRAMES = 10
_MASK, _OVERLAY = ".mask.png", ".overlay.png"
_VIDEO = "Videos and camera"
TopK = Annotated[int | None, Number(metavar="K", help=f"Classifiers: how many classes to show; default: {_TOP_K}.")]
_OUTPUT = "Segmentation: where NAME.mask.png and NAME.overlay.png go; default: the current folder."
Output = Annotated[Path | None, Opt("--output", "-o", metavar="FOLDER", help=_OUTPUT)]
Replace = Annotated[bool, Opt("--overwrite", help="Replace masks and overlays that are there.")]
Format = Annotated[str, Opt(metavar="FORMAT", help=f"{', '.join(VIEWS)}; json is the same as --json.")]
Camera = Annotated[
    int | None, Number(metavar="N", help="Also read camera N, 0 is the first; needs OpenCV.", rich_help_panel=_VIDEO)
]
_EVERY = "Seconds between two frames that are read; 0 reads every frame."
Every = Annotated[float, Opt(metavar="SECONDS", help=_EVERY, rich_help_panel=_VIDEO)]
_MOST = f"Frames of each video or of the camera at most; default: all, {_CAMERA_FRAMES} of a camera."
Most = Annotated[int | None, Number("--frames", metavar="N", help=_MOST, rich_help_panel=_VIDEO)]


def predict(
    bundle: Bundle,
    images: Images = None,
    artifact: ArtifactFile = None,
    top_k: TopK = None,
    output: Output = None,
    overwrite: Replace = False,
    format: Format = "table",
    threads: Threads = 1,
    camera: Camera = None,
    every: Every = 1.0,
    frames: Most = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    view = shown_as("json" if json else format)
    screen.configure(quiet or view.mutes, view.as_json)
    if top_k is not None and top_k < 1:
        raise UsageError(f"--top-k is {top_k}, accepted: 1 or more.")
    from mvit2.bundle.manifest import read_manifest
    from mvit2.export.cli.image_sources import Frames, images_of

    which = Frames(every, frames)
    of_camera = Frames(every, frames or _CAMERA_FRAMES)
    manifest = read_manifest(bundle)
    asked = {"--top-k": top_k is not None, "--output": output is not None, "--overwrite": overwrite}
    _refuse_options_of_others(bundle, manifest, asked)
    names = [manifest.artifact(artifact).file.path] if artifact else [a.file.path for a in manifest.artifacts]
    job = _Job(bundle, images_of(images or (), which, camera, of_camera), names, threads)
    predict_as: Mapping[TaskName, Callable[[], Iterable[Shown]]] = {
        CLASSIFY.manifest: lambda: _classify(job, top_k or _TOP_K),
        SEGMENT.manifest: lambda: _segment(job, output or Path(), overwrite),
    }
    view.show(predict_as[manifest.task](), job.failed)
    if job.failed:
        raise typer.Exit(1)
    if manifest.task == SEGMENT.manifest:
        screen.result(f"next: mvit2 check {bundle}")


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
    """``names`` are those of the artifacts; ``failed`` fills with the images that cannot be read, and why."""

    bundle: Path
    images: Iterator[Source]
    names: Sequence[str]
    threads: int | None
    failed: dict[str, str] = field(default_factory=dict)

    def opened(self, kind: Any) -> dict[str, Any]:
        """Artifact -> itself opened as ``kind``, without those whose engine is missing.

        Raises MissingEngineError where that is the only one, Mvit2Error where it is all of them.
        """
        models: dict[str, Any] = {}
        for name in self.names:
            with _engine_may_be_missing(name, only=len(self.names) == 1):
                models[name] = kind.open(self.bundle, name, threads=self.threads)
        if not models:
            raise Mvit2Error(
                "no artifact could run here; install an engine: pip install 'mvit2[ort]' or 'mvit2[litert]'."
            )
        return models

    @contextmanager
    def may_be_unreadable(self, source: Source) -> Iterator[None]:
        """One bad image among many is named, and the others are answered."""
        try:
            yield
        except ImageError as error:
            self.failed[source.name] = str(error)


@contextmanager
def _engine_may_be_missing(artifact: str, only: bool) -> Iterator[None]:
    """Turn a missing engine into a warning, unless it was the only artifact asked for."""
    try:
        yield
    except MissingEngineError as error:
        if only:
            raise
        screen.warn(f"{artifact} was left out: {error}")


# ---- classifiers ----


def _classify(job: _Job, top_k: int) -> Iterator[Shown]:
    from mvit2.runtime import Classifier

    models: dict[str, Classifier] = job.opened(Classifier)
    for source in job.images:
        with job.may_be_unreadable(source):
            answers = {name: model.predict(source.image, top_k=top_k) for name, model in models.items()}
            rows = {name: [(p.index, p.label, p.score) for p in some] for name, some in answers.items()}
            yield Shown(source.name, rows, {n: [asdict(p) for p in some] for n, some in answers.items()}, "{:.4f}")


# ---- segmentation networks ----


def _segment(job: _Job, output: Path, overwrite: bool) -> Iterator[Shown]:
    from mvit2.export.atomic import check_files, files_under_construction
    from mvit2.runtime import Segmenter

    sources = list(job.images)
    stems = _stems(sources, job.names)
    check_files(output, (stem + end for stem in stems.values() for end in (_MASK, _OVERLAY)), overwrite)
    models: dict[str, Segmenter] = job.opened(Segmenter)
    found: list[Shown] = []
    with (
        files_under_construction(output) as building,
        screen.progress("segmenting", len(sources) * len(models)) as advance,
    ):
        for source in sources:
            with job.may_be_unreadable(source):
                answers = {}
                for name, model in models.items():
                    answers[name] = _written(model, source, building, output, stems[name, source.name])
                    advance(1)
                shares = {name: _shares(answer) for name, answer in answers.items()}
                files = [f"written: {answer['mask']}  {answer['overlay']}" for answer in answers.values()]
                found.append(Shown(source.name, shares, answers, "{:.1%}", files))
    yield from found


def _stems(sources: Sequence[Source], names: Sequence[str]) -> dict[tuple[str, str], str]:
    """(artifact, image) -> how its files begin; the artifact is part of it where several are asked for.

    Raises UsageError: two images of one name.
    """
    several = len(names) > 1
    known: dict[str, str] = {}
    for source in sources:
        if known.setdefault(source.stem, source.name) != source.name:
            raise UsageError(
                f"{known[source.stem]} and {source.name} would both become {source.stem}{_MASK}; accepted: images of "
                "different names; predict one after the other, each with an --output of its own."
            )
    return {(n, s.name): f"{s.stem}.{n}" if several else s.stem for n in names for s in sources}


def _written(model: Segmenter, source: Source, building: Path, output: Path, stem: str) -> dict[str, Any]:
    """Predict one image and write its files; returns what is to be said of it."""
    found = model.predict(source.image)
    found.color_mask().save(building / f"{stem}{_MASK}")
    found.overlay(source.image).save(building / f"{stem}{_OVERLAY}")
    areas = [asdict(area) for area in found.classes]
    files = {"mask": str(output / f"{stem}{_MASK}"), "overlay": str(output / f"{stem}{_OVERLAY}")}
    return {**files, "classes": areas, "seen": found.seen, "box": found.box}


def _shares(answer: Mapping[str, Any]) -> list[tuple[int, str, float]]:
    """Index, label and share of the image; what was not seen comes last, under an index that no class has."""
    shares = [(area["index"], area["label"], area["share"]) for area in answer["classes"]]
    return shares if answer["seen"] == 1 else [*shares, (-1, "(not seen)", 1 - answer["seen"])]
