"""What a user asks ``mvit2-export`` for, refused as a whole where it is impossible (no heavy import here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mvit2.bundle.manifest import DEFAULT_SAMPLES, DEFAULT_SEED, IO, OutputKind, Precision
from mvit2.errors import UsageError, did_you_mean
from mvit2.image.dataset import PLAIN, Reading
from mvit2.image.preprocess_choice import (
    PreprocessChoice,
    parse_channel_order,
    parse_crop,
    parse_resample,
    parse_resize,
)
from mvit2.network.architectures import find_variant
from mvit2.network.mobilevitv2_config import PATCH_RULES

from .formats import FORMATS, IN_ALL, FormatName, converted
from .option import option, read_fields

if TYPE_CHECKING:
    from torch import nn

    from mvit2.image.preprocess_spec import ChannelOrder, PreprocessSpec, Resample

__all__ = [
    "DEFAULT_OPSET",
    "PLACES",
    "QUANTIZE",
    "ExportRequest",
    "parse_arithmetic",
    "parse_formats",
    "parse_ignore",
    "parse_image_size",
    "parse_io",
    "parse_output_kind",
    "parse_quantize",
]

IOS: tuple[IO, ...] = ("image", "tensor")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("scores", "mask")
QUANTIZE: tuple[Precision, ...] = ("float16", "dynamic", "int8", "full-int8")
OPSETS = range(13, 21)
DEFAULT_OPSET = 18
_EDGES = range(64, 1025, 32)
_NAMED = ", ".join(f"{row.name} ({row.hint})" if row.hint else row.name for row in FORMATS.values())
_FORMATS_HELP = f"{_NAMED} or all, which is {' and '.join(IN_ALL)}; repeatable."
PLACES = "litert-gpu, qnn-htp[:CHIP], ethos-u[:CHIP], fp16, opencv or all; repeatable."
_USUAL = ", ".join(f"{precision} for {row.title}" for row in FORMATS.values() for precision in row.usual)
_QUANTIZE_HELP = f"none, {', '.join(QUANTIZE)}; repeatable. Default: {_USUAL}."


def parse_formats(given: str | Sequence[str]) -> tuple[FormatName, ...]:
    """``--format`` words, "all" among them, in the order of FORMATS. Raises UsageError with a suggestion."""
    words = _words(given)
    for word in words or ("",):
        if word not in (*FORMATS, "all"):
            near = did_you_mean(word, (*FORMATS, "all"))
            raise UsageError(f"unknown --format {word!r}.{near} Choose {', '.join(FORMATS)} or all.")
    return tuple(f for f in FORMATS if f in words or ("all" in words and f in IN_ALL))


def _words(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def parse_quantize(given: str | Sequence[str]) -> tuple[Precision, ...]:
    """``--quantize`` words in the order of QUANTIZE; "none" stands alone. Raises UsageError with a suggestion."""
    words = _words(given)
    for word in words:
        if word not in (*QUANTIZE, "none"):
            near = did_you_mean(word, (*QUANTIZE, "none"))
            raise UsageError(f"unknown --quantize {word!r}.{near} Choose none, {', '.join(QUANTIZE)}; repeatable.")
    if "none" in words and set(words) != {"none"}:
        raise UsageError(
            f"--quantize none excludes {', '.join(w for w in words if w != 'none')}: leave one of them out."
        )
    return tuple(q for q in QUANTIZE if q in words)


def parse_image_size(text: str | int | tuple[int, int] | None) -> tuple[int, int] | None:
    """``"256"`` or ``"256x192"`` (height x width); an edge or a pair is taken, too. Raises UsageError."""
    if text is None or isinstance(text, tuple):
        return text
    text = str(text)
    try:
        edges = [int(part) for part in text.lower().split("x")]
    except ValueError:
        edges = []
    if len(edges) not in (1, 2):
        raise UsageError(f"--image-size is {text!r}, accepted: one number of pixels, or HEIGHTxWIDTH such as 256x192.")
    return edges[0], edges[-1]


def parse_io(word: str) -> IO:
    """Raises UsageError with a suggestion."""
    for io in IOS:
        if word == io:
            return io
    raise UsageError(f"unknown --io {word!r}.{did_you_mean(word, IOS)} Choose {' or '.join(IOS)}.")


def parse_output_kind(word: str) -> OutputKind:
    """Raises UsageError with a suggestion."""
    for kind in OUTPUT_KINDS:
        if word == kind:
            return kind
    raise UsageError(f"unknown --output-kind {word!r}.{did_you_mean(word, OUTPUT_KINDS)} Choose scores or mask.")


def parse_arithmetic(word: str) -> str:
    """Raises UsageError with a suggestion."""
    if word not in PATCH_RULES:
        near = did_you_mean(word, PATCH_RULES)
        raise UsageError(f"unknown --arithmetic {word!r}.{near} Choose {' or '.join(PATCH_RULES)}.")
    return word


def parse_ignore(given: int | str | Sequence[int | str]) -> tuple[int, ...]:
    """``--ignore`` words such as "11" or "0,11" -> (0, 11). Raises UsageError."""
    each = [given] if isinstance(given, (int, str)) else given
    words = [word.strip() for text in each for word in str(text).split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit()):
            said = ",".join(map(str, each))
            raise UsageError(f"--ignore is {said!r}, accepted: indices such as 11 or 0,11.")
    return tuple(int(word[:9]) for word in words)


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is asked of an export. Its options are written here and nowhere else: the command line is made from them.

    ``name`` and ``preprocess`` are for Python, where ``weights`` may be a torch module in memory: what the bundle calls
    it, and how a picture becomes its pixels (a PreprocessSpec, or the content of a preprocessor_config.json).

    Raises UsageError for what cannot be exported.
    """

    variant: str | None = field(
        default=None,
        metadata=option(str, "WIDTH", "0.5 0.75 1.0 1.25 1.5 1.75 2.0; default: the checkpoint's, or 1.0."),
    )
    weights: str | Path | nn.Module = field(
        default="auto",
        kw_only=False,
        metadata=option(str, "WEIGHTS", "auto, demo, untrained, a hub id, a file or a folder."),
    )
    name: str | None = None
    preprocess: PreprocessSpec | Mapping[str, object] | None = None
    task: str | None = field(
        default=None, metadata=option(str, "TASK", "classify or segment; default: what the checkpoint is for.")
    )
    formats: Sequence[FormatName | Literal["all"]] = field(
        default=IN_ALL,
        metadata=option(
            list,
            "FORMAT",
            _FORMATS_HELP,
            "--format",
            "-f",
            parse=parse_formats,
        ),
    )
    output: str | Path = field(
        default=Path(), metadata=option(Path, "FOLDER", "Where the bundle's folder is made.", "--output", "-o")
    )
    overwrite: bool = field(default=False, metadata=option(bool, None, "Replace the bundle that is there."))
    image_size: tuple[int, int] | None = field(
        default=None,
        metadata=option(str, "N|HxW", "Pixels, multiples of 32; default: the checkpoint's.", parse=parse_image_size),
    )
    io: IO = field(
        default="image",
        metadata=option(str, "IO", "image: uint8 RGB in, probabilities out; tensor: the bare network.", parse=parse_io),
    )
    output_kind: OutputKind = field(
        default="scores",
        metadata=option(
            str,
            "KIND",
            "Of segmentation: scores, logits at the network's resolution; or mask, each pixel's class.",
            parse=parse_output_kind,
        ),
    )
    opset: int = field(default=DEFAULT_OPSET, metadata=option(int, "N", "ONNX opset, 13 to 20."))
    dynamic_batch: bool = field(default=False, metadata=option(bool, None, "Leave the batch open (ONNX only)."))
    labels: str | Path | None = field(
        default=None, metadata=option(Path, "FILE", "Text file with one class name a line.")
    )
    weights_key: str | None = field(
        default=None,
        metadata=option(
            str, "KEY", "Which weights of a training checkpoint that holds several sets; default: averaged ones (EMA)."
        ),
    )
    channel_order: ChannelOrder | None = field(
        default=None,
        metadata=option(
            str,
            "ORDER",
            "RGB or BGR, what the network was trained in; default here and below: what the checkpoint says.",
            parse=parse_channel_order,
        ),
    )
    resize: int | tuple[int, int] | Literal["none"] | None = field(
        default=None,
        metadata=option(
            str,
            "SIZE",
            "Before the crop: N for the shortest edge, HxW to stretch to, or none.",
            parse=parse_resize,
        ),
    )
    crop: tuple[int, int] | None = field(
        default=None,
        metadata=option(str, "N|HxW", "Pixels of the centre crop, which is the network's input.", parse=parse_crop),
    )
    resample: Resample | None = field(
        default=None, metadata=option(str, "FILTER", "bilinear or bicubic.", parse=parse_resample)
    )
    arithmetic: str | None = field(
        default=None,
        metadata=option(
            str,
            "CODE",
            "transformers or ml-cvnets (timm), where they compute differently; default: the checkpoint's names tell.",
            parse=parse_arithmetic,
        ),
    )
    quantize: Sequence[Precision | Literal["none"]] | None = field(
        default=None,
        metadata=option(
            list,
            "SCHEME",
            _QUANTIZE_HELP,
            parse=parse_quantize,
        ),
    )
    calibration: str | Path | None = field(
        default=None, metadata=option(Path, "FOLDER", "Pictures like those the app will see, 200 or more.")
    )
    calibration_samples: int = field(default=DEFAULT_SAMPLES, metadata=option(int, "N", "How many of them are used."))
    seed: int = field(default=DEFAULT_SEED, metadata=option(int, "N", "Which of them."))
    learning_steps: int | None = field(
        default=None, metadata=option(int, "N", "Gradient steps on int8 ranges; default: by the size.")
    )
    evaluation: str | Path | None = field(
        default=None,
        metadata=option(
            Path, "FOLDER|CSV", "Labelled pictures, or pictures with masks, to measure accuracy.", "--eval"
        ),
    )
    split: str | None = field(
        default=None,
        metadata=option(
            str,
            "NAME",
            "Of a PASCAL VOC folder: the pictures in ImageSets/Segmentation/NAME.txt, such as val; default: all masks.",
        ),
    )
    ignore: Sequence[int] = field(
        default=(),
        metadata=option(
            list, "N,N", "Indices of masks whose pixels do not count, beside 255; repeatable.", parse=parse_ignore
        ),
    )
    reduce_labels: bool = field(
        default=False,
        metadata=option(bool, None, "Of masks, 0 is no class and k is class k - 1, as in ADE20K."),
    )
    min_agreement: float | None = field(
        default=None,
        metadata=option(
            float,
            "SHARE",
            "Keep blocks float until int8 has this share of float's answers (top-1, or pixels), such as 0.99.",
        ),
    )
    max_drop: float | None = field(
        default=None, metadata=option(float, "POINTS", "The same for points of top-1 or mIoU on --eval.")
    )
    force: bool = field(
        default=False, metadata=option(bool, None, "Calibrate on few pictures; write a model that collapsed.")
    )
    prove: Sequence[str] = field(
        default=(),
        metadata=option(
            list,
            "PLACE",
            f"Write it only if its files run there: {PLACES}",
            parse=lambda given: tuple(_words(given)),
        ),
    )
    report: bool = field(default=True, metadata=option(bool, None, "Leave out report.html and the model card."))

    def __post_init__(self) -> None:
        read_fields(self)
        self._check_quantisation()
        if self.crop is not None and self.image_size is not None:
            raise UsageError("--crop and --image-size both say the network's input: leave one of them out.")
        if self.variant is not None:
            object.__setattr__(self, "variant", find_variant(self.variant).name)
        for edge in self.image_size or ():
            self.check_edge(edge)
        if self.opset not in OPSETS:
            raise UsageError(f"--opset is {self.opset}, accepted: {OPSETS.start} to {OPSETS.stop - 1}.")
        self._check_batch()
        self._check_module()

    def _check_batch(self) -> None:
        able = [row for row in FORMATS.values() if "dynamic_batch" in row.options and not row.repacks]
        fixed = next((row.title for row in map(FORMATS.__getitem__, self.converted) if row not in able), None)
        if self.dynamic_batch and fixed is not None:
            titles = " and ".join(row.title for row in able)
            raise UsageError(f"--dynamic-batch is for {titles}; {fixed} takes one image: add --format {able[0].name}.")

    def _check_module(self) -> None:
        if isinstance(self.weights, Path):
            object.__setattr__(self, "weights", str(self.weights))
        if isinstance(self.weights, str):
            for name in ("name", "preprocess"):
                if getattr(self, name) is not None:
                    raise UsageError(f"{name} is for a torch module in memory; --weights {self.weights} has its own.")
        elif not hasattr(self.weights, "state_dict"):
            raise UsageError(
                f"weights is a {type(self.weights).__name__}, accepted: auto, demo, untrained, a hub id, a file, a "
                "folder or a torch module."
            )
        elif self.weights_key is not None:
            raise UsageError(
                f"--weights-key {self.weights_key} is for a file; a torch module holds one set: leave it out."
            )

    @property
    def reading(self) -> Reading:
        """How the labels of ``evaluation`` are to be read."""
        return Reading(None, self.split, tuple(self.ignore), self.reduce_labels)

    @property
    def choice(self) -> PreprocessChoice:
        """What is said of the preprocessing."""
        return PreprocessChoice(self.channel_order, self.resize, self.crop, self.resample)

    @property
    def weights_name(self) -> str:
        """What to call the weights in messages."""
        held = isinstance(self.weights, (str, Path))
        return str(self.weights) if held else f"of the {type(self.weights).__name__} in memory"

    def _check_quantisation(self) -> None:
        reading = self.reading  # refuses impossible words
        self._check_precisions()
        if self.dynamic_batch and self.quantize:
            raise UsageError("--dynamic-batch exports float32 only: add --quantize none.")
        for flag, value, least in (
            ("--calibration-samples", self.calibration_samples, 1),
            ("--seed", self.seed, 0),
            ("--learning-steps", self.learning_steps, 0),
        ):
            if value is not None and value < least:
                raise UsageError(f"{flag} is {value}, accepted: {least} or more.")
        if self.min_agreement is not None and not 0 < self.min_agreement <= 1:
            raise UsageError(f"--min-agreement is {self.min_agreement}, accepted: a share above 0, up to 1.")
        if reading != PLAIN and self.evaluation is None:
            raise UsageError("--split, --ignore and --reduce-labels are about pictures with masks: add --eval FOLDER.")
        if self.max_drop is not None and not (self.max_drop >= 0 and self.evaluation):
            raise UsageError(f"--max-drop is {self.max_drop}, accepted: 0 or more points, together with --eval FOLDER.")

    def _check_precisions(self) -> None:
        """Every one of them is for one of the formats."""
        rows = [FORMATS[name] for name in self.converted]
        for word in self.quantize or ():
            able = [row for row in FORMATS.values() if not row.repacks and row.takes(word)]
            if able and not any(row in rows for row in able):
                takes = ", ".join(f"{row.title} takes {', '.join(row.precisions)}" for row in rows)
                titles, first = " and ".join(row.title for row in able), able[0].name
                raise UsageError(f"--quantize {word} is for {titles}, {takes}: add --format {first}.")

    def quantised(self, format: FormatName) -> tuple[Precision, ...]:
        """The quantised artifacts of ``format``, in the order of QUANTIZE."""
        if self.quantize is None:
            return FORMATS[format].usual
        return tuple(q for q in QUANTIZE if q in self.quantize and q in FORMATS[format].precisions)

    @property
    def converted(self) -> tuple[FormatName, ...]:
        """The formats that torch's network is converted to; others are made of these."""
        return converted(self.formats)

    @staticmethod
    def check_edge(edge: int) -> None:
        """Raises UsageError unless the encoder halves ``edge`` five times without a remainder."""
        if edge not in _EDGES:
            near = min(_EDGES, key=lambda accepted: abs(accepted - edge))
            raise UsageError(
                f"image size {edge} is not usable: accepted are multiples of {_EDGES.step} from "
                f"{_EDGES.start} to {_EDGES[-1]}; the nearest is {near}."
            )

    @property
    def tensor_names(self) -> tuple[str, str]:
        """Of the models' input and output."""
        entry, scores = ("image", "scores") if self.io == "image" else ("pixel_values", "logits")
        return entry, scores if self.output_kind == "scores" else self.output_kind
