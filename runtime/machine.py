"""The machine that the work runs on: its cores and its name."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["cpu_name", "our_cores", "usable_cores"]


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(our_cores()) or os.cpu_count() or 1


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "unknown"


def our_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
