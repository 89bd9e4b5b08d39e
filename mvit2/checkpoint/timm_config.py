"""timm's config.json, as save_for_hf and push_to_hf_hub write it: class names and preprocessing (no torch here)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mvit2.errors import CheckpointError, UsageError
from mvit2.image.preprocess_spec import PreprocessSpec, Resample, as_triple
from mvit2.network.architectures import ARCHITECTURES

__all__ = ["TimmConfig", "is_timm", "read_timm"]

_CFG: Final = "pretrained_cfg"
_FILTERS: Final[Mapping[object, Resample]] = {"bilinear": "bilinear", "bicubic": "bicubic", "": "bilinear"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what timm takes where a file has none


@dataclass(frozen=True)
class TimmConfig:
    """``labels`` are None where the file names no classes; ``preprocess`` is what timm's eval transform does."""

    labels: tuple[str, ...] | None
    preprocess: PreprocessSpec


def is_timm(content: Mapping[str, object]) -> bool:
    return _CFG in content or ("architecture" in content and "model_type" not in content)


def read_timm(content: Mapping[str, object], source: str) -> TimmConfig:
    """Raises CheckpointError: another network, or a value that cannot be honoured; it names both."""
    name = content.get("architecture")
    if not (isinstance(name, str) and any(re.match(row.file_name, name) for row in ARCHITECTURES.values())):
        known = " or ".join(f"{row}_*" for row in ARCHITECTURES)
        raise CheckpointError(f"{source}: architecture is {str(name)[:60]!r}, expected timm's {known}.")
    inner = content.get(_CFG)
    settings = {**content, **(inner if isinstance(inner, Mapping) else {})}  # older files have them at the top
    try:
        return TimmConfig(_labels(settings), _preprocess(settings))
    except UsageError as error:
        raise CheckpointError(f"{source}: {error}; correct that file or say it: --resize, --crop, --resample") from None


def _labels(settings: Mapping[str, object]) -> tuple[str, ...] | None:
    names, described = settings.get("label_names"), settings.get("label_descriptions")
    if names is None and isinstance(by_index := settings.get("id2label"), Mapping):  # of transformers' TimmWrapper
        names = [by_index.get(str(i)) for i in range(len(by_index))]
    if names is None:
        return None
    if not (isinstance(names, Sequence) and not isinstance(names, str) and names):
        raise UsageError(f"label_names is {str(names)[:60]!r}, expected a list of names")
    texts = described if isinstance(described, Mapping) else {}
    return tuple(str(texts.get(name, name)) for name in names)


def _preprocess(settings: Mapping[str, object]) -> PreprocessSpec:
    height, width = _input_size(settings.get("input_size"))
    share, mode = settings.get("crop_pct", 0.875), settings.get("crop_mode") or "center"
    if not (isinstance(share, int | float) and not isinstance(share, bool) and 0.1 <= share <= 1):
        raise UsageError(f"crop_pct is {share!r}, expected a number of 0.1 to 1")
    word = settings.get("interpolation", "bicubic")
    if word not in _FILTERS:
        raise UsageError(f"interpolation is {word!r}, expected bilinear or bicubic")
    grown = math.floor(height / share), math.floor(width / share)
    if mode == "squash":
        shortest, exact = None, grown
    elif mode == "center" and height == width:
        shortest, exact = grown[0], None
    else:
        raise UsageError(f"crop_mode is {mode!r} with {height}x{width} pixels, expected squash, or center and a square")
    return PreprocessSpec(
        image_size=(height, width),
        resize_shortest=shortest,
        resize_exact=exact,
        resample=_FILTERS[word],
        channel_order="RGB",
        mean=as_triple("mean", settings.get("mean", _MEAN)),
        std=as_triple("std", settings.get("std", _STD)),
    )


def _input_size(size: object) -> tuple[int, int]:
    if isinstance(size, Sequence) and len(size) == 3 and size[0] == 3 and all(type(edge) is int for edge in size):
        return size[1], size[2]
    raise UsageError(f"input_size is {str(size)[:60]}, expected [3, height, width]")
