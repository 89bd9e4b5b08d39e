"""What a user asks ``mvit2-export`` for, refused as a whole where it is impossible (no heavy import here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mvit2.bundle.manifest import DEFAULT_SAMPLES, DEFAULT_SEED, IO, OutputKind, Precision
from mvit2.errors import UsageError, did_you_mean
from mvit2.image.dataset import PLAIN, Reading
from mvit2.network.mobilevitv2_config import find_variant

__all__ = [
    "DEFAULT_OPSET",
    "ExportRequest",
    "Format",
    "parse_formats",
    "parse_image_size",
    "parse_io",
    "parse_output_kind",
    "parse_quantize",
]

Format = Literal["onnx", "tflite", "ort"]
FORMATS: tuple[Format, ...] = ("onnx", "tflite", "ort")
ALL: tuple[Format, ...] = ("onnx", "tflite")  # an .ort is the ONNX model once more
IOS: tuple[IO, ...] = ("image", "tensor")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("scores", "mask")
QUANTIZE: tuple[Precision, ...] = ("float16", "dynamic", "int8", "full-int8")
_FOR_ONNX: tuple[Precision, ...] = ("int8",)
OPSETS = range(13, 21)
DEFAULT_OPSET = 18
_EDGES = range(64, 1025, 32)


@dataclass(frozen=True)
class ExportRequest:
    """Raises UsageError for what cannot be exported.

    Attributes:
        weights: auto, demo, untrained, a hub id, a file or a folder.
        variant: width such as "1.0"; None is what the checkpoint says.
        output: the folder in which the bundle's folder is made.
        image_size: (height, width) in pixels; None is the checkpoint's own.
        io: "image" = uint8 RGB in, probabilities out; "tensor" = the bare network.
        task: "classify" or "segment"; None is what the checkpoint is for.
        output_kind: of a segmentation network: "scores" = logits at its own resolution, "mask" = each pixel's class.
        labels: a text file with one class name a line, for checkpoints that name none.
        quantize: beside float32; None is int8 for TFLite and nothing for ONNX.
        calibration: a folder of pictures; None takes crops of the bundled photographs.
        calibration_samples, seed: how many of them, and which.
        learning_steps: of the ranges' gradient descent; 0 for none, None for as many as take a minute or two.
        evaluation: labelled pictures (runtime.metrics.METRICS says of which kinds) on which accuracy is measured.
        reading: how their labels are to be read.
        min_agreement, max_drop: what int8 must reach, making blocks float until it does: share of pictures with the
            float model's first class, or of pixels; points of top-1 or mIoU lost at most (needs ``evaluation``).
        force: calibrate on few pictures, and write a model that collapsed.
        report: write report.html and a model card as the last step.
    """

    weights: str = "auto"
    variant: str | None = None
    formats: tuple[Format, ...] = ALL
    output: Path = Path()
    overwrite: bool = False
    image_size: tuple[int, int] | None = None
    opset: int = DEFAULT_OPSET
    io: IO = "image"
    task: str | None = None
    output_kind: OutputKind = "scores"
    dynamic_batch: bool = False
    labels: Path | None = None
    quantize: tuple[Precision, ...] | None = None
    calibration: Path | None = None
    calibration_samples: int = DEFAULT_SAMPLES
    seed: int = DEFAULT_SEED
    learning_steps: int | None = None
    evaluation: Path | None = None
    reading: Reading = PLAIN
    min_agreement: float | None = None
    max_drop: float | None = None
    force: bool = False
    report: bool = True

    def __post_init__(self) -> None:
        self._check_quantisation()
        if self.variant is not None:
            object.__setattr__(self, "variant", find_variant(self.variant).name)
        for edge in self.image_size or ():
            self.check_edge(edge)
        if self.opset not in OPSETS:
            raise UsageError(f"--opset is {self.opset}, accepted: {OPSETS.start} to {OPSETS.stop - 1}.")
        if self.dynamic_batch and "tflite" in self.formats:
            raise UsageError("--dynamic-batch is for ONNX; TFLite takes one image: add --format onnx.")

    def _check_quantisation(self) -> None:
        alone = [q for q in self.quantize or () if q not in _FOR_ONNX]
        if alone and "tflite" not in self.formats:
            raise UsageError(f"--quantize {alone[0]} is for TFLite, ONNX takes int8: add --format tflite.")
        if self.dynamic_batch and self.quantize:
            raise UsageError("--dynamic-batch exports float32 only: add --quantize none.")
        for option, value, least in (
            ("--calibration-samples", self.calibration_samples, 1),
            ("--seed", self.seed, 0),
            ("--learning-steps", self.learning_steps, 0),
        ):
            if value is not None and value < least:
                raise UsageError(f"{option} is {value}, accepted: {least} or more.")
        if self.min_agreement is not None and not 0 < self.min_agreement <= 1:
            raise UsageError(f"--min-agreement is {self.min_agreement}, accepted: a share above 0, up to 1.")
        if self.reading != PLAIN and self.evaluation is None:
            raise UsageError("--split and --ignore are about pictures with masks: add --eval FOLDER.")
        if self.max_drop is not None and not (self.max_drop >= 0 and self.evaluation):
            raise UsageError(f"--max-drop is {self.max_drop}, accepted: 0 or more points, together with --eval FOLDER.")

    def quantised(self, format: Format) -> tuple[Precision, ...]:
        """The quantised artifacts of ``format``, in the order of QUANTIZE."""
        if self.quantize is None:
            return ("int8",) if format == "tflite" else ()
        return tuple(q for q in self.quantize if format == "tflite" or q in _FOR_ONNX)

    @property
    def converted(self) -> tuple[Format, ...]:
        """The formats that torch's network is converted to; an .ort is made of the ONNX model."""
        wanted = {"onnx" if format == "ort" else format for format in self.formats}
        return tuple(f for f in FORMATS if f in wanted)

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


def parse_formats(words: list[str]) -> tuple[Format, ...]:
    """``--format`` words, "all" among them, in the order of FORMATS. Raises UsageError with a suggestion."""
    for word in words:
        if word not in (*FORMATS, "all"):
            near = did_you_mean(word, (*FORMATS, "all"))
            raise UsageError(f"unknown --format {word!r}.{near} Choose {', '.join(FORMATS)} or all.")
    return tuple(f for f in FORMATS if f in words or ("all" in words and f in ALL))


def parse_quantize(words: list[str] | None) -> tuple[Precision, ...] | None:
    """``--quantize`` words in the order of QUANTIZE; "none" stands alone. Raises UsageError with a suggestion."""
    if not words:
        return None
    for word in words:
        if word not in (*QUANTIZE, "none"):
            near = did_you_mean(word, (*QUANTIZE, "none"))
            raise UsageError(f"unknown --quantize {word!r}.{near} Choose none, {', '.join(QUANTIZE)}; repeatable.")
    if "none" in words and set(words) != {"none"}:
        raise UsageError(
            f"--quantize none excludes {', '.join(w for w in words if w != 'none')}: leave one of them out."
        )
    return tuple(q for q in QUANTIZE if q in words)


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """``"256"`` or ``"256x192"`` (height x width). Raises UsageError."""
    if text is None:
        return None
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
