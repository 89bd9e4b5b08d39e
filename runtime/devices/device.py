"""What a device says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Cluster", "Device", "DeviceFacts"]


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind: how many, and their highest clock in MHz; None where the system does not say."""

    cores: int
    max_mhz: float | None


@dataclass(frozen=True)
class DeviceFacts:
    """What is read off a device at one moment. None stands for "unknown here", and an empty tuple for "none known".

    Attributes:
        model: of the device, such as a board's or a phone's.
        chip: of its processor.
        system: operating system and instruction set.
        clusters: its cores, the fastest kind first.
        usable_cores: how many this process may run on.
        temperature: the hottest zone's, in degrees Celsius.
        load: processes that want to run, over the last minute.
        governor: of the cores' clocks; several are joined.
    """

    model: str
    chip: str
    system: str
    clusters: tuple[Cluster, ...]
    usable_cores: int
    temperature: float | None
    load: float | None
    governor: str | None


class Device(Protocol):
    """Something that runs models. Raises Mvit2Error where it cannot be reached."""

    name: str

    def facts(self) -> DeviceFacts:
        """Read now."""
        ...

    def unfit(self) -> str | None:
        """Why its figures would not be believed, in a sentence; None: nothing speaks against them."""
        ...
