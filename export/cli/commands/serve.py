"""``mvit2 serve``: the page that runs a bundle in the browser. What is served, and how, is in runtime/web/server.py."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mvit2.errors import Mvit2Error, UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.interrupt import Interrupted
from mvit2.export.cli.options import BundleIfAny, Json, Number, Opt, Quiet

if TYPE_CHECKING:
    from mvit2.runtime.web.server import BundleServer

__all__ = ["serve"]

Port = Annotated[int, Number(metavar="N", help="Port to listen on; 0 takes any that is free.")]
_HOST = "Address to listen on; 0.0.0.0 lets every machine of the network in."
Host = Annotated[str, Opt(metavar="ADDRESS", help=_HOST)]
NoOpen = Annotated[bool, Opt("--no-open", help="Do not open the browser.")]
Offline = Annotated[bool, Opt("--offline", help="Fetch nothing, also where the engines are not here yet.")]
FetchOnly = Annotated[bool, Opt("--fetch-only", help="Fetch the engines from npm, for later, and end.")]


def serve(
    bundle: BundleIfAny = None,
    port: Port = 8000,
    host: Host = "127.0.0.1",
    no_open: NoOpen = False,
    offline: Offline = False,
    fetch_only: FetchOnly = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    if fetch_only:
        _fetch_only(offline)
        return
    if bundle is None:
        raise UsageError("which bundle? Give the folder that mvit2-export made: mvit2 serve BUNDLE.")
    from mvit2.runtime.web.served import bundle_files, page_files
    from mvit2.runtime.web.server import BundleServer

    files = bundle_files(bundle)  # refuses before anything is fetched
    files |= page_files(_engines(offline))
    with suppress(Interrupted), BundleServer(files, host, port) as server:  # to be stopped is how a server ends
        _announce(server, bundle, opens=not no_open)
        server.serve_forever()


def _fetch_only(offline: bool) -> None:
    folder = _engines(offline)
    screen.result(f"the engines are in {folder}")
    screen.result("next: mvit2 serve BUNDLE")
    screen.json({"engines": str(folder)})


def _engines(offline: bool) -> Path:
    """The folder of the engines, fetched where they are not here yet."""
    from mvit2.export.apps.web_engines import FETCH, engines_folder, fetch_engines, is_offline

    folder = engines_folder()
    if folder.is_dir():
        return folder
    if offline or is_offline():
        why = "--offline" if offline else "HF_HUB_OFFLINE"
        raise Mvit2Error(f"the engines of the page are not in {folder}, and {why} fetches nothing; run once: {FETCH}")
    screen.result(f"fetching onnxruntime-web and @litertjs/core from npm, once; 43 MB stay in {folder}")
    with screen.step("npm ci"):
        fetch_engines(folder)
    return folder


def _announce(server: BundleServer, bundle: Path, opens: bool) -> None:
    from mvit2.runtime.web.server import is_loopback

    if not is_loopback(server.host):
        screen.warn(
            f"--host {server.host}: everybody in the network can read this bundle; without https browsers give such "
            "an address one thread and no camera."
        )
    screen.result(f"{bundle} is at {server.url}")
    screen.result("next: open it in a browser, choose an image, and let it check the golden vectors; Ctrl-C ends it")
    screen.json({"url": server.url})
    if opens and not screen.as_json and _has_desktop():
        webbrowser.open(server.url)


def _has_desktop() -> bool:
    """Else a browser of text would take the terminal."""
    anywhere = sys.platform in ("darwin", "win32")
    return screen.out.is_terminal and (anywhere or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()))
