"""``mvit2 serve`` as a command: how it begins, ends and refuses, and how it comes by the engines."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvit2.export.apps.web_engines import engines_folder
from mvit2.runtime.web.served import PAGE

Run = Callable[..., subprocess.CompletedProcess[str]]


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


@pytest.mark.signals
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


@pytest.mark.signals
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
def test_refusals(
    arguments: list[str], code: int, message: str, cache: Path, demo_bundle: Path, refused: Callable[..., str]
) -> None:
    refused(code, message, "serve", *(demo_bundle if word == "BUNDLE" else word for word in arguments))


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
    lock = json.loads((PAGE / "package-lock.json").read_text())["packages"]
    wanted = json.loads((PAGE / "package.json").read_text())["dependencies"]
    packages = {name.removeprefix("node_modules/"): package for name, package in lock.items() if name}
    assert {name: packages[name]["version"] for name in wanted} == wanted  # exact versions, no ranges
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
    assert "http" not in (PAGE / "package-lock.json").read_text()
