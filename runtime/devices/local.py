"""The machine that this runs on, as Linux describes it in /proc and /sys; elsewhere less is known."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path

from mvit2.runtime.machine import cpu_name, usable_cores

from .device import Cluster, DeviceFacts

__all__ = ["LocalDevice"]

_HOTTEST = 90.0  # degrees Celsius; chips slow down from here on
_BUSY = 0.5  # of the usable cores, wanted by others


class LocalDevice:
    """``root`` is where /proc and /sys hang."""

    name = "local"

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def facts(self) -> DeviceFacts:
        return DeviceFacts(
            model=self._model(),
            chip=cpu_name(),
            system=f"{platform.system()} {platform.machine()}",
            clusters=self._clusters(),
            usable_cores=usable_cores(),
            temperature=self._temperature(),
            load=_number(self._text("proc/loadavg").partition(" ")[0]),
            governor=self._governor(),
        )

    def unfit(self) -> str | None:
        found = self.facts()
        if found.temperature is not None and found.temperature >= _HOTTEST:
            return f"it is {found.temperature:.0f} degrees hot, and slows down: let it cool below {_HOTTEST:.0f}"
        if found.load is not None and found.load > _BUSY * found.usable_cores:
            return f"{found.load:.1f} processes want its {found.usable_cores} cores: end other programs"
        if found.governor is not None and "powersave" in found.governor.split(", "):
            return "its clocks are held down by the governor powersave: choose performance"
        return None

    def _model(self) -> str:
        told = (self._text(path) for path in ("proc/device-tree/model", "sys/class/dmi/id/product_name"))
        return next((text for text in told if text), "") or platform.node() or "unknown"

    def _clusters(self) -> tuple[Cluster, ...]:
        cores = sorted(self._root.glob("sys/devices/system/cpu/cpu[0-9]*"))
        clocks = Counter(_number(_read(core / "cpufreq/cpuinfo_max_freq")) for core in cores)
        if not clocks:
            return (Cluster(os.cpu_count() or 1, None),)
        known = sorted(clocks.items(), key=lambda one: -(one[0] or 0))
        return tuple(Cluster(count, None if clock is None else clock / 1000) for clock, count in known)

    def _temperature(self) -> float | None:
        zones = (_number(_read(zone)) for zone in self._root.glob("sys/class/thermal/thermal_zone*/temp"))
        return max((zone / 1000 for zone in zones if zone is not None), default=None)

    def _governor(self) -> str | None:
        files = self._root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
        return ", ".join(sorted({_read(file) for file in files} - {""})) or None

    def _text(self, path: str) -> str:
        return _read(self._root / path)


def _read(file: Path) -> str:
    """One line of text; "" where there is none that may be read."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " ".join(text.replace("\0", " ").split())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
