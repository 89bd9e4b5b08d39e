"""A Ray cluster, joined where it is or started for one command."""

from __future__ import annotations

import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mvit2.errors import MissingEngineError, Mvit2Error, UsageError

__all__ = ["checked_address", "cluster", "cpus"]

LOCAL = "local"
_CONNECT_SECONDS = 5
_OBJECT_STORE_BYTES = 100 << 20  # beside what is asked for; Ray takes no less than 75 MiB
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")


def checked_address(address: str | None) -> str:
    """The given one, else RAY_ADDRESS, else "local". Raises UsageError."""
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    known = _ADDRESS.fullmatch(address)
    if address not in (LOCAL, "auto") and not (known and 0 < int(known["port"]) < 1 << 16):
        raise UsageError(
            f"the Ray cluster's address is {address[:80]!r}, accepted: HOST:PORT of its head, such as 10.0.0.1:6379, "
            "or auto, on a machine that is part of it."
        )
    return address


@contextmanager
def cluster(address: str, processes: int, size: int) -> Iterator[int]:
    """Joined, or started for ``processes`` and models of ``size`` bytes: its number of CPUs. Raises Mvit2Error."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # this and the next, Ray reads when it is imported
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error"}
    with tempfile.TemporaryDirectory(prefix="mvit2-", dir=_short_folder(), ignore_cleanup_errors=True) as folder:
        if address == LOCAL:
            os.environ |= _alone()
            options |= {"num_cpus": processes, "object_store_memory": _OBJECT_STORE_BYTES + 2 * size}
            options |= {"include_dashboard": False, "_temp_dir": folder}
        else:
            _probe_head_node(address)
        ray = _imported()
        try:
            ray.init(**options)
        except (Exception, SystemExit) as error:
            raise _no_cluster(address, error) from None
        try:
            yield cpus()
        finally:
            ray.shutdown()


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingEngineError("ray", "ray") from None
    return ray


def _short_folder() -> str | None:
    """Ray makes sockets below, and the path of a socket has 107 bytes at most."""
    return "/tmp" if os.path.isdir("/tmp") else None


def _alone() -> dict[str, str]:
    """The environment of a cluster of our own: it listens on loopback only, and to who knows its password only."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too, it means: one machine, so loopback will do
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def _probe_head_node(address: str) -> None:
    """Ray itself tries for two minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: BaseException) -> Mvit2Error:
    reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
    if address == LOCAL:
        return Mvit2Error(f"Ray does not start here ({reason}); do without --executor ray, or try fewer --processes.")
    return Mvit2Error(
        f"no Ray cluster can be joined at {address} ({reason}); accepted: a cluster that this machine is part of; "
        "start it with ray start, or leave --address and RAY_ADDRESS out."
    )


def cpus() -> int:
    """Of the cluster, as it is now. Raises Mvit2Error where none is left."""
    import ray

    found = int(ray.cluster_resources().get("CPU", 0))
    if not found:
        raise Mvit2Error("the Ray cluster has no CPU left (0); accepted: 1 or more; add a node, and run it again.")
    return found
