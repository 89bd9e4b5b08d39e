"""What a user asks ``mvit2-export`` for, refused as a whole where it is impossible (no heavy import here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mvit2.bundle.manifest import Precision
from mvit2.errors import UsageError
from mvit2.image.dataset import PLAIN, Reading
from mvit2.image.preprocess_choice import PreprocessChoice
from mvit2.network.architectures import find_variant

from .export_options import ExportOptions
from .formats import FORMATS, FormatName, converted
from .option import read_fields, typed_again
from .parsers import QUANTIZE

__all__ = ["ExportRequest"]

OPSETS = range(13, 21)
_EDGES = range(64, 1025, 32)


@dataclass(frozen=True, kw_only=True)
class ExportRequest(ExportOptions):
    """What is asked of an export. Raises UsageError for what cannot be exported."""

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
            raise UsageError("--split, --ignore and --reduce-labels are about images with masks: add --eval FOLDER.")
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
    def typed(self) -> tuple[str, ...]:
        """The options that make these files of a checkpoint, word by word; formats and precisions are always said."""
        precisions = {precision for name in self.converted for precision in self.quantised(name)}
        schemes = tuple(word for word in QUANTIZE if word in precisions) or ("none",)
        return typed_again(self, {"formats": self.formats, "quantize": schemes})

    @property
    def tensor_names(self) -> tuple[str, str]:
        """Of the models' input and output."""
        entry, scores = ("image", "scores") if self.io == "image" else ("pixel_values", "logits")
        return entry, scores if self.output_kind == "scores" else self.output_kind
