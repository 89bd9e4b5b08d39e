"""The server of ``mvit2 serve``, without a browser: what it gives and what it refuses."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socketserver import TCPServer
from types import ModuleType

import pytest

from mvit2.bundle.manifest import read_manifest
from mvit2.errors import BundleError
from mvit2.runtime.web.connections import Connections
from mvit2.runtime.web.served import bundle_files, page_files
from mvit2.runtime.web.server import BundleServer, is_loopback

Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., tuple[http.client.HTTPResponse, bytes]]
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the engines: the server gives whatever kind of file it knows."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "litert").mkdir()
    for name in ("litert/a.wasm", "litert/index.js", "litert/.hidden.js", "litert/secret.key"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture(scope="module")
def served(demo_bundle: Path, engines: Path) -> Iterator[BundleServer]:
    with BundleServer({**page_files(engines), **bundle_files(demo_bundle)}, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(served: BundleServer) -> Ask:
    """One request, its path and headers sent as they are."""

    def asked(path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        port = served.server_address[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    return asked


# ---- what is given ----


def test_every_file_of_the_bundle(ask: Ask, demo_bundle: Path) -> None:
    manifest = read_manifest(demo_bundle)
    listed = ["manifest.json", *(a.file.path for a in manifest.artifacts), *(f.path for f in manifest.files)]
    assert len(listed) > 10
    for path in listed:
        response, body = ask(f"/bundle/{path}")
        assert (response.status, body) == (200, (demo_bundle / path).read_bytes()), path


@pytest.mark.parametrize("output_kind", ["scores", "mask"])
def test_a_segmentation_network_s_bundle(output_kind: str, segments: ModuleType, tmp_path: Path) -> None:
    bundle = segments.write_bundle(tmp_path / "b", output_kind=output_kind)
    suffix = {"scores": "f32", "mask": "u8"}[output_kind]
    paths = {f"/bundle/{name}" for name in ("manifest.json", segments.MODEL, "labels.txt", "golden/golden.json")}
    assert paths | {f"/bundle/golden/{segments.MODEL}.{suffix}"} < set(bundle_files(bundle))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?again", "text/html; charset=utf-8"),
        ("/main.mjs", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/package.json", "application/json"),
        ("/mvit2/mvit2.mjs", "text/javascript; charset=utf-8"),
        ("/mvit2/classifier.mjs", "text/javascript; charset=utf-8"),
        ("/mvit2/segmenter.mjs", "text/javascript; charset=utf-8"),
        ("/engines/litert/a.wasm", "application/wasm"),
        ("/engines/litert/index.js", "text/javascript; charset=utf-8"),
        ("/bundle/labels.txt", "text/plain; charset=utf-8"),
        ("/bundle/golden/cat.png", "image/png"),
        ("/bundle/model_float32.tflite", "application/octet-stream"),
    ],
)
def test_kinds(path: str, kind: str, ask: Ask) -> None:
    response, body = ask(path)
    assert (response.status, response.headers["Content-Type"]) == (200, kind)
    assert body and int(response.headers["Content-Length"]) == len(body)
    head, nothing = ask(path, "HEAD")
    assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(body)))


@pytest.mark.parametrize(
    ("path", "method"), [("/", "GET"), ("/bundle/manifest.json", "HEAD"), ("/no", "GET"), ("/", "POST")]
)
def test_headers(path: str, method: str, ask: Ask) -> None:
    headers = ask(path, method)[0].headers
    assert {name: headers[name] for name in ISOLATED} == ISOLATED
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'" and policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert "Python" not in headers["Server"]


def test_what_the_browser_has_is_not_sent_again(ask: Ask) -> None:
    first, body = ask("/bundle/labels.txt")
    assert first.headers["ETag"] == f'"{hashlib.sha256(body).hexdigest()}"'
    again, nothing = ask("/bundle/labels.txt", If_None_Match=first.headers["ETag"])
    assert (again.status, nothing, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert ask("/bundle/labels.txt", If_None_Match='"another"')[0].status == 200


# ---- what is not ----


@pytest.mark.parametrize(
    "path",
    [
        *("/bundle", "/bundle/", "/bundle/golden", "/bundle/golden/", "/engines/", "/mvit2/"),  # no listing
        *("/../pyproject.toml", "/bundle/../index.html", "/bundle/..%2f..%2fetc/passwd", "/bundle/%2e%2e/main.mjs"),
        *("/bundle/..\\manifest.json", "/bundle//manifest.json", "/bundle/./manifest.json", "//etc/passwd"),
        *("/bundle/%6danifest.json", "/bundle/manifest.json/", "/bundle/manifest.json%00.png", "/BUNDLE/manifest.json"),
        *("/bundle/report.html", "/bundle/README.md"),  # in the folder, not in the manifest
        *("/.npmrc", "/engines/litert/.hidden.js", "/engines/litert/secret.key", "/mvit2/../serve.py", "/serve.py"),
        *("file:///etc/passwd", "http://[", "*"),
    ],
)
def test_nothing_else(path: str, ask: Ask, demo_bundle: Path) -> None:
    assert (demo_bundle / "report.html").is_file()
    response, body = ask(path)
    assert (response.status, body) == (404, b"there is no such file here\n")


@pytest.mark.parametrize(
    ("method", "status"),
    [*((method, 405) for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")), ("TRACE", 501), ("BREW", 501)],
)
def test_only_reading(method: str, status: int, ask: Ask) -> None:
    response, _ = ask("/bundle/manifest.json", method)
    assert response.status == status
    assert status != 405 or response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("127.0.0.1", "localhost", "LOCALHOST:8000", "[::1]:8000", "192.168.1.7:80")),
        *(
            (host, 421)
            for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "@")
        ),
        *((host, 421) for host in ("localhost@evil.example", "evil.example#localhost", "127.1", "0x7f000001")),
    ],
)
def test_a_name_that_points_here_is_refused(host: str, status: int, ask: Ask) -> None:
    """DNS rebinding: the browser believes to be elsewhere, and lets that page read what is here."""
    response, body = ask("/bundle/manifest.json", Host=host)
    assert response.status == status
    assert status == 200 or re.fullmatch(rb"open http://127\.0\.0\.1:\d+/ instead\n", body)


def test_a_changed_file_is_a_clear_answer(bundle: Path) -> None:
    with BundleServer(bundle_files(bundle), "localhost", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        (bundle / "labels.txt").write_text("another\n")
        connection = http.client.HTTPConnection("localhost", server.server_address[1], timeout=20)
        connection.request("GET", "/bundle/labels.txt")
        response = connection.getresponse()
        assert (response.status, response.read()) == (
            409,
            b"labels.txt was changed since the server began; start mvit2 serve again\n",
        )
        connection.close()
        server.shutdown()
        thread.join()


def _relabel(bundle: Path) -> None:
    (bundle / "labels.txt").write_text("another\n")


def _link(bundle: Path) -> None:
    (bundle / "labels.txt").rename(bundle.parent / "elsewhere.txt")
    (bundle / "labels.txt").symlink_to(bundle.parent / "elsewhere.txt")


@pytest.mark.parametrize(
    ("damage", "message"), [(_relabel, r"labels\.txt was changed"), (_link, r"labels\.txt leads out of the bundle")]
)
def test_a_damaged_bundle_is_not_served(damage: Callable[[Path], None], message: str, bundle: Path) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=message):
        bundle_files(bundle)


def test_a_silent_client_holds_nobody_up(served: BundleServer, ask: Ask) -> None:
    with socket.create_connection(served.server_address[:2]) as silent:  # type: ignore[arg-type]
        silent.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert ask("/")[0].status == 200


# ---- many of them, slow ones and hostile ones ----


def _open(server: BundleServer, path: str = "/bundle/labels.txt", buffer: int | None = None) -> socket.socket:
    """A connection that has sent one request."""
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect(server.server_address[:2])
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def _status(connection: socket.socket) -> bytes:
    return connection.recv(12)[9:]


def _has_ended(connection: socket.socket) -> bool:
    """Whether the server has closed it, after what it was sent."""
    connection.settimeout(0.3)
    with suppress(TimeoutError):
        while connection.recv(1 << 16):
            pass
        return True
    return False


def test_two_hundred_clients_at_once(served: BundleServer) -> None:
    with ExitStack() as closing:
        clients = [closing.enter_context(_open(served)) for _ in range(200)]
        assert {_status(client) for client in clients} == {b"200"}


def test_an_answer_does_not_wait_for_an_acknowledgement(served: BundleServer) -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms for each request."""
    connection = http.client.HTTPConnection("localhost", served.server_address[1], timeout=20)
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        connection.request("GET", "/bundle/labels.txt")
        connection.getresponse().read()
        seconds.append(time.perf_counter() - begun)
    connection.close()
    assert min(seconds) < 0.03


def test_slow_readers_hold_no_files(served: BundleServer) -> None:
    model = served.files["/bundle/model_float32.onnx"].path
    tracemalloc.start()
    with ExitStack() as closing:
        slow = [closing.enter_context(_open(served, f"/bundle/{model.name}", buffer=4096)) for _ in range(30)]
        assert {_status(client) for client in slow} == {b"200"}
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * 400_000 < 30 * model.stat().st_size


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: " + b"a" * 17_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + 17 * (b"X-A: " + b"a" * 1000 + b"\r\n") + b"\r\n", b"431"),
    ],
)
def test_a_request_says_little_of_itself(head: bytes, status: bytes, served: BundleServer) -> None:
    with socket.create_connection(("127.0.0.1", served.server_address[1]), timeout=20) as connection:
        connection.sendall(head)
        assert _status(connection) == status


@pytest.fixture
def small(demo_bundle: Path) -> Iterator[BundleServer]:
    """A server with room for two."""
    with BundleServer(bundle_files(demo_bundle), "127.0.0.1", 0) as server:
        server.connections = Connections(2, idle=0.3)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_there_is_room_for_so_many_and_the_idle_ones_make_some(small: BundleServer) -> None:
    with _open(small) as first, _open(small) as second:
        assert (_status(first), _status(second)) == (b"200", b"200")
        with _open(small) as refused:
            assert refused.recv(1000).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")
        time.sleep(0.4)
        with _open(small) as third:
            assert _status(third) == b"200"
            assert sorted(map(_has_ended, (first, second))) == [False, True]


def test_without_descriptors_it_waits_and_does_not_spin(small: BundleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def none_left(_: object) -> None:
        tried.append(time.monotonic())
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with _open(small) as idle:
        assert _status(idle) == b"200"
        monkeypatch.setattr(TCPServer, "get_request", none_left)
        with _open(small):
            time.sleep(0.5)
            assert 2 <= len(tried) <= 8
            monkeypatch.undo()
        while idle.recv(1 << 16):  # it made room
            pass
    with _open(small) as after:
        assert _status(after) == b"200"


def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(bundle: Path) -> None:
    with BundleServer(bundle_files(bundle), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        model = bundle / "model_float32.onnx"
        with _open(server, f"/bundle/{model.name}", buffer=4096) as slow:
            begun = len(slow.recv(4096))
            with model.open("r+b") as stream:
                stream.seek(-4, os.SEEK_END)
                stream.write(b"\x55\xaa\x55\xaa")
            received = begun
            while piece := slow.recv(1 << 20):
                received += len(piece)
        assert received < model.stat().st_size
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pc", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
