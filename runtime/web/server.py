"""A small web server for one bundle: the page that runs it, the engines, the model files. Read-only, for this machine.

A request names a key of a fixed table, and nothing else is ever opened: there are no paths to escape by. What is sent
has the sha256 that it had when the server began, which for files of the bundle is the manifest's.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

from mvit2.bundle.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    manifest_text,
    read_labels,
    read_manifest,
    record,
    verified_artifact,
    verified_path,
)
from mvit2.errors import Mvit2Error, UsageError

__all__ = ["PAGE", "BundleServer", "Served", "bundle_files", "is_loopback", "page_files"]

PAGE = Path(__file__).parent / "page"
_SOURCES = Path(__file__).parents[1] / "sources" / "js"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
}
_BINARY = "application/octet-stream"

# Threads of WebAssembly need an isolated page, its compiler 'wasm-unsafe-eval'; pictures are shown from blobs.
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


@dataclass(frozen=True)
class Served:
    """A file, and what it held when the server began."""

    path: Path
    sha256: str
    content: bytes | None = None  # what is sent in its place: a manifest brought to the present schema

    @property
    def media_type(self) -> str:
        return _TYPES.get(self.path.suffix, _BINARY)

    @property
    def tag(self) -> str:
        return f'"{self.sha256}"'

    def read(self) -> bytes | None:
        """None where it is no longer the file that it was."""
        if self.content is not None:
            return self.content
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == self.sha256 else None


def bundle_files(bundle: Path) -> dict[str, Served]:
    """URL path -> file, of what the manifest lists.

    Raises BundleError: no bundle, damaged, changed, of another schema, labels that do not fit.
    """
    manifest = read_manifest(bundle)
    read_labels(bundle, manifest)
    found = {f"/bundle/{MANIFEST}": _manifest(bundle, manifest)}
    for file in manifest.files:
        found[f"/bundle/{file.path}"] = Served(verified_path(bundle, file), file.sha256)
    for artifact in manifest.artifacts:
        verified_artifact(bundle, artifact)
        found.update((f"/bundle/{part.path}", _served(bundle, part)) for part in artifact.parts)
    return found


def _manifest(bundle: Path, manifest: Manifest) -> Served:
    """The file; of an older schema, which the page does not read, what it is today."""
    held = _served(bundle, record(bundle, MANIFEST))
    if json.loads(held.path.read_text(encoding="utf-8"))["schema_version"] == SCHEMA_VERSION:
        return held
    content = manifest_text(manifest).encode()
    return replace(held, sha256=hashlib.sha256(content).hexdigest(), content=content)


def page_files(engines: Path) -> dict[str, Served]:
    """URL path -> file, of the page, our sources, and the engines in a folder of theirs."""
    places = {"/": PAGE, "/mvit2/": _SOURCES, "/engines/": engines}
    found = {at + file.path: _served(folder, file) for at, folder in places.items() for file in _ours(folder)}
    return {**found, "/": found["/index.html"]}


def _ours(folder: Path) -> Iterator[FileRecord]:
    for path in sorted(folder.rglob("[!.]*")):
        if path.suffix in _TYPES and path.is_file():
            yield record(folder, path.relative_to(folder).as_posix())


def _served(folder: Path, file: FileRecord) -> Served:
    return Served(folder / file.path, file.sha256)


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
    allow_reuse_address = os.name != "nt"  # Windows would let two servers share the port

    def __init__(self, files: Mapping[str, Served], host: str, port: int) -> None:
        if not 0 <= port <= 65535:
            raise UsageError(f"--port is {port}, accepted: 0 to 65535; 0 takes any that is free.")
        self.files, self.host = files, host
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


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of what is in the server's table."""

    server: BundleServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a silent connection is kept
    server_version, sys_version = "mvit2", ""
    error_message_format, error_content_type = "%(message)s\n", "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        found = self._found()
        if found is None:
            return
        if found.tag in self.headers.get("If-None-Match", ""):
            self._begin(HTTPStatus.NOT_MODIFIED, found)
            return
        content = found.read()
        if content is None:
            message = f"{found.path.name} was changed since the server began; start mvit2 serve again"
            self.send_error(HTTPStatus.CONFLICT, message)
            return
        self._begin(HTTPStatus.OK, found, len(content))
        if self.command == "GET":
            self.wfile.write(content)

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
