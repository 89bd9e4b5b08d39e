"""What a model file says of itself, so that an app needs nothing beside it: TFLite metadata and labels.

A flatbuffer named TFLITE_METADATA inside the model holds name, description, author, licence, version, and what the
tensors mean; the labels follow the model as a ZIP archive. MediaPipe Tasks reads both; so does unzip.

* ``--io image``: the input is an RGB image. It is uint8 with scale 1/255 and zero-point 0, which is all of the
  normalisation, and MediaPipe hands it plain pixels; so there are no NormalizationOptions.
* ``--io tensor``: the input is float32 NCHW, which no library fills from an image. It is not called an image; its
  NormalizationOptions say how a pixel becomes a value. The output (logits) has its labels.

* Segmentation scores: how to make probabilities of them, as MediaPipe's ImageSegmenter wants to know.

ONNX files carry the same facts as metadata_props.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import numpy as np

from mvit2.bundle.manifest import IO, LABELS, OutputKind, WeightsIdentity
from mvit2.errors import BundleError, CheckpointError, ConversionError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.tasks import CLASSIFY, Task
from mvit2.tflite_file import write_tflite
from mvit2.versions import VERSION

from . import tflite_metadata_schema as schema

if TYPE_CHECKING:
    from mvit2.checkpoint.load import Checkpoint

__all__ = ["ModelCard", "model_card", "read_metadata", "write_with_metadata"]

_BUFFER = b"TFLITE_METADATA"
_LOCALE = re.compile(r"[a-z]{2}(-[A-Z]{2})?")


@dataclass(frozen=True)
class ModelCard:
    """The facts that every model file of a bundle carries.

    Attributes:
        name: of the bundle.
        variant: a width or size, such as "1.0" or "xx-small".
        labels: class names by index.
        output_kind: of a segmentation network.
        display_names: locale such as "de" or "pt-BR" -> names to show, by index; MediaPipe's display_names_locale
            chooses one.

    Raises:
        CheckpointError: a label that is empty or not one line of text.
        ConversionError: display names of no locale, or another number of them than of labels.
    """

    name: str
    variant: str
    weights: WeightsIdentity
    preprocess: PreprocessSpec
    io: IO
    labels: tuple[str, ...]
    display_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    task: Task = CLASSIFY
    output_kind: OutputKind = "scores"
    title: str = "MobileViTV2"  # of the architecture

    def __post_init__(self) -> None:
        for locale, names in self.display_names.items():
            if not _LOCALE.fullmatch(locale) or len(names) != len(self.labels):
                raise ConversionError(
                    f"{len(names)} display names for the locale {locale!r}; accepted: one for each of "
                    f"{len(self.labels)} labels, for a locale such as de or pt-BR."
                )
        for number, label in enumerate(self.labels):
            if not _is_a_name(label):
                raise CheckpointError(
                    f"class {number} is called {label[:80]!r}, accepted: one line of text; correct id2label in the "
                    "checkpoint's config.json or give --labels FILE."
                )

    @property
    def facts(self) -> dict[str, object]:
        """By the keys of ONNX's metadata_props, there with "mvit2." in front."""
        spec = self.preprocess
        return {
            "name": self.name,
            "description": f"{self.title} {self.variant}: {self.task.manifest.replace('-', ' ')}, "
            f"{len(self.labels)} classes. "
            f"Preprocessing: {spec.as_sentence()}.",
            "author": f"weights {self.weights.name} ({self.weights.origin}), exported by mvit2 {VERSION}",
            "license": "that of the weights",
            "version": self.weights.sha256[:16],
            "variant": self.variant,
            "weights": self.weights.name,
            "weights_sha256": self.weights.sha256,
            "preprocess": vars(spec),
            "labels": list(self.labels),
        }


def _is_a_name(label: str) -> bool:
    """Where labels end in empty lines MediaPipe fails or hangs. A lone surrogate, which JSON can spell, is no text."""
    text = label.encode(errors="replace").decode()
    return bool(label.strip()) and "".join(label.splitlines()) == text and "\0" not in label


def model_card(name: str, checkpoint: Checkpoint, io: IO, output_kind: OutputKind = "scores") -> ModelCard:
    """Of the bundle ``name``. Raises CheckpointError: a label that is empty or not one line of text."""
    c = checkpoint
    weights = WeightsIdentity(c.name, c.origin, c.layout, c.sha256)
    labels = c.config.labels
    title = c.architecture.title
    return ModelCard(
        name, c.variant, weights, c.preprocess, io, labels, task=c.task, output_kind=output_kind, title=title
    )


def write_with_metadata(model: Any, file: Path, card: ModelCard) -> None:
    """Write a TFLite model (a ModelT, as mvit2.tflite_file reads it) with its metadata and labels.

    Metadata that the model has is replaced, so a file may be read and written again. The same model and card give the
    same bytes. Raises ConversionError: another number of labels than of classes.
    """
    graph = model.subgraphs[0]
    (entry,), (end,) = ([graph.tensors[t].name.decode() for t in ends] for ends in (graph.inputs, graph.outputs))
    classes = int(graph.tensors[graph.outputs[0]].shape[-1])
    if card.output_kind == "scores" and classes != len(card.labels):
        raise ConversionError(f"{file.name} has {classes} classes, its card {len(card.labels)} labels.")
    _set_buffer(model, schema.encode(_metadata(card, entry, end)))
    write_tflite(model, file)
    with file.open("r+b") as stream:
        stream.seek(0, 2)  # ZIP archives are read from their end
        with ZipFile(stream, "w", ZIP_STORED) as archive:
            for locale, names in {"": card.labels, **card.display_names}.items():
                archive.writestr(_entry(_labels_file(locale)), "".join(f"{name}\n" for name in names))


def _labels_file(locale: str) -> str:
    return LABELS.replace(".", f"_{locale}.") if locale else LABELS


def _entry(name: str) -> ZipInfo:
    """Without anything that depends on the day or the machine."""
    info = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info


def _set_buffer(model: Any, content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as tflite

    buffer = tflite.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.metadata = list(model.metadata or ())
    known = next((m for m in model.metadata if m.name == _BUFFER), None)
    if known is not None:
        model.buffers[known.buffer] = buffer
        return
    known = tflite.MetadataT()
    known.name, known.buffer = _BUFFER, len(model.buffers)
    model.metadata.append(known)
    model.buffers.append(buffer)


def _metadata(card: ModelCard, entry: str, end: str) -> dict[str, Any]:
    facts = card.facts
    files = [
        {"name": _labels_file(locale), "type": schema.LABELS_OF_AXIS, **({"locale": locale} if locale else {})}
        for locale in ("", *card.display_names)
    ]
    output = {
        "name": end,
        "description": _output(card),
        "content": {"content_properties_type": schema.FEATURE, "content_properties": {}},
        "associated_files": files,
    }
    graph = {"input_tensor_metadata": [{"name": entry, **_input(card)}], "output_tensor_metadata": [output]}
    if card.task.dense and card.output_kind == "scores":
        graph["custom_metadata"] = [{"name": schema.SEGMENTER, "data": schema.segmenter_options()}]
    return {
        **{key: facts[key] for key in ("name", "description", "version")},
        "subgraph_metadata": [graph],
        **{key: facts[key] for key in ("author", "license")},
        "min_parser_version": schema.PARSER_VERSION,
    }


def _output(card: ModelCard) -> str:
    if card.output_kind == "mask":
        return "The class of each pixel."
    if card.task.dense:
        return "Logit of each class, at the network's own resolution."
    return "Probability of each class." if card.io == "image" else "Logit of each class."


def _input(card: ModelCard) -> dict[str, Any]:
    spec = card.preprocess
    height, width = spec.image_size
    if card.io == "image":
        size = {"width": width, "height": height}
        return {
            "description": f"The image: {width}x{height} RGB pixels, uint8.",
            "content": {
                "content_properties_type": schema.IMAGE,
                "content_properties": {"color_space": schema.RGB, "default_size": size},
            },
        }
    shape, step = f"[1, 3, {height}, {width}]", -1 if spec.channel_order == "BGR" else 1
    means, stds = list(spec.mean)[::step], list(spec.std)[::step]
    # Of pixels; one value stands for all channels.
    zero, unit = ([value / spec.scale for value in values] for values in (means, stds))
    mean, std = (values[:1] if not spec.normalises else values for values in (zero, unit))
    least, most = ([(pixel - m) / s for m, s in zip(mean, std, strict=False)] for pixel in (0, 255))
    normal = f", minus {means}, divided by {stds}" if spec.normalises else ""
    return {
        "description": f"The image: float32 {shape} {spec.channel_order}, pixel * {spec.scale:.8g}{normal}.",
        "content": {"content_properties_type": schema.FEATURE, "content_properties": {}},
        "process_units": [{"options_type": schema.NORMALIZATION, "options": {"mean": mean, "std": std}}],
        "stats": {"max": most, "min": least},
    }


def read_metadata(file: Path) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Of anybody's TFLite file: its metadata, and the text files behind it, name -> lines. Both are empty without any.

    Raises BundleError: damaged.
    """
    from ai_edge_litert import schema_py_generated as tflite

    try:
        model = tflite.Model.GetRootAs(file.read_bytes())
        entries = {e.Name(): e.Buffer() for e in map(model.Metadata, range(model.MetadataLength()))}
        if _BUFFER not in entries:
            return {}, {}
        metadata = schema.decode(bytes(model.Buffers(entries[_BUFFER]).DataAsNumpy()))
        return metadata, _text_files(file) if is_zipfile(file) else {}
    except (struct.error, TypeError, ValueError, RuntimeError, EOFError, BadZipFile) as error:
        raise BundleError(f"{file}: its metadata cannot be read: {error}.") from None


def _text_files(file: Path) -> dict[str, tuple[str, ...]]:
    """What is stored as it is; what is packed could unpack to anything, and what overlaps be read over and over."""
    with ZipFile(file) as archive:
        stored = [info for info in archive.infolist() if info.compress_type == ZIP_STORED]
        if sum(info.file_size for info in stored) > file.stat().st_size:
            raise BadZipFile("the files behind it overlap")
        return {info.filename: tuple(archive.read(info).decode(errors="replace").splitlines()) for info in stored}
