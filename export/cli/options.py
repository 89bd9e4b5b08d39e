"""The options and arguments of the commands: made from a request's fields, and those that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mvit2.errors import UsageError
from mvit2.export.export_options import PLACES_HELP
from mvit2.export.option import Option, Request, options_of
from mvit2.export.parsers import parse_ignore
from mvit2.export.request import ExportRequest
from mvit2.image.dataset import Reading

from .help_text import GENERAL

__all__ = [
    "ArtifactFile",
    "Artifacts",
    "Bundle",
    "BundleIfAny",
    "Compiled",
    "Ignore",
    "Images",
    "Json",
    "Labelled",
    "Labels",
    "Number",
    "On",
    "Opt",
    "Overwrite",
    "Processes",
    "Quiet",
    "Record",
    "ReduceLabels",
    "Runs",
    "Split",
    "Strict",
    "Synsets",
    "ThreadList",
    "Threads",
    "Typed",
    "Variant",
    "parse_threads",
    "reading_of",
    "typer_option",
    "whole_number",
    "with_options",
]


# ---- options made from the fields of a dataclass, where each is declared once (export/option.py) ----

Typed = Mapping[str, object]
"""What was typed, by the field's name; None, or no word, where nothing was (export.option.request_of)."""

Command = Callable[..., None]


def with_options(request: type[Request], only: Collection[str] = ()) -> Callable[[Command], Command]:
    """Replace a command's first parameter, a ``Typed``, by the options of ``request``: ``only`` those, or all."""
    options = {name: each for name, each in options_of(request).items() if not only or name in only}

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        @wraps(command)
        def run(**values: Any) -> None:
            typed = {name: values.pop(name) for name in options}
            command(typed, **values)

        parameters = [*(_parameter(name, each) for name, each in options.items()), *own]
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def typer_option(request: type[Request], name: str) -> Any:
    """The typer.Option of a field, for another command that takes the same option."""
    return _typer_option(options_of(request)[name])


def _typer_option(option: Option) -> Any:
    parser = whole_number if option.kind is int else None
    return typer.Option(
        *option.flags, metavar=option.metavar, help=option.help, parser=parser, rich_help_panel=option.panel
    )


def _parameter(name: str, option: Option) -> inspect.Parameter:
    kind: Any = list[str] if option.kind is list else option.kind
    if option.default is None:
        kind = kind | None
    annotation: Any = Annotated[kind, _typer_option(option)]
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=option.default, annotation=annotation
    )


def whole_number(text: str) -> int:
    """Raises typer.BadParameter."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number.") from None


# ---- those of several commands ----


Opt = typer.Option
Number = partial(Opt, parser=whole_number)
Quiet = Annotated[bool, Opt("--quiet", "-q", help="Print warnings and errors only.", rich_help_panel=GENERAL)]
_JSON = "Print one JSON object on stdout, for machines."
Json = Annotated[bool, Opt("--json", help=_JSON, rich_help_panel=GENERAL)]
Threads = Annotated[int, Number(metavar="N", help="Threads of one inference.")]

Variant = Annotated[str | None, typer_option(ExportRequest, "variant")]
Labels = Annotated[Path | None, typer_option(ExportRequest, "labels")]
Overwrite = Annotated[bool, Opt("--overwrite", help="Replace the folder that is there.")]

Strict = Annotated[bool, Opt("--strict", help="Fail where a file was never compared with torch.")]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
BundleIfAny = Annotated[Path | None, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
_IMAGES = "JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF files, folders of them, or videos (with OpenCV)."
Images = Annotated[list[str] | None, typer.Argument(metavar="IMAGE...", help=_IMAGES)]
_ARTIFACT = "Only this model file, by its name or precision: model_int8.tflite or int8"
ArtifactFile = Annotated[str | None, Opt("--artifact", metavar="FILE", help=f"{_ARTIFACT}; default: all.")]
Artifacts = Annotated[list[str] | None, Opt("--artifact", metavar="FILE", help=f"{_ARTIFACT}; repeatable.")]
On = Annotated[list[str] | None, Opt("--on", metavar="PLACE", help=f"Also run it there: {PLACES_HELP}")]
Record = Annotated[bool, Opt("--record", help="Write what --on found into the bundle's manifest.")]
_COMPILED = "Where --on qnn-htp and ethos-u write what they compile for their chips."
Compiled = Annotated[Path | None, Opt("--compiled", metavar="FOLDER", help=_COMPILED)]
ThreadList = Annotated[str, Opt("--threads", metavar="N,N...", help="Threads of one inference; a run for each.")]
Runs = Annotated[int, Number(metavar="N", help="How often every model has its turn.")]
_LABELLED = "Folder for each class (label, index, synset id), or CSV path,label; of masks: VOC, NAME.png, path,mask."
Labelled = Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help=_LABELLED)]
Split = Annotated[str | None, typer_option(ExportRequest, "split")]
Ignore = Annotated[list[str] | None, typer_option(ExportRequest, "ignore")]
ReduceLabels = Annotated[bool, typer_option(ExportRequest, "reduce_labels")]
Synsets = Annotated[Path | None, Opt(metavar="FILE", help="What ids mean: lines like 'n01440764 tench, Tinca tinca'.")]


def reading_of(
    synsets: Path | None = None,
    split: str | None = None,
    ignore: list[str] | None = None,
    reduce_labels: bool = False,
) -> Reading:
    """What these options say of labels. Raises UsageError."""
    return Reading(synsets, split, parse_ignore(ignore or ()), reduce_labels)


def parse_threads(text: str) -> tuple[int, ...]:
    """``"1,2,4"`` -> (1, 2, 4). Raises UsageError: no numbers, outside 1..128, one twice."""
    words = [word.strip() for word in text.split(",")]
    counts = tuple(int(word) for word in words if word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= 128)
    if len(counts) != len(words) or len(set(counts)) != len(counts):
        raise UsageError(f"--threads is {text[:80]!r}, accepted: different numbers of 1 to 128 such as 1,2,4.")
    return counts


_PROCESSES = "Processes side by side, each with all models; default: one for each core (CPU of the cluster)."
Processes = Annotated[int | None, Number(metavar="N", help=_PROCESSES)]
