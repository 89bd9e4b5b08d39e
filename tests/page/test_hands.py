"""The page under a hand: keys, a phone, light and dark, a dropped picture, the camera.

``MVIT2_SCREENSHOTS=BUNDLE`` writes the README's pictures, of that bundle.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ..support.browser import CONTRASTS, SCREENSHOTS
from .looking import ANSWERED, CHECKED, DESK, PHONE, look, serving, wait


def test_by_keyboard(browser: Any, url: str) -> None:
    """Every control is reached by Tab in the order of the page; an example, a model file and the check work by keys."""
    page = look(browser, url).page
    wait(page, "#status", ANSWERED)
    described = "e => e.id || e.getAttribute('aria-label') || e.tagName.toLowerCase()"
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.eval_on_selector(":focus", described))
        if reached[-1] == "Classify cat":
            assert page.eval_on_selector(":focus", "e => getComputedStyle(e).outlineStyle") == "solid"
            page.keyboard.press("Enter")
            wait(page, "#crop-says", "of cat")
            wait(page, "#status", ANSWERED)
        elif reached[-1] == "select":
            page.keyboard.press("End")
        elif reached[-1] == "check":
            break
    examples = [one for one in reached if one.startswith("Classify ")]
    assert reached == ["file", "camera", *examples, "select", "select", "check"] and len(examples) >= 5
    last = page.eval_on_selector_all("select", "all => all.map(one => one.value === one.options[one.length - 1].value)")
    assert last == [True, True]
    page.keyboard.press("Space")
    assert wait(page, "#check-says", CHECKED).startswith("This browser computes")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(scheme: str, browser: Any, url: str) -> None:
    page = look(browser, url, PHONE, scheme).page
    wait(page, "#status", ANSWERED)
    page.click("#check")
    wait(page, "#check-says", CHECKED)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    heights = page.eval_on_selector_all("button, select", "all => all.map(e => e.getBoundingClientRect().height)")
    assert all(height == 0 or height >= 44 for height in heights) and max(heights) > 0
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert [(round(contrast, 2), text) for contrast, text in contrasts if contrast < 4.5] == []
    mean = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L")).mean()
    assert mean > 180 if scheme == "light" else mean < 90
    page.context.close()


def test_results_are_announced(shared: Any) -> None:
    assert shared.page.get_attribute("#status", "role") == shared.page.get_attribute("#check-says", "role") == "status"
    assert shared.page.get_attribute("#problems", "role") == "alert"
    unnamed = "all => all.filter(e => !e.labels?.length && !e.textContent.trim() && !e.ariaLabel).length"
    assert shared.page.eval_on_selector_all("button, input, select", unnamed) == 0


def test_a_dropped_picture(browser: Any, url: str, photos: Path) -> None:
    page = look(browser, url).page
    wait(page, "#status", ANSWERED)
    data = page.evaluate_handle(
        "bytes => { const data = new DataTransfer(), file = new File([new Uint8Array(bytes)], 'dropped.jpg');"
        " data.items.add(file); return data; }",
        list((photos / "coffee.jpg").read_bytes()),
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": data})
    wait(page, "#crop-says", r"dropped\.jpg")
    page.context.close()


def test_the_camera(browser: Any, url: str) -> None:
    """Chromium's test picture of a camera."""
    page = look(browser, url).page
    wait(page, "#status", ANSWERED)
    page.click("#camera")
    page.wait_for_selector("#view:visible")
    page.click("#shoot")
    assert "camera" in wait(page, "#crop-says", "camera")
    wait(page, "#status", ANSWERED)
    page.click("#camera-off")
    assert page.is_hidden("#view") and page.is_visible("#camera")
    page.context.close()


@pytest.mark.skipif(
    "MVIT2_SCREENSHOTS" not in os.environ, reason="writes the README's pictures: MVIT2_SCREENSHOTS=BUNDLE"
)
@pytest.mark.parametrize(
    ("name", "size", "scheme"), [("page", {**DESK, "width": 1000}, "light"), ("page-phone", PHONE, "dark")]
)
def test_screenshots(name: str, size: dict[str, int], scheme: str, browser: Any) -> None:
    with serving(Path(os.environ["MVIT2_SCREENSHOTS"])) as at:
        page = look(browser, at, size, scheme).page
        page.click("#examples button >> nth=2")
        wait(page, "#crop-says", "of coffee")
        wait(page, "#status", ANSWERED)
        page.click("#check")
        wait(page, "#check-says", CHECKED)
        page.locator("#engines" if size is PHONE else "body").scroll_into_view_if_needed()
        picture = Image.open(io.BytesIO(page.screenshot(full_page=size is not PHONE)))
        page.context.close()
    file = SCREENSHOTS / f"{name}.png"
    picture.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < 250_000
