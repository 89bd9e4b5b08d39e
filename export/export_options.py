"""The options of mvit2-export: each is a field, and written here and nowhere else (no heavy import here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mvit2.bundle.manifest import DEFAULT_SAMPLES, DEFAULT_SEED, IO, OutputKind, Precision
from mvit2.bundle.proofs import PLACES
from mvit2.image.preprocess_choice import parse_channel_order, parse_crop, parse_resample, parse_resize
from mvit2.network.architectures import ARCHITECTURES, DEFAULT_VARIANT
from mvit2.tasks import TASKS

from .formats import FORMATS, IN_ALL, FormatName
from .option import option
from .parsers import (
    QUANTIZE,
    parse_arithmetic,
    parse_formats,
    parse_ignore,
    parse_image_size,
    parse_io,
    parse_output_kind,
    parse_quantize,
    parse_words,
    show_formats,
    show_size,
)

if TYPE_CHECKING:
    from torch import nn

    from mvit2.image.preprocess_spec import ChannelOrder, PreprocessSpec, Resample

__all__ = ["DEFAULT_OPSET", "PLACES_HELP", "ExportOptions"]

DEFAULT_OPSET = 18
_INPUT, _PREPROCESSING, _OUTPUT = "Input", "Preprocessing", "Output"  # headings of --help
_QUANTISATION, _EVALUATION = "Quantisation", "Evaluation and proofs"
_NAMED = ", ".join(f"{row.name} ({row.hint})" if row.hint else row.name for row in FORMATS.values())
_FORMATS_HELP = f"{_NAMED} or all, which is {' and '.join(IN_ALL)}; repeatable."
_USUAL = ", ".join(f"{precision} for {row.title}" for row in FORMATS.values() for precision in row.usual)
_QUANTIZE_HELP = f"none, {', '.join(QUANTIZE)}; repeatable. Default: {_USUAL}."
_VARIANTS = ", ".join(f"{' '.join(row.variants)} ({row.title})" for row in ARCHITECTURES.values())
PLACES_HELP = f"{', '.join(f'{name}[:CHIP]' if chips else name for name, chips in PLACES.items())} or all; repeatable."


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What can be asked of an export, as it is given; ExportRequest refuses what is impossible.

    ``name`` and ``preprocess`` are for Python, where ``weights`` may be a torch module in memory: what the bundle calls
    it, and how an image becomes its pixels (a PreprocessSpec, or the content of a preprocessor_config.json).
    """

    weights: str | Path | nn.Module = field(
        default="auto",
        kw_only=False,
        metadata=option(
            str, "WEIGHTS", "auto, demo, untrained, a hub id, a file or a folder.", panel=_INPUT, recorded=False
        ),
    )
    name: str | None = None
    preprocess: PreprocessSpec | Mapping[str, object] | None = None
    variant: str | None = field(
        default=None,
        metadata=option(
            str,
            "VARIANT",
            f"{_VARIANTS}; default: the checkpoint's, or {DEFAULT_VARIANT}.",
            panel=_INPUT,
            recorded=False,
        ),
    )
    task: str | None = field(
        default=None,
        metadata=option(str, "TASK", f"{' or '.join(TASKS)}; default: what the checkpoint is for.", panel=_INPUT),
    )
    image_size: tuple[int, int] | None = field(
        default=None,
        metadata=option(
            str,
            "N|HxW",
            "Pixels, multiples of 32; default: the checkpoint's.",
            parse=parse_image_size,
            show=show_size,
            panel=_INPUT,
        ),
    )
    labels: str | Path | None = field(
        default=None, metadata=option(Path, "FILE", "Text file with one class name a line.", panel=_INPUT)
    )
    weights_key: str | None = field(
        default=None,
        metadata=option(
            str,
            "KEY",
            "Which weights of a training checkpoint that holds several sets; default: averaged ones (EMA).",
            panel=_INPUT,
        ),
    )
    arithmetic: str | None = field(
        default=None,
        metadata=option(
            str,
            "CODE",
            "transformers or ml-cvnets (timm), where they compute differently; default: the checkpoint's names tell.",
            parse=parse_arithmetic,
            panel=_INPUT,
        ),
    )
    channel_order: ChannelOrder | None = field(
        default=None,
        metadata=option(
            str,
            "ORDER",
            "RGB or BGR, what the network was trained in; default here and below: what the checkpoint says.",
            parse=parse_channel_order,
            panel=_PREPROCESSING,
        ),
    )
    resize: int | tuple[int, int] | Literal["none"] | None = field(
        default=None,
        metadata=option(
            str,
            "SIZE",
            "Before the crop: N for the shortest edge, HxW to stretch to, or none.",
            parse=parse_resize,
            show=show_size,
            panel=_PREPROCESSING,
        ),
    )
    crop: tuple[int, int] | None = field(
        default=None,
        metadata=option(
            str,
            "N|HxW",
            "Pixels of the centre crop, which is the network's input.",
            parse=parse_crop,
            show=show_size,
            panel=_PREPROCESSING,
        ),
    )
    resample: Resample | None = field(
        default=None, metadata=option(str, "FILTER", "bilinear or bicubic.", parse=parse_resample, panel=_PREPROCESSING)
    )
    output: str | Path = field(
        default=Path(),
        metadata=option(
            Path,
            "FOLDER",
            "Folder in which the bundle's own folder is made.",
            "--output",
            "-o",
            panel=_OUTPUT,
            recorded=False,
        ),
    )
    overwrite: bool = field(
        default=False, metadata=option(bool, None, "Replace the bundle that is there.", panel=_OUTPUT, recorded=False)
    )
    formats: Sequence[FormatName | Literal["all"]] = field(
        default=IN_ALL,
        metadata=option(
            list, "FORMAT", _FORMATS_HELP, "--format", "-f", parse=parse_formats, show=show_formats, panel=_OUTPUT
        ),
    )
    io: IO = field(
        default="image",
        metadata=option(
            str,
            "IO",
            "image: uint8 RGB in, probabilities out; tensor: the bare network.",
            parse=parse_io,
            panel=_OUTPUT,
        ),
    )
    output_kind: OutputKind = field(
        default="scores",
        metadata=option(
            str,
            "KIND",
            "Of segmentation: scores, logits at the network's resolution; or mask, each pixel's class.",
            parse=parse_output_kind,
            panel=_OUTPUT,
        ),
    )
    opset: int = field(default=DEFAULT_OPSET, metadata=option(int, "N", "ONNX opset, 13 to 20.", panel=_OUTPUT))
    dynamic_batch: bool = field(
        default=False, metadata=option(bool, None, "Leave the batch open (ONNX only).", panel=_OUTPUT)
    )
    report: bool = field(
        default=True,
        metadata=option(bool, None, "Leave out report.html and the model card.", panel=_OUTPUT, recorded=False),
    )
    quantize: Sequence[Precision | Literal["none"]] | None = field(
        default=None,
        metadata=option(list, "SCHEME", _QUANTIZE_HELP, parse=parse_quantize, panel=_QUANTISATION),
    )
    calibration: str | Path | None = field(
        default=None,
        metadata=option(Path, "FOLDER", "Images like those the app will see, 200 or more.", panel=_QUANTISATION),
    )
    calibration_samples: int = field(
        default=DEFAULT_SAMPLES, metadata=option(int, "N", "Number of calibration images.", panel=_QUANTISATION)
    )
    seed: int = field(
        default=DEFAULT_SEED, metadata=option(int, "N", "Random seed for sampling them.", panel=_QUANTISATION)
    )
    learning_steps: int | None = field(
        default=None,
        metadata=option(int, "N", "Gradient steps on int8 ranges; default: by the size.", panel=_QUANTISATION),
    )
    min_agreement: float | None = field(
        default=None,
        metadata=option(
            float,
            "SHARE",
            "Keep blocks float until int8 has this share of float's answers (top-1, or pixels), such as 0.99.",
            panel=_QUANTISATION,
        ),
    )
    max_drop: float | None = field(
        default=None,
        metadata=option(
            float,
            "POINTS",
            "Keep blocks float until int8 loses at most so many points of top-1 or mIoU on --eval.",
            panel=_QUANTISATION,
        ),
    )
    force: bool = field(
        default=False,
        metadata=option(bool, None, "Allow few calibration images, and a model that collapsed.", panel=_QUANTISATION),
    )
    evaluation: str | Path | None = field(
        default=None,
        metadata=option(
            Path,
            "FOLDER|CSV",
            "Labelled images, or images with masks, to measure accuracy.",
            "--eval",
            panel=_EVALUATION,
        ),
    )
    split: str | None = field(
        default=None,
        metadata=option(
            str,
            "NAME",
            "Of a PASCAL VOC folder: the images in ImageSets/Segmentation/NAME.txt, such as val; default: all masks.",
            panel=_EVALUATION,
        ),
    )
    ignore: Sequence[int] = field(
        default=(),
        metadata=option(
            list,
            "N,N",
            "Mask indices whose pixels do not count, beside 255; repeatable.",
            parse=parse_ignore,
            panel=_EVALUATION,
        ),
    )
    reduce_labels: bool = field(
        default=False,
        metadata=option(bool, None, "Masks count classes from 1, and 0 is no class, as in ADE20K.", panel=_EVALUATION),
    )
    prove: Sequence[str] = field(
        default=(),
        metadata=option(
            list,
            "PLACE",
            f"Write the bundle only if its files run there: {PLACES_HELP}",
            parse=parse_words,
            panel=_EVALUATION,
        ),
    )
