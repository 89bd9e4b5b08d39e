"""The command line. Heavy libraries are imported by the command that needs them, after its arguments were read."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

import mvit2
from mvit2.errors import CheckFailed, MissingEngineError, Mvit2Error, UsageError
from mvit2.manifest import Difference

from .console import Screen, human_bytes

__all__ = ["main", "main_export"]

_HELP = "MobileViTV2 checkpoints to verified ONNX and TFLite bundles for Android and iOS."
app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False)
export_app = typer.Typer(add_completion=False)
_screen = Screen()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mvit2 {mvit2.__version__}")
        raise typer.Exit()


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number.") from None


Opt = typer.Option
Number = partial(Opt, parser=_whole_number)
Quiet = Annotated[bool, Opt("--quiet", "-q", help="Print warnings and errors only.")]
Json = Annotated[bool, Opt("--json", help="Print one JSON object on stdout, for machines.")]
Version = Annotated[bool, Opt("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")]
Threads = Annotated[int | None, Number(metavar="N", help="Threads of one inference; default: the engine's choice.")]

_WIDTHS = "0.5 0.75 1.0 1.25 1.5 1.75 2.0; default: the checkpoint's, or 1.0."
Variant = Annotated[str | None, Opt(metavar="WIDTH", help=_WIDTHS)]
Weights = Annotated[str, Opt(metavar="WEIGHTS", help="auto, demo, untrained, a hub id, a file or a folder.")]
Formats = Annotated[list[str] | None, Opt("--format", "-f", metavar="FORMAT", help="onnx, tflite or all; repeatable.")]
Output = Annotated[Path, Opt("--output", "-o", metavar="FOLDER", help="Where the bundle's folder is made.")]
Overwrite = Annotated[bool, Opt("--overwrite", help="Replace the bundle that is there.")]
ImageSize = Annotated[str | None, Opt(metavar="N|HxW", help="Pixels, multiples of 32; default: the checkpoint's.")]
Io = Annotated[str, Opt(metavar="IO", help="image: uint8 RGB in, probabilities out; tensor: the bare network.")]
Opset = Annotated[int, Number(metavar="N", help="ONNX opset, 13 to 20.")]
DynamicBatch = Annotated[bool, Opt("--dynamic-batch", help="Leave the batch open (ONNX only).")]
Labels = Annotated[Path | None, Opt(metavar="FILE", help="Text file with one class name a line.")]

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG, PNG, WebP or BMP.")]
TopK = Annotated[int, Number(metavar="K", help="How many classes to show.")]
ArtifactFile = Annotated[str | None, Opt("--artifact", metavar="FILE", help="One model file: model_float16.tflite")]


@app.callback()
def _root(version: Version = False) -> None:
    pass


@export_app.command(help="Export a checkpoint to a bundle: model files, labels, golden vectors, manifest.")
@app.command("export", help="Export a checkpoint to a bundle (the same as mvit2-export).")
def export(
    variant: Variant = None,
    weights: Weights = "auto",
    format: Formats = None,
    output: Output = Path(),
    overwrite: Overwrite = False,
    image_size: ImageSize = None,
    io: Io = "image",
    opset: Opset = 18,
    dynamic_batch: DynamicBatch = False,
    labels: Labels = None,
    quiet: Quiet = False,
    json: Json = False,
    version: Version = False,
) -> None:
    _configure(quiet, json)
    from .request import ExportRequest, parse_formats, parse_image_size, parse_io

    request = ExportRequest(
        weights=weights,
        variant=variant,
        formats=parse_formats(format or ["all"]),
        output=output,
        overwrite=overwrite,
        image_size=parse_image_size(image_size),
        opset=opset,
        io=parse_io(io),
        dynamic_batch=dynamic_batch,
        labels=labels,
    )
    from .pipeline import export as run_export

    result = run_export(request, _screen)
    bundle, manifest = _shown(result.bundle), result.manifest
    _screen.differences(manifest.parity)
    rows = [(f"{bundle}/{a.file.path}", human_bytes(a.file.bytes)) for a in manifest.artifacts]
    rows.append((f"{bundle}/ labels, golden vectors, manifest", human_bytes(sum(f.bytes for f in manifest.files))))
    _screen.table("written", ("file", "size"), rows)
    for warning in _screen.warnings[:]:
        _screen.result(f"remember: {warning}")
    _screen.result(f"next: mvit2 predict {bundle} PHOTO.jpg   or   mvit2 check {bundle}")
    _screen.json({"bundle": str(result.bundle), "warnings": _screen.warnings, "manifest": asdict(manifest)})


@app.command(help="Classify pictures with a bundle, on every artifact whose engine is installed.")
def predict(
    bundle: Bundle,
    images: Images,
    top_k: TopK = 5,
    artifact: ArtifactFile = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    _configure(quiet, json)
    if top_k < 1:
        raise UsageError(f"--top-k is {top_k}, accepted: 1 or more.")
    from mvit2.manifest import read_manifest
    from mvit2.runtime import open_bundle

    names = [artifact] if artifact else [a.file.path for a in read_manifest(bundle).artifacts]
    found: dict[str, Any] = {}
    for name in names:
        with _engine_may_be_missing(name, only=len(names) == 1):
            classifier = open_bundle(bundle, name, threads=threads)
            found[name] = classifier.predict(images, top_k=top_k)
    if not found:
        raise Mvit2Error("no artifact could run here; install an engine: pip install 'mvit2[ort]' or 'mvit2[litert]'.")
    for i, image in enumerate(images):
        scores = {name: {p.index: f"{p.score:.4f}" for p in results[i]} for name, results in found.items()}
        labels = {p.index: p.label for results in found.values() for p in results[i]}
        rows = [(label, *(column.get(index, "-") for column in scores.values())) for index, label in labels.items()]
        _screen.table(str(image), ("label", *scores), rows)
    _screen.json(
        {
            name: {str(image): [asdict(p) for p in result] for image, result in zip(images, results, strict=True)}
            for name, results in found.items()
        }
    )


@app.command(help="Check a bundle on this machine: hashes, and its models against the recorded answers of torch.")
def check(
    bundle: Bundle,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    _configure(quiet, json)
    from mvit2.runtime import check_bundle

    report = check_bundle(bundle, threads)
    for file, reason in report.skipped:
        _screen.warn(f"{file} was not checked: {reason}")
    if not report.differences:
        raise Mvit2Error("nothing was checked: no engine is installed: pip install 'mvit2[ort]' or 'mvit2[litert]'.")
    if not report.passed:
        raise CheckFailed(
            f"{bundle} differs from the torch model that it was made from; do not ship it. Export it again, "
            "or report this machine and its engine's version.",
            report.differences,
        )
    _screen.json({"passed": True, **asdict(report)})
    _screen.differences(report.differences)
    _screen.result(f"{bundle} is intact and computes what torch computed. next: mvit2 predict {bundle} PHOTO.jpg")


@app.command(help="Say what a bundle or a model file is.")
def info(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE|FILE", help="A bundle's folder, a .onnx or a .tflite file.")],
    json: Json = False,
) -> None:
    _configure(False, json)
    from .info import describe_bundle, describe_model

    tables, content = describe_model(path) if path.is_file() else describe_bundle(path)
    for title, columns, rows in tables:
        _screen.table(title, columns, rows)
    _screen.json(content)
    _screen.result(f"next: mvit2 check {path}" if path.is_dir() else "next: mvit2 info BUNDLE")


@contextmanager
def _engine_may_be_missing(artifact: str, only: bool) -> Iterator[None]:
    """Turn a missing engine into a warning, unless it was the only artifact asked for."""
    try:
        yield
    except MissingEngineError as error:
        if only:
            raise
        _screen.warn(f"{artifact} was left out: {error}")


def _shown(path: Path) -> Path:
    """Relative to the current folder where that is shorter."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _configure(quiet: bool, as_json: bool) -> None:
    global _screen
    _screen = Screen(quiet=quiet, as_json=as_json)


class _Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal: unwinds the stack, so that half-written folders and subprocesses vanish.

    No KeyboardInterrupt, because typer swallows that one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_INTERRUPTS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGHUP")]  # Windows has no SIGHUP


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not signal.SIG_IGN: of a signal that is on its way when that is set, Python prints a traceback."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _INTERRUPTS:
        signal.signal(each, _ignore)  # a second one would interrupt the clean-up
    raise _Interrupted(number)


def _run(application: typer.Typer, name: str) -> int:
    """Run the command; every foreseeable failure becomes one line on stderr and an exit code."""
    _configure(False, "--json" in sys.argv)  # for errors in the arguments themselves
    for each in _INTERRUPTS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup
            signal.signal(each, _interrupt)
    try:
        code = application(prog_name=name, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except CheckFailed as error:
        return _fail(str(error), error.exit_code, error.differences)
    except Mvit2Error as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _refuse(error.format_message())
    except _Interrupted as error:
        return _fail(
            f"interrupted by {signal.Signals(error.number).name}; no unfinished files are left.", 128 + error.number
        )
    except OSError as error:
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 1)
    except MemoryError:
        return _fail("out of memory; close other programs, or choose a smaller --variant or --image-size.", 1)


def _refuse(message: str) -> int:
    """Wrong usage; without a message the command was given nothing at all and has printed its help."""
    stop = "" if message.endswith((".", "?")) else "."
    return _fail(f"{message}{stop} See --help.", 2) if message else 2


def _fail(message: str, code: int, differences: tuple[Difference, ...] = ()) -> int:
    if differences:
        _screen.differences(differences, failed=True)
    _screen.error(" ".join(message.split()), differences)
    return code


def _exit(code: int) -> None:
    try:
        print(end="", flush=True)
    except OSError:  # the reader, such as head, has seen enough; or the disk is full
        sys.stdout = None
        code = code or 1
    raise SystemExit(code)


def main() -> None:
    """``mvit2``"""
    _exit(_run(app, "mvit2"))


def main_export() -> None:
    """``mvit2-export``, which is ``mvit2 export``"""
    _exit(_run(export_app, "mvit2-export"))
