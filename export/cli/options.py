"""The options and arguments that commands of ours take, each in one place: what several share, and what is long."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import mvit2
from mvit2.errors import UsageError
from mvit2.image.dataset import Reading

__all__ = [
    "ArtifactFile",
    "Artifacts",
    "Bundle",
    "BundleIfAny",
    "Calibration",
    "DynamicBatch",
    "Evaluation",
    "Force",
    "Formats",
    "Ignore",
    "ImageSize",
    "Images",
    "Io",
    "Json",
    "Labelled",
    "Labels",
    "Learning",
    "MaxDrop",
    "MinAgreement",
    "NoReport",
    "Number",
    "Opset",
    "Opt",
    "Output",
    "OutputKind",
    "Overwrite",
    "Processes",
    "Quantize",
    "Quiet",
    "Runs",
    "Samples",
    "Seed",
    "Split",
    "Synsets",
    "Task",
    "ThreadList",
    "Threads",
    "Variant",
    "Version",
    "Weights",
    "parse_threads",
    "reading_of",
]


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
_FORMATS = "onnx, tflite, ort (ONNX Runtime Mobile) or all, which is onnx and tflite; repeatable."
Formats = Annotated[list[str] | None, Opt("--format", "-f", metavar="FORMAT", help=_FORMATS)]
Output = Annotated[Path, Opt("--output", "-o", metavar="FOLDER", help="Where the bundle's folder is made.")]
Overwrite = Annotated[bool, Opt("--overwrite", help="Replace the bundle that is there.")]
ImageSize = Annotated[str | None, Opt(metavar="N|HxW", help="Pixels, multiples of 32; default: the checkpoint's.")]
Task = Annotated[str | None, Opt(metavar="TASK", help="classify or segment; default: what the checkpoint is for.")]
_KINDS = "Of segmentation: scores, logits at the network's resolution; or mask, each pixel's class."
OutputKind = Annotated[str, Opt("--output-kind", metavar="KIND", help=_KINDS)]
Io = Annotated[str, Opt(metavar="IO", help="image: uint8 RGB in, probabilities out; tensor: the bare network.")]
Opset = Annotated[int, Number(metavar="N", help="ONNX opset, 13 to 20.")]
DynamicBatch = Annotated[bool, Opt("--dynamic-batch", help="Leave the batch open (ONNX only).")]
_QUANTIZE = "none, float16, dynamic, int8, full-int8; repeatable. Default: int8 for TFLite."
Quantize = Annotated[list[str] | None, Opt("--quantize", metavar="SCHEME", help=_QUANTIZE)]
Calibration = Annotated[Path | None, Opt(metavar="FOLDER", help="Pictures like those the app will see, 200 or more.")]
Samples = Annotated[int, Number("--calibration-samples", metavar="N", help="How many of them are used.")]
Seed = Annotated[int, Number(metavar="N", help="Which of them.")]
Learning = Annotated[
    int | None, Number("--learning-steps", metavar="N", help="Gradient steps on int8 ranges; default: by the size.")
]
_EVAL = "Labelled pictures, or pictures with masks, to measure accuracy."
Evaluation = Annotated[Path | None, Opt("--eval", metavar="FOLDER|CSV", help=_EVAL)]
_SHARE = "Keep blocks float until int8 has this share of float's answers (top-1, or pixels), such as 0.99."
MinAgreement = Annotated[float | None, Opt("--min-agreement", metavar="SHARE", help=_SHARE)]
MaxDrop = Annotated[
    float | None, Opt("--max-drop", metavar="POINTS", help="The same for points of top-1 or mIoU on --eval.")
]
Force = Annotated[bool, Opt("--force", help="Calibrate on few pictures; write a model that collapsed.")]
Labels = Annotated[Path | None, Opt(metavar="FILE", help="Text file with one class name a line.")]
NoReport = Annotated[bool, Opt("--no-report", help="Leave out report.html and the model card.")]

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
BundleIfAny = Annotated[Path | None, typer.Argument(metavar="BUNDLE", help="Folder made by mvit2-export.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="JPEG, PNG, WebP or BMP.")]
ArtifactFile = Annotated[str | None, Opt("--artifact", metavar="FILE", help="One model file: model_float16.tflite")]

Artifacts = Annotated[list[str] | None, Opt("--artifact", metavar="FILE", help="Only this model file; repeatable.")]
ThreadList = Annotated[str, Opt("--threads", metavar="N,N...", help="Threads of one inference; a run for each.")]
Runs = Annotated[int, Number(metavar="N", help="How often every model has its turn.")]
_LABELLED = "Folder for each class (label, index, synset id), or CSV path,label; of masks: VOC, NAME.png, path,mask."
Labelled = Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help=_LABELLED)]
_SPLIT = "Of a PASCAL VOC folder: the pictures in ImageSets/Segmentation/NAME.txt, such as val; default: all masks."
Split = Annotated[str | None, Opt("--split", metavar="NAME", help=_SPLIT)]
_IGNORE = "Indices of masks whose pixels do not count, beside 255; repeatable."
Ignore = Annotated[list[str] | None, Opt("--ignore", metavar="N,N", help=_IGNORE)]
Synsets = Annotated[Path | None, Opt(metavar="FILE", help="What ids mean: lines like 'n01440764 tench, Tinca tinca'.")]


def reading_of(synsets: Path | None = None, split: str | None = None, ignore: list[str] | None = None) -> Reading:
    """What these options say of labels. Raises UsageError."""
    words = [word.strip() for text in ignore or () for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise UsageError(f"--ignore is {','.join(ignore or ())!r}, accepted: indices such as 11 or 0,11.")
    return Reading(synsets, split, tuple(int(word[:9]) for word in words))


def parse_threads(text: str) -> tuple[int, ...]:
    """``"1,2,4"`` -> (1, 2, 4). Raises UsageError: no numbers, outside 1..128, one twice."""
    words = [word.strip() for word in text.split(",")]
    counts = tuple(int(word) for word in words if word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= 128)
    if len(counts) != len(words) or len(set(counts)) != len(counts):
        raise UsageError(f"--threads is {text[:80]!r}, accepted: different numbers of 1 to 128 such as 1,2,4.")
    return counts


_PROCESSES = "Processes side by side, each with all models; default: one for each core (CPU of the cluster)."
Processes = Annotated[int | None, Number(metavar="N", help=_PROCESSES)]
