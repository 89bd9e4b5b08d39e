"""``mvit2 serve`` without a browser: what the server gives and refuses, how the command begins and ends."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mvit2.errors import BundleError
from mvit2.export.engines import engines_folder
from mvit2.manifest import read_manifest
from mvit2.runtime.serve import BundleServer, is_loopback, routes

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
    with BundleServer(routes(demo_bundle, engines), "127.0.0.1", 0) as server:
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


def test_a_file_that_was_changed_is_not_given(demo_bundle: Path, engines: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(demo_bundle, tmp_path / "b"))
    files = routes(bundle, engines)
    (bundle / "labels.txt").write_text("another\n")
    assert files["/bundle/labels.txt"].read() is None and files["/bundle/manifest.json"].read() is not None
    with pytest.raises(BundleError, match=r"labels.txt was changed"):
        routes(bundle, engines)


def test_a_changed_file_is_a_clear_answer(bundle: Path, engines: Path) -> None:
    with BundleServer(routes(bundle, engines), "localhost", 0) as server:
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


def test_a_link_out_of_the_bundle_is_refused(bundle: Path, engines: Path, tmp_path: Path) -> None:
    (bundle / "labels.txt").rename(tmp_path / "elsewhere.txt")
    (bundle / "labels.txt").symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(BundleError, match="leads out of the bundle"):
        routes(bundle, engines)


def test_a_silent_client_holds_nobody_up(served: BundleServer, ask: Ask) -> None:
    with socket.create_connection(served.server_address[:2]) as silent:  # type: ignore[arg-type]
        silent.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert ask("/")[0].status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pc", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# ---- the command ----


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which the engines seem to be: no page is opened here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engines_folder().mkdir(parents=True)
    return tmp_path / "cache"


class Session:
    """The command at work, until a signal."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "mvit2", "serve", *map(str, arguments), "--port", "0", "--json"]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        self.said: dict[str, Any] = json.loads(self.process.stdout.readline())

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_trace(number: signal.Signals, cache: Path, demo_bundle: Path) -> None:
    session = Session(demo_bundle)
    port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/", session.said["url"])[1])  # type: ignore[index]
    assert list(session.said) == ["url"]
    with socket.create_connection(("127.0.0.1", port)) as gone:  # a browser that leaves in the middle
        gone.sendall(b"GET /bundle/model_float32.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gone.recv(100)
    with socket.create_connection(("127.0.0.1", port)):  # and one that stays
        assert session.end(number) == (0, "", "")


def test_others_are_let_in_only_with_a_warning(cache: Path, demo_bundle: Path) -> None:
    session = Session(demo_bundle, "--host", "0.0.0.0")
    assert session.said["url"].startswith("http://127.0.0.1:")
    code, _, err = session.end(signal.SIGINT)
    assert code == 0
    assert "--host 0.0.0.0: everybody in the network can read this bundle" in err and err.count("\n") == 1


def test_a_port_that_is_taken(cache: Path, demo_bundle: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", demo_bundle, "--port", port)
    found = re.fullmatch(rf"error: port {port} of 127\.0\.0\.1 is taken; this one is free: --port (\d+)\n", done.stderr)
    assert (done.returncode, done.stdout) == (1, "") and found and int(found[1]) > port
    socket.create_server(("127.0.0.1", int(found[1]))).close()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "which bundle? Give the folder that mvit2-export made: mvit2 serve BUNDLE."),
        (["BUNDLE", "--port", "70000"], 2, "--port is 70000, accepted: 0 to 65535; 0 takes any that is free."),
        (["BUNDLE", "--port", "http"], 2, "'http' is not a whole number"),
        (
            ["BUNDLE", "--host", "no.such.name.invalid"],
            1,
            "--host 'no.such.name.invalid' is no address or name",
        ),
        (["BUNDLE", "--host", "203.0.113.7"], 1, "--host 203.0.113.7 --port 8000: Cannot assign requested address"),
        (["/nowhere"], 1, "/nowhere does not exist: no manifest.json. Make a bundle with: mvit2-export"),
    ],
)
def test_refusals(arguments: list[str], code: int, message: str, cache: Path, demo_bundle: Path, run: Run) -> None:
    done = run("serve", *(demo_bundle if word == "BUNDLE" else word for word in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


# ---- the engines ----

NO_REGISTRY = {"HF_HUB_OFFLINE": "0", "npm_config_registry": "http://127.0.0.1:9/", "npm_config_cache": "npm"}


@pytest.mark.parametrize(
    ("options", "env", "message"),
    [
        (["--offline"], {}, r"the engines of the page are not in /.*/engines-\w+, and --offline fetches nothing"),
        ([], {"HF_HUB_OFFLINE": "1"}, r"and HF_HUB_OFFLINE fetches nothing; run once: mvit2 serve --fetch-only"),
        (
            [],
            {"HF_HUB_OFFLINE": "0", "PATH": "/"},
            r"npm is not installed, .* install Node.js 20 or later .*-only",
        ),
        ([], NO_REGISTRY, r"npm could not fetch the engines \(.*ECONNREFUSED.*\); with a network, run: mvit2 serve"),
        ([], {**NO_REGISTRY, "XDG_CACHE_HOME": "/dev/null"}, r"/dev/null/mvit2 cannot be made \(Not a directory\)"),
    ],
)
def test_engines_that_cannot_be_had(
    options: list[str], env: dict[str, str], message: str, tmp_path: Path, run: Run
) -> None:
    if "npm_config_registry" in env and shutil.which("npm") is None:
        pytest.skip("THE FETCHING IS NOT TESTED: no npm; apt-get install npm")
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "npm_config_cache": str(tmp_path / "npm")}
    done = run("serve", "--fetch-only", *options, env={**places, **env})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert re.match(f"error: .*{message}", done.stderr), done.stderr
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name != "mvit2"]


def test_the_cache_is_found_as_the_desktop_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (
        (str(tmp_path / "x"), tmp_path / "x"),
        ("", tmp_path / ".cache"),
        ("x", tmp_path / ".cache"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert engines_folder().parent == expected / "mvit2"


def test_the_lockfile_pins_content_and_names_no_address() -> None:
    import mvit2.runtime.serve as serve

    lock = json.loads((serve.PAGE / "package-lock.json").read_text())["packages"]
    wanted = json.loads((serve.PAGE / "package.json").read_text())["dependencies"]
    packages = {name.removeprefix("node_modules/"): package for name, package in lock.items() if name}
    assert {name: packages[name]["version"] for name in wanted} == wanted  # exact versions, no ranges
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
    assert "http" not in (serve.PAGE / "package-lock.json").read_text()
