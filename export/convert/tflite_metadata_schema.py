"""TFLite metadata as nested dicts <-> flatbuffer: the part of metadata_schema.fbs that our networks need.

The schema is TensorFlow's (tensorflow/lite/support, Apache 2.0) and lives on in MediaPipe. No package that can be
installed beside the exporter brings its code, so its tables stand here, and flatbuffers writes and reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

__all__ = [
    "FEATURE",
    "IDENTIFIER",
    "IMAGE",
    "LABELS_OF_AXIS",
    "NORMALIZATION",
    "PARSER_VERSION",
    "RGB",
    "SEGMENTER",
    "decode",
    "encode",
    "segmenter_options",
]

IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"  # the first one knows every field below
FEATURE, IMAGE, NORMALIZATION = 1, 2, 1  # members of the unions ContentProperties and ProcessUnitOptions
RGB, LABELS_OF_AXIS = 1, 2  # ColorSpaceType.RGB, AssociatedFileType.TENSOR_AXIS_LABELS

SEGMENTER = "SEGMENTER_METADATA"  # custom metadata: ImageSegmenterOptions of MediaPipe
_ALIGNED = 16  # bytes, of what is a flatbuffer itself
_SOFTMAX = 2  # Activation.SOFTMAX of its image_segmenter_metadata_schema.fbs

_ROOT = "ModelMetadata"
# table -> its fields, in the order of their slots; later ones are left out.
_TABLES: Mapping[str, Mapping[str, str]] = {
    _ROOT: {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": "string",
        "license": "string",
        "associated_files": "[AssociatedFile]",
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
        "associated_files": "[AssociatedFile]",
        "input_process_units": "[ProcessUnit]",
        "output_process_units": "[ProcessUnit]",
        "input_tensor_groups": "",
        "output_tensor_groups": "",
        "custom_metadata": "[CustomMetadata]",
    },
    "CustomMetadata": {"name": "string", "data": "[ubyte]"},
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": "[string]",
        "content": "Content",
        "process_units": "[ProcessUnit]",
        "stats": "Stats",
        "associated_files": "[AssociatedFile]",
    },
    "Content": {"content_properties_type": "byte", "content_properties": "union"},
    "FeatureProperties": {},
    "ImageProperties": {"color_space": "byte", "default_size": "ImageSize"},
    "ImageSize": {"width": "uint", "height": "uint"},
    "ProcessUnit": {"options_type": "byte", "options": "union"},
    "NormalizationOptions": {"mean": "[float]", "std": "[float]"},
    "Stats": {"max": "[float]", "min": "[float]"},
    "AssociatedFile": {"name": "string", "description": "string", "type": "byte", "locale": "string"},
}
_UNIONS: Mapping[str, Mapping[int, str]] = {
    "content_properties": {FEATURE: "FeatureProperties", IMAGE: "ImageProperties"},
    "options": {NORMALIZATION: "NormalizationOptions"},
}


def segmenter_options() -> bytes:
    """A file of ImageSegmenterOptions: probabilities are the softmax of the scores."""
    import flatbuffers

    builder = flatbuffers.Builder()
    version = builder.CreateString(PARSER_VERSION)
    builder.StartObject(2)
    builder.PrependInt8Slot(0, _SOFTMAX, 0)
    builder.PrependUOffsetTRelativeSlot(1, version, 0)
    builder.Finish(builder.EndObject(), b"V001")
    return bytes(builder.Output())


def _kind(table: str, field: str, values: Mapping[str, Any]) -> str:
    """What a field holds; of a union its member, "" for one that is not known here."""
    kind = _TABLES[table][field]
    return _UNIONS[field].get(values.get(f"{field}_type", 0), "") if kind == "union" else kind


def encode(metadata: Mapping[str, Any]) -> bytes:
    """A ModelMetadata as a flatbuffer; the same dict gives the same bytes."""
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, _ROOT, metadata), IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: Any, kind: str, value: Any) -> int:
    """Whatever is stored outside its table; returns its offset."""
    if kind == "string":
        return int(builder.CreateString(value))
    if kind == "[float]":
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
        return int(builder.EndVector())
    if kind == "[ubyte]":
        builder.StartVector(1, len(value), _ALIGNED)
        builder.head -= len(value)
        builder.Bytes[builder.head : builder.head + len(value)] = value
        return int(builder.EndVector())
    if kind.startswith("["):
        offsets = [_write(builder, kind[1:-1], item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    return _write_table(builder, kind, value)


def _write_table(builder: Any, table: str, values: Mapping[str, Any]) -> int:
    fields = [(slot, _kind(table, f, values), values[f]) for slot, f in enumerate(_TABLES[table]) if f in values]
    inline = {"byte": builder.PrependInt8Slot, "uint": builder.PrependUint32Slot}
    stored = [(slot, kind, v if kind in inline else _write(builder, kind, v)) for slot, kind, v in fields]
    builder.StartObject(len(_TABLES[table]))
    for slot, kind, value in stored:
        inline.get(kind, builder.PrependUOffsetTRelativeSlot)(slot, value, 0)
    return int(builder.EndObject())


def decode(data: bytes) -> dict[str, Any]:
    """The dict that ``encode`` took, of anybody's metadata; fields that are not known here are left out.

    Raises ValueError: no such flatbuffer, or a damaged one.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError(f"its identifier is {data[4:8]!r}, accepted: {IDENTIFIER!r}")
    try:
        return _Reader(data).root()
    except (struct.error, TypeError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged ({' '.join(str(error).split())[:100]})") from None


class _Reader:
    """A small buffer of many references to the same parts would fill the memory, so there is an end to what is read."""

    def __init__(self, data: bytes) -> None:
        self._data, self._left = data, 16 * len(data)  # writers may share equal texts

    def root(self) -> dict[str, Any]:
        return self._table(struct.unpack_from("<I", self._data)[0], _ROOT)

    def _table(self, position: int, name: str) -> dict[str, Any]:
        from flatbuffers.table import Table

        table, values = Table(self._data, position), dict[str, Any]()
        for slot, field in enumerate(_TABLES[name]):
            kind, offset = _kind(name, field, values), table.Offset(4 + 2 * slot)
            if kind and offset:
                values[field] = self._value(table, kind, table.Pos + offset)
        return values

    def _value(self, table: Any, kind: str, at: int) -> Any:
        if kind in ("byte", "uint"):
            return struct.unpack_from("<b" if kind == "byte" else "<I", self._data, at)[0]
        if kind == "string":
            text: bytes = table.String(at)
            self._spend(len(text))
            return text.decode()
        if not kind.startswith("["):
            self._spend(1)
            return self._table(table.Indirect(at), kind)
        begin, length = table.Vector(at - table.Pos), table.VectorLen(at - table.Pos)
        self._spend(length)
        if kind == "[ubyte]":
            return bytes(self._data[begin : begin + length])
        if kind == "[float]":
            return list(struct.unpack_from(f"<{length}f", self._data, begin))
        return [self._value(table, kind[1:-1], begin + 4 * i) for i in range(length)]

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise ValueError("damaged (it refers to more than it holds)")
