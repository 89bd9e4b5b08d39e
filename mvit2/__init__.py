"""mvit2: a MobileViT or MobileViTV2 checkpoint in, a verified folder for Android or iOS out.

>>> bundle = mvit2.export_bundle("apple/mobilevitv2-1.0-imagenet1k-256", output="build")
>>> mvit2.load(bundle.path).predict("coffee.jpg")

Importing this package loads neither torch nor tensorflow nor onnx; each is imported where it is needed.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from .errors import (
    BundleError,
    CheckFailed,
    CheckpointError,
    ConversionError,
    ImageError,
    MissingEngineError,
    Mvit2Error,
    OutputError,
    UsageError,
)
from .versions import VERSION as __version__

if TYPE_CHECKING:
    from mvit2.export.export_bundle import export_bundle
    from mvit2.network.architectures import list_variants
    from mvit2.runtime.bundle import Bundle
    from mvit2.runtime.open import open_bundle as load

__all__ = [
    "Bundle",
    "BundleError",
    "CheckFailed",
    "CheckpointError",
    "ConversionError",
    "ImageError",
    "MissingEngineError",
    "Mvit2Error",
    "OutputError",
    "UsageError",
    "__version__",
    "export_bundle",
    "list_variants",
    "load",
]

# Where a name is at home; its module is imported when the name is first asked for.
_HOMES = MappingProxyType(
    {
        "Bundle": "mvit2.runtime.bundle.Bundle",
        "export_bundle": "mvit2.export.export_bundle.export_bundle",
        "list_variants": "mvit2.network.architectures.list_variants",
        "load": "mvit2.runtime.open.open_bundle",
    }
)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mvit2' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].rpartition(".")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
