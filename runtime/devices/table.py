"""Which devices there are: a row for each kind, which finds those that can be reached now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from .device import Device
from .local import LocalDevice

__all__ = ["DEVICES", "reachable"]

DEVICES: Final[Mapping[str, Callable[[], Sequence[Device]]]] = MappingProxyType({"local": lambda: (LocalDevice(),)})
"""Kind, as it is typed -> its devices."""


def reachable() -> tuple[Device, ...]:
    """Of every kind, in the table's order."""
    return tuple(device for find in DEVICES.values() for device in find())
