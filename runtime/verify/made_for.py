"""The preprocessing that a model file was made for, as the file itself says: a manifest can be edited."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mvit2.errors import BundleError
from mvit2.image.preprocess_spec import PreprocessSpec

__all__ = ["require_same_preprocessing"]

_KEY = b"mvit2.preprocess"  # of ONNX's metadata_props
_FIELDS = re.compile(rb'\{"image_size": [ -~]{1,2000}?\}')  # its value, in .onnx and .ort files
_SENTENCE = re.compile(rb"Preprocessing: ([ -~]{1,200}?)\.(?:\0|$)")  # of TFLite's description
_MOST_BYTES = 256 << 20  # of a file in which it is looked for


def require_same_preprocessing(file: Path, spec: PreprocessSpec) -> None:
    """``spec`` is the manifest's. A file that says nothing, as one of an older mvit2, is taken as it is.

    Raises BundleError, which names what differs.
    """
    if not file.is_file() or file.stat().st_size > _MOST_BYTES:
        return
    content = file.read_bytes()
    other = _other_fields(content, spec) if _KEY in content else _other_sentence(content, spec)
    if other is not None:
        said, made = other
        raise BundleError(
            f"{file.parent}/manifest.json preprocesses by {said}, {file.name} was made for {made}: one of them was "
            "edited, and the answers would be wrong. Export or copy the bundle again."
        )


def _other_fields(content: bytes, spec: PreprocessSpec) -> tuple[str, str] | None:
    found = _FIELDS.search(content)
    try:
        made = json.loads(found.group()) if found else {}
    except ValueError:
        return None
    ours = json.loads(json.dumps(vars(spec)))
    different = [key for key in ours if isinstance(made, dict) and key in made and made[key] != ours[key]]
    if not different:
        return None
    said, meant = (", ".join(f"{key} {some[key]}" for key in different) for some in (ours, made))
    return said, meant


def _other_sentence(content: bytes, spec: PreprocessSpec) -> tuple[str, str] | None:
    found = _SENTENCE.search(content)
    made = found.group(1).decode() if found else None
    return None if made is None or made == spec.as_sentence() else (spec.as_sentence(), made)
