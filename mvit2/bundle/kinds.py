"""The kinds of a bundle's model files, and what a path is that is not a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

__all__ = [
    "MANIFEST",
    "PREFERRED_ENGINES",
    "SUFFIXES",
    "WEIGHTS",
    "Engine",
    "Precision",
    "is_checkpoint",
    "no_bundle",
    "precision_named",
]

MANIFEST = "manifest.json"
Engine = Literal["onnxruntime", "litert"]
Precision = Literal["float32", "float16", "dynamic", "int8", "full-int8"]
PREFERRED_ENGINES: tuple[Engine, ...] = ("litert", "onnxruntime")  # where a bundle has files for both
_ALSO_CALLED: Mapping[str, Precision] = MappingProxyType(
    {"fp32": "float32", "fp16": "float16", "half": "float16", "full_int8": "full-int8"}
)
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar")  # .tar: model_best.pth.tar
SUFFIXES: Mapping[Engine, tuple[str, ...]] = {"onnxruntime": (".onnx", ".ort"), "litert": (".tflite",)}


def precision_named(word: str) -> Precision | None:
    """The precision that ``word`` is, or is an alias of, such as "int8" or "fp16"; None: it is no such word."""
    return next((p for p in get_args(Precision) if p == word), _ALSO_CALLED.get(word))


def no_bundle(path: Path) -> str:
    """What ``path`` is instead, and what to do."""
    parent, suffix = path.parent, path.suffix.lower()
    is_model = suffix in {known for suffixes in SUFFIXES.values() for known in suffixes}
    if is_model and os.path.isfile(parent / MANIFEST):
        if not os.path.exists(path):
            held = ", ".join(sorted(p.name for p in parent.iterdir() if p.suffix == suffix)) or f"no {suffix} file"
            return f"{path} does not exist. The bundle {parent} holds: {held}."
        return f"{path} is one model file of a bundle; name the bundle, and the file by --artifact {path.name}."
    if not os.path.exists(path):
        return f"{path} does not exist: no {MANIFEST}. Make a bundle with: mvit2-export"
    if is_model:
        return f"{path} is a model file that lies in no bundle; mvit2 info FILE and mvit2 bench --against FILE take it."
    if is_checkpoint(path):
        return f"{path} is a checkpoint, not a bundle; export it first: mvit2-export --weights {path}"
    state = "holds no" if os.path.isdir(path) else "is no folder with a"
    return f"{path} {state} {MANIFEST}. Make a bundle with: mvit2-export. In a command the bundle comes first."


def is_checkpoint(path: Path) -> bool:
    """By its names alone: a file of weights, or a folder with one."""
    if path.suffix.lower() in WEIGHTS:
        return os.path.isfile(path)
    try:
        return not os.path.isfile(path / MANIFEST) and any(p.suffix.lower() in WEIGHTS for p in path.iterdir())
    except OSError:  # no folder, or one that may not be listed
        return False
