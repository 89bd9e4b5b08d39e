"""As much of a Hugging Face hub as its client asks for when it fetches single files, on this machine alone.

The client is the real huggingface_hub. It reads where the hub and its cache are from the environment at import, so
whoever talks to this server does so in a process of its own, with the environment from ``client_environment``.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    files: dict[str, bytes]
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)
    token: str | None = None  # private: readable with this token only


@dataclass
class Hub:
    """A running server. Tests change its fields between requests; ``requests`` is what the client has asked for.

    Attributes:
        status: where not None, the status of every answer, without any of the hub's own headers.
        slam: close every connection without an answer.
        html: answer everything with 200 and a page, as the login page of a hotel's network does.
        broken: file name -> how often its download still breaks in the middle; negative: abruptly and always.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    status: int | None = None
    slam: bool = False
    html: bool = False
    broken: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Hub:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody listens at ``url`` any more; stopping twice is fine."""
        self._server.shutdown()
        self._server.server_close()

    def asked(self) -> list[tuple[str, str]]:
        """(method, file) since the last call, without the list of agents that the client itself asks for."""
        seen = [(method, path.rsplit("/", 1)[1]) for method, path in self.requests if "/api/agent" not in path]
        self.requests.clear()
        return seen


def client_environment(endpoint: str, home: Path) -> dict[str, str]:
    """This process's environment with that hub, a cache below ``home``, and nothing that leads anywhere else."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    ours.pop("HUGGINGFACE_HUB_CACHE", None)
    ours.pop("TRANSFORMERS_OFFLINE", None)
    return {**ours, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        hub.requests.append((self.command, self.path))
        if hub.slam:
            self.close_connection = True
        elif hub.status is not None:
            self._send(hub.status, b"")
        elif hub.html:
            self._send(200, b"<html>log in to use this network</html>", {"Content-Type": "text/html", "ETag": '"page"'})
        elif "/resolve/" in self.path:
            self._resolve(*self.path.strip("/").split("/resolve/"))
        else:
            self._send(200, b"{}")

    def _resolve(self, name: str, rest: str) -> None:
        revision, file = rest.split("/", 1)
        repository = self.server.hub.repositories.get(name)
        if repository is None:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            return self._send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if revision not in (*repository.branches, repository.commit):
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        commit = {"X-Repo-Commit": repository.commit}
        if file not in repository.files:
            return self._send(
                404, b"", {**commit, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            )
        return self._file(file, repository.files[file], commit)

    def _file(self, file: str, content: bytes, headers: dict[str, str]) -> None:
        headers = {**headers, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        breaks = self.server.hub.broken.get(file, 0) if self.command == "GET" else 0
        if breaks:
            self.server.hub.broken[file] = breaks - 1
        self._send(206 if start else 200, content[start:], headers, broken=breaks)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, broken: int = 0) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: len(body) // 2] if broken else body)
        if broken:
            self.close_connection = True
        if broken < 0:  # a reset instead of an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
