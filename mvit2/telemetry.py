"""Libraries that report their use to their makers are told not to."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["no_telemetry"]


def no_telemetry(environment: MutableMapping[str, str] | None = None) -> None:
    """Keep ONNX Runtime from reporting to its maker, which 1.31 does on Linux too; before its first import.

    A user's own setting of the variable wins.

    Args:
        environment: of a process to be started; by default this process's.
    """
    (os.environ if environment is None else environment).setdefault("ORT_DISABLE_TELEMETRY", "1")
