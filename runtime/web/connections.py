"""The connections of a server: so many at once, and when there is no room, the most idle one makes some."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress

__all__ = ["Connections", "most_connections"]

_MOST = 256  # a thread and a buffer each
_SPARED = 20  # descriptors for what is no connection: the bundle's files, the listening socket, stdio
_IDLE = 2.0  # seconds without a request or a read after which a connection may have to go


def most_connections() -> int:
    """How many fit: a connection needs two descriptors, the second for the file that it is sent."""
    if sys.platform == "win32":
        return _MOST
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return _MOST
    return max(4, min(_MOST, (allowed - _SPARED) // 2))


class Connections:
    """The open ones, each with the time of its last progress: a request that was read, a piece that was taken."""

    def __init__(self, most: int, idle: float = _IDLE) -> None:
        self._most, self._idle = most, idle
        self._progress: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def admit(self, connection: socket.socket) -> bool:
        """False where there is no room, and nobody idle to make some."""
        with self._lock:
            if len(self._progress) >= self._most and not self._close_idlest(self._idle):
                return False
            self._progress[connection] = time.monotonic()
            return True

    def progressed(self, connection: socket.socket) -> None:
        with self._lock:
            if connection in self._progress:
                self._progress[connection] = time.monotonic()

    def gone(self, connection: socket.socket) -> None:
        with self._lock:
            self._progress.pop(connection, None)

    def make_room(self) -> None:
        """Close the idlest one, however short it has been idle: the process is out of descriptors."""
        with self._lock:
            self._close_idlest(0)

    def _close_idlest(self, idle: float) -> bool:
        connection = min(self._progress, key=self._progress.__getitem__, default=None)
        if connection is None or time.monotonic() - self._progress[connection] < idle:
            return False
        del self._progress[connection]
        with suppress(OSError):  # its thread closed it in this moment
            connection.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
        return True
