"""Opening the page of ``mvit2 serve`` in a real browser, and reading what it shows."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..support.browser import Seen

PATIENCE = 60_000  # milliseconds; on an idle machine everything here is below ten thousand
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
ANSWERED = r"(%.*; .*%|^[^;…]*%$)"  # what #status says at the end, of both engines or of the only one
CHECKED = "lines are ok|cannot be done"  # and #check-says


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """The URL of the real command at work, which must end without a word."""
    command = [sys.executable, "-m", "mvit2", "serve", str(bundle), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        ended = (*process.communicate(timeout=30), process.returncode)
    assert ended == ("", "", 0)


def look(browser: Any, url: str, size: dict[str, int] = DESK, scheme: str = "light", strip: bool = False) -> Any:
    """The page, opened; ``strip`` takes away the headers that isolate it, as a careless server would."""
    context = browser.new_context(viewport=size, color_scheme=scheme, permissions=["camera"])
    context.set_default_timeout(PATIENCE)
    seen = Seen(context.new_page())
    seen.page.on("console", lambda message: seen.console.append(f"{message.type}: {message.text}"))
    seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("requestfailed", lambda request: seen.failed.append(request.url))
    seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    if strip:
        context.route("**/*", _careless)
    seen.page.goto(url)
    return seen


def _careless(route: Any) -> None:
    response = route.fetch()
    kept = {name: value for name, value in response.headers.items() if not name.startswith("cross-origin-")}
    route.fulfill(response=response, headers=kept)


def wait(page: Any, name: str, text: str) -> str:
    """Until an element says something; what it says. (A policy against eval stops wait_for_function.)"""
    page.locator(name).filter(has_text=re.compile(text)).wait_for()
    return str(page.inner_text(name))


def answers(page: Any) -> list[list[tuple[str, float]]]:
    """Of each engine: labels and scores, or shares of the picture, in percent, the best first."""
    bars = [article.query_selector_all(".answer li") for article in page.query_selector_all("article")]
    pairs = [[line.inner_text().split("\n") for line in lines] for lines in bars]
    return [[(label, float(share.removesuffix(" %"))) for label, share in column] for column in pairs]


def check_table(page: Any) -> dict[str, list[str]]:
    rows = [row.query_selector_all("th, td") for row in page.query_selector_all("tbody tr")]
    return {cells[0].inner_text(): [cell.inner_text() for cell in cells[1:]] for cells in rows}


def crop(page: Any, shape: tuple[int, int]) -> Any:
    """What is on the small canvas, uint8 RGB [H, W, 3]."""
    (found,) = canvases(page, "#crop")
    assert found.shape[:2] == shape
    return found


def canvases(page: Any, selector: str) -> list[Any]:
    """What is on these, uint8 RGB [H, W, 3]; where it is transparent, that is a mistake."""
    urls = [one.evaluate("c => c.toDataURL('image/png')") for one in page.query_selector_all(selector)]
    found = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls]
    assert all(one.shape[2] == 3 or (one[..., 3] == 255).all() for one in found)
    return [one[..., :3] for one in found]


@contextmanager
def checked(browser: Any, url: str) -> Iterator[Seen]:
    """The page with an answer and a check already made."""
    seen = look(browser, url)
    wait(seen.page, "#status", ANSWERED)
    seen.page.click("#check")
    wait(seen.page, "#check-says", CHECKED)
    yield seen
    seen.page.context.close()
