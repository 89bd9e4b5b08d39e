"""What a user asks ``mvit2-export`` for, refused as a whole where it is impossible (no heavy import here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mvit2.errors import UsageError, did_you_mean
from mvit2.manifest import IO
from mvit2.variant import find_variant

__all__ = ["ExportRequest", "Format", "parse_formats", "parse_image_size", "parse_io"]

Format = Literal["onnx", "tflite"]
FORMATS: tuple[Format, ...] = ("onnx", "tflite")
IOS: tuple[IO, ...] = ("image", "tensor")
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
        labels: a text file with one class name a line, for checkpoints that name none.
    """

    weights: str = "auto"
    variant: str | None = None
    formats: tuple[Format, ...] = FORMATS
    output: Path = Path()
    overwrite: bool = False
    image_size: tuple[int, int] | None = None
    opset: int = DEFAULT_OPSET
    io: IO = "image"
    dynamic_batch: bool = False
    labels: Path | None = None

    def __post_init__(self) -> None:
        if self.variant is not None:
            object.__setattr__(self, "variant", find_variant(self.variant).name)
        for edge in self.image_size or ():
            self.check_edge(edge)
        if self.opset not in OPSETS:
            raise UsageError(f"--opset is {self.opset}, accepted: {OPSETS.start} to {OPSETS.stop - 1}.")
        if self.dynamic_batch and "tflite" in self.formats:
            raise UsageError("--dynamic-batch is for ONNX; TFLite takes one image: add --format onnx.")

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
        return ("image", "scores") if self.io == "image" else ("pixel_values", "logits")


def parse_formats(words: list[str]) -> tuple[Format, ...]:
    """``--format`` words, "all" among them, in the order of FORMATS. Raises UsageError with a suggestion."""
    for word in words:
        if word not in (*FORMATS, "all"):
            near = did_you_mean(word, (*FORMATS, "all"))
            raise UsageError(f"unknown --format {word!r}.{near} Choose {', '.join(FORMATS)} or all.")
    return tuple(f for f in FORMATS if f in words or "all" in words)


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
