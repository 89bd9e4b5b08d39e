"""A real browser for the tests of pages, what it is asked, and what it said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
_PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_LAUNCH = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

# The colour behind and of every element with text of its own, as the browser paints it: [contrast, text].
CONTRASTS = """() => {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d", {willReadFrequently: true});
  canvas.width = canvas.height = 1;
  const paint = colours => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["STYLE", "TITLE", "title"].includes(element.tagName)) continue;
    const behind = [];
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    const style = getComputedStyle(element), colour = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [paint(behind), paint([...behind, colour])].map(luminance);
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@dataclass
class Seen:
    """A page and everything that it said, asked for, or failed to get."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Callable[..., Any]]:
    """A function that launches it with more flags; skips where there is none. Once a session: playwright wants that."""
    api = pytest.importorskip("playwright.sync_api", reason="NO PAGE IS LOOKED AT: pip install 'mvit2[test]'")
    if _PROGRAM is None:
        pytest.skip("NO PAGE IS LOOKED AT: no Chromium here; on Debian: apt-get install chromium")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(executable_path=_PROGRAM, args=[*_LAUNCH, *root, *flags])
