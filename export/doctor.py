"""What this machine has of everything that mvit2 can use, and how to get what is missing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from mvit2.export.apps.web_engines import engines_folder
from mvit2.runtime.accelerators.table import ACCELERATORS
from mvit2.runtime.machine import cpu_name, usable_cores
from mvit2.versions import VERSION, installed

from .formats import FORMATS, libraries_of

__all__ = ["Ability", "Examination", "examine"]

# What figures and files depend on; the rest of an environment is in `pip list`.
_PACKAGES = (
    *("numpy", "pillow", "torch", "safetensors", "huggingface_hub", "transformers", "timm"),
    *("onnx", "onnxruntime", "onnxsim", "onnx2tf", "tensorflow", "ai-edge-litert", "flatbuffers"),
    *("typer", "rich", "jinja2", "matplotlib", "opencv-python", "opencv-python-headless", "ray"),
    *("pillow-heif", "ethos-u-vela", "onnxruntime-qnn", "mediapipe"),
)
_ENGINES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"ONNX Runtime": ("onnxruntime", "ort"), "LiteRT": ("ai_edge_litert", "litert")}
)
_EXTRAS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "videos and cameras": ("cv2", "opencv"),
        "evaluation on a cluster": ("ray", "ray"),
        "checkpoints of torch": ("torch", "export"),
        "report pages": ("jinja2", "export"),
    }
)
_CPU_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
)


@dataclass(frozen=True)
class Ability:
    """Something that is there, or what it lacks: ``missing`` says how to get it, None: it is there."""

    name: str
    missing: str | None


@dataclass(frozen=True)
class Examination:
    """What ``mvit2 doctor`` tells.

    Attributes:
        system: key -> value: versions of mvit2, Python and the system, processor, cores, memory.
        packages: package -> version, of those that are installed.
        abilities: engines, formats, accelerators and the rest.
        cache: what is kept outside bundles -> its folder.
        environment: variables that change what is done.
    """

    system: Mapping[str, str]
    packages: Mapping[str, str]
    abilities: tuple[Ability, ...]
    cache: Mapping[str, str]
    environment: Mapping[str, str]


def examine() -> Examination:
    """Takes a second or two; nothing is run or fetched."""
    return Examination(_system(), installed(_PACKAGES), tuple(_abilities()), _cache(), _environment())


def _system() -> dict[str, str]:
    flags = _flags()
    return {
        "mvit2": VERSION,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {platform.machine()}",
        "processor": cpu_name(),
        "instruction sets": " ".join(flag for flag in _CPU_FLAGS if flag in flags) or "unknown here",
        "cores": f"{usable_cores()} of {os.cpu_count() or 1}",
        "memory": _memory(),
    }


def _flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    named = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return set(next(named, "").split())


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # Windows, or a system that does not say
        return "unknown here"
    return f"{total / 2**30:.1f} GiB"


def _abilities() -> list[Ability]:
    found = [Ability(f"engine {name}", _lacks(module, extra)) for name, (module, extra) in _ENGINES.items()]
    for row in FORMATS.values():
        absent = [module for module in libraries_of((row.name,)) if find_spec(module) is None]
        found.append(Ability(f"export to {row.title}", _advice(", ".join(absent), row.extra) if absent else None))
    found += [Ability(f"accelerator {row.name}", row.missing()) for row in ACCELERATORS.values()]
    found += [Ability(what, _lacks(module, extra)) for what, (module, extra) in _EXTRAS.items()]
    heif = None if find_spec("pillow_heif") else "no pillow_heif: pip install pillow-heif"
    page = None if engines_folder().is_dir() else "not fetched yet: mvit2 serve --fetch-only"
    return [*found, Ability("HEIC images", heif), Ability("engines of the page in the browser", page)]


def _lacks(module: str, extra: str) -> str | None:
    return None if find_spec(module) is not None else _advice(module, extra)


def _advice(modules: str, extra: str) -> str:
    return f"no {modules}: pip install 'mvit2[{extra}]'"


def _cache() -> dict[str, str]:
    hub = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"), "hub"
    )
    return {"checkpoints of the hub": hub, "engines of the page": str(engines_folder())}


def _environment() -> dict[str, str]:
    names = ("HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "RAY_ADDRESS", "XDG_CACHE_HOME", "COLUMNS", "NO_COLOR")
    return {name: os.environ[name] for name in names if name in os.environ}
