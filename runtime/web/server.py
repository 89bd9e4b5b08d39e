"""A small web server for one bundle: the page that runs it, the engines, the model files. Read-only, for this machine.

A request names a key of a fixed table, and nothing else is ever opened: there are no paths to escape by. What is sent
has the sha256 that it had when the server began, which for files of the bundle is the manifest's. Files are sent piece
by piece, headers are short and connections are counted, so a server's memory does not grow with what is asked of it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

from mvit2.errors import Mvit2Error, UsageError

from .connections import Connections, most_connections
from .served import Served

__all__ = ["BundleServer", "is_loopback"]


# Threads of WebAssembly need an isolated page, its compiler 'wasm-unsafe-eval'; images are shown from blobs.
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # ask every time, by the ETag: another bundle may be here tomorrow
}
_PORTS_TRIED = 50
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_PIECE = 1 << 16  # bytes of a file that a connection holds at a time
_LONGEST_HEAD = 1 << 14  # bytes of a request's line and headers; the standard library would hold 6 MB of them
_BREATH = 0.1  # seconds of rest where no descriptor is left: the listening socket stays ready, so the loop would spin
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BundleServer(ThreadingTCPServer):
    """Listens as soon as it is made; ``serve_forever`` answers.

    Args:
        files: URL path -> file, of ``page_files`` and ``bundle_files``.
        host: an address of this machine, or a name of one.
        port: 0 takes any that is free.

    Raises:
        UsageError: no port; Mvit2Error: the port is taken, the host is none of this machine's.
    """

    daemon_threads = True
    request_queue_size = 256  # browsers and tests open many at once
    allow_reuse_address = os.name != "nt"  # Windows would let two servers share the port

    def __init__(self, files: Mapping[str, Served], host: str, port: int) -> None:
        if not 0 <= port <= 65535:
            raise UsageError(f"--port is {port}, accepted: 0 to 65535; 0 takes any that is free.")
        self.files, self.host = files, host
        self.connections = Connections(most_connections())
        self.address_family = _family(host)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise _cannot_listen(error, host, port, self.address_family) from None

    @property
    def url(self) -> str:
        """For a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_address[1]}/"

    def answers_to(self, host: str | None) -> bool:
        """A page elsewhere whose name somebody points at this machine (DNS rebinding) comes with that name."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in ("localhost", self.host.lower()) or _is_address(name)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self.connections.make_room()
                time.sleep(_BREATH)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.admit(request):
            self._refuse(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread is left to answer with
            self._refuse(request)

    def _refuse(self, request: socket.socket) -> None:
        with suppress(OSError):  # it has left; a fresh connection takes these few bytes without waiting
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def close_request(self, request: Any) -> None:
        self.connections.gone(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # the browser went away in the middle
            super().handle_error(request, client_address)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError):
        raise Mvit2Error(
            f"--host {host[:80]!r} is no address or name of this machine; accepted: 127.0.0.1, or 0.0.0.0 for all."
        ) from None


def _cannot_listen(error: OSError, host: str, port: int, family: int) -> Mvit2Error:
    if error.errno == errno.EADDRINUSE:
        free = next((n for n in range(port + 1, min(port + _PORTS_TRIED, 65536)) if _is_free(host, n, family)), 0)
        return Mvit2Error(f"port {port} of {host} is taken; this one is free: --port {free}")
    if error.errno == errno.EACCES:
        return Mvit2Error(f"port {port} of {host} is not for every user; choose one above 1023: --port 8000")
    return Mvit2Error(f"--host {host} --port {port}: {error.strerror or error}; accepted: addresses of this machine.")


def _is_free(host: str, port: int, family: int) -> bool:
    with socket.socket(family) as trial:
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


class _Head(io.BufferedIOBase):
    """The reader of a connection, of which only ``readline`` is used; ``left`` is what a request may still say."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream, self.left = stream, _LONGEST_HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        """Raises LineTooLong, which is answered with 431."""
        if self.left <= 0:
            raise LineTooLong("request")
        line = self._stream.readline(self.left if size is None or size < 0 else min(size, self.left))
        self.left -= len(line)
        return line

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of what is in the server's table."""

    server: BundleServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a silent connection is kept
    disable_nagle_algorithm = True  # else the end of each answer waits 40 ms for an acknowledgement
    wbufsize = _PIECE  # headers and a small file leave in one packet
    server_version, sys_version = "mvit2", ""
    error_message_format, error_content_type = "%(message)s\n", "text/plain; charset=utf-8"

    def setup(self) -> None:
        super().setup()
        self.rfile = self._head = _Head(self.rfile)

    def handle_one_request(self) -> None:
        self._head.left = _LONGEST_HEAD
        super().handle_one_request()

    def finish(self) -> None:
        with suppress(OSError):  # what is left to say has nobody to hear it
            super().finish()
        self.rfile.close()

    def parse_request(self) -> bool:
        if not self._head.left:
            self.requestline = self.request_version = self.command = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            return False
        parsed = super().parse_request()
        self.server.connections.progressed(self.connection)
        return parsed

    def do_GET(self) -> None:
        found = self._found()
        if found is None:
            return
        if found.tag in self.headers.get("If-None-Match", ""):
            self._begin(HTTPStatus.NOT_MODIFIED, found)
            return
        try:
            with found.open() as stream:
                self._give(found, stream)
        except OSError as error:
            if error.filename is None:  # not of the file: the browser went away in the middle
                raise
            self._refuse_file(found, error)

    def _give(self, found: Served, stream: io.BufferedIOBase) -> None:
        if not found.fits(stream):
            self._refuse_file(found)
            return
        length = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        self._begin(HTTPStatus.OK, found, length)
        if self.command == "GET":
            self._send(found, stream, length)

    def _send(self, found: Served, stream: io.BufferedIOBase, length: int) -> None:
        """Piece by piece; the last one only where the whole has the hash, so that nobody takes anything else for it."""
        digest, left = hashlib.sha256(), length
        while left:
            piece = stream.read(min(_PIECE, left))
            digest.update(piece)
            left -= len(piece)
            if not piece or (not left and digest.hexdigest() != found.sha256):
                self.close_connection = True  # it was changed while it was sent; too late to say so
                return
            self.wfile.write(piece)
            self.server.connections.progressed(self.connection)

    def _refuse_file(self, found: Served, error: OSError | None = None) -> None:
        if error is not None and error.errno in _NO_DESCRIPTORS:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many files are open; ask again")
            return
        message = f"{found.path.name} was changed since the server began; start mvit2 serve again"
        self.send_error(HTTPStatus.CONFLICT, message)

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not accepted, GET and HEAD are")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _found(self) -> Served | None:
        if not self.server.answers_to(self.headers.get("Host")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"open {self.server.url} instead")
            return None
        found = self.server.files.get(self.path.partition("?")[0])
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such file here")
        return found

    def _begin(self, status: HTTPStatus, found: Served, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("ETag", found.tag)
        if length is not None:
            self.send_header("Content-Type", found.media_type)
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it, and a terminal has the address on its last line."""
