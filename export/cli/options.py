"""The options and arguments that commands of ours take, each in one place: what several share, and what is long."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mvit2.errors import UsageError
from mvit2.export.request import PLACES, ExportRequest, parse_ignore
from mvit2.image.dataset import Reading
from mvit2.versions import VERSION

from .from_fields import typer_option, whole_number

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
    "Variant",
    "Version",
    "parse_threads",
    "reading_of",
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mvit2 {VERSION}")
        raise typer.Exit()


Opt = typer.Option
Number = partial(Opt, parser=whole_number)
Quiet = Annotated[bool, Opt("--quiet", "-q", help="Print warnings and errors only.")]
Json = Annotated[bool, Opt("--json", help="Print one JSON object on stdout, for machines.")]
Version = Annotated[bool, Opt("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")]
Threads = Annotated[int | None, Number(metavar="N", help="Threads of one inference; default: the engine's choice.")]

Variant = Annotated[str | None, typer_option(ExportRequest, "variant")]
Labels = Annotated[Path | None, typer_option(ExportRequest, "labels")]
Overwrite = Annotated[bool, Opt("--overwrite", help="Replace the bundle that is there.")]

Strict = Annotated[bool, Opt("--strict", help="Fail where a file was never compared with torch.")]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
BundleIfAny = Annotated[Path | None, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG, PNG, WebP or BMP.")]
ArtifactFile = Annotated[str | None, Opt("--artifact", metavar="FILE", help="One model file: model_float16.tflite")]

Artifacts = Annotated[list[str] | None, Opt("--artifact", metavar="FILE", help="Only this model file; repeatable.")]
On = Annotated[list[str] | None, Opt("--on", metavar="PLACE", help=f"Also run it there: {PLACES}")]
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
