"""``mvit2 devices``: what models can be measured on here, and what speaks against believing its figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json, Quiet

if TYPE_CHECKING:
    from mvit2.runtime.devices.device import DeviceFacts

__all__ = ["devices"]


def devices(quiet: Quiet = False, json: Json = False) -> None:
    screen.configure(quiet, json)
    from mvit2.runtime.devices.table import reachable

    found = [(device.name, device.facts(), device.unfit()) for device in reachable()]
    columns = ("device", "model", "chip", "cores", "now", "fit to measure on")
    rows = [(name, f.model, f.chip, _cores(f), _now(f), why or "yes") for name, f, why in found]
    screen.table("devices", columns, rows)
    screen.json({"devices": [{"name": name, **asdict(facts), "unfit": why} for name, facts, why in found]})
    screen.result("next: mvit2 bench BUNDLE")


def _cores(facts: DeviceFacts) -> str:
    kinds = (f"{c.cores}" if c.max_mhz is None else f"{c.cores} at {c.max_mhz / 1000:.1f} GHz" for c in facts.clusters)
    return " + ".join(kinds)


def _now(facts: DeviceFacts) -> str:
    said = [
        None if facts.temperature is None else f"{facts.temperature:.0f} °C",
        None if facts.load is None else f"load {facts.load:.1f}",
        facts.governor,
    ]
    return ", ".join(word for word in said if word) or "unknown"
