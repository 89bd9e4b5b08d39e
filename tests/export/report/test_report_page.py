"""The report in a real browser: nothing fetched, nothing cut off, readable in light and dark, on a phone and on paper.

``MVIT2_SCREENSHOTS=BUNDLE`` writes the README's pictures, of that bundle's report.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.manifest import read_manifest, record, write_manifest
from mvit2.image.preprocess_spec import PreprocessSpec

from ...support.browser import CONTRASTS, SCREENSHOTS, Seen
from ...support.reported import CLASSES, add_int8, write_pictures

Run = Callable[..., subprocess.CompletedProcess[str]]
SIZES = {"desk": (1280, 900), "tablet": (768, 1024), "phone": (360, 740)}
SECTIONS = 12
LONG = "antidisestablishmentarianism" * 6  # of a label: a word that fits into no phone
LABELS = ["<script>alert(1)</script>" if i % 2 else f"{LONG} {i}" for i in range(20)]


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    opened = launch()
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=["classes", "masks"])
def report(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def masks(int8_bundle: Path, segments: ModuleType, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of segmentation, likewise; of a picture that is cropped. The blocks are those of another network."""
    folder = tmp_path_factory.mktemp("masks")
    bundle = add_int8(segments.write_bundle(folder / "b", CLASSES, PreprocessSpec((64, 64), 64, None)))
    write_manifest(bundle, replace(read_manifest(bundle), blocks=read_manifest(int8_bundle).blocks))
    _relabel(bundle, LABELS[:CLASSES])
    options = ("--eval", write_pictures(folder / "pictures"), "--processes", 1)
    done = run(
        "report", bundle, *options, "--sensitivity", _sensitivity(bundle, folder), "--threads", "1,2", "--runs", 6
    )
    assert done.returncode == 0, done.stderr
    return bundle / "report.html"


@pytest.fixture(scope="module")
def classes(int8_bundle: Path, photos: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With everything in it: labels that fit nowhere, a measurement with two numbers of threads, all options."""
    folder = tmp_path_factory.mktemp("page")
    bundle = Path(shutil.copytree(int8_bundle, folder / "b"))
    _relabel(bundle, LABELS)
    rows = [f"{photo},{i}\n" for i, photo in enumerate(sorted(photos.glob("*.jpg")))]
    (folder / "labelled.csv").write_text("path,label\n" + "".join(rows))
    options = ("--eval", folder / "labelled.csv", "--processes", 1, "--sensitivity", _sensitivity(bundle, folder))
    done = run("report", bundle, *options, "--threads", "1,2", "--runs", 6)
    assert done.returncode == 0, done.stderr
    return bundle / "report.html"


def _sensitivity(bundle: Path, folder: Path) -> Path:
    blocks = [{"block": b.name, "alone_snr_db": 30.0, "alone_agreement": 0.9} for b in read_manifest(bundle).blocks]
    (folder / "sensitivity.json").write_text(json.dumps({"blocks": blocks}))
    return folder / "sensitivity.json"


def _relabel(bundle: Path, labels: list[str]) -> None:
    (bundle / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    manifest = read_manifest(bundle)
    files = tuple(record(bundle, f.path) if f.path == "labels.txt" else f for f in manifest.files)
    write_manifest(bundle, replace(manifest, files=files))


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Seen]]:
    """Open a file in a window of that size and scheme, where whatever is not that file is refused."""
    contexts = []

    def opened(file: Path, size: str = "desk", scheme: str = "light", scale: int = 1) -> Seen:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
        )
        contexts.append(context)
        seen = Seen(context.new_page())
        context.route("**/*", lambda route: route.continue_() if route.request.url == file.as_uri() else route.abort())
        seen.page.on("console", lambda message: seen.console.append(f"{message.type}: {message.text}"))
        seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("requestfailed", lambda request: seen.failed.append(request.url))
        seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        seen.page.goto(file.as_uri(), wait_until="load")
        return seen

    yield opened
    for context in contexts:
        context.close()


def test_nothing_is_fetched_and_nothing_runs(look: Callable[..., Seen], report: Path) -> None:
    seen = look(report)
    outside = [url for url in seen.requests if not url.startswith("data:")]
    assert outside == [report.as_uri()]
    assert (seen.console, seen.failed, seen.dialogs) == ([], [], [])
    assert "<script>alert(1)</script>" in seen.page.inner_text("#examples")


@pytest.mark.parametrize("size", SIZES)
def test_every_section_and_plot_has_a_size(size: str, look: Callable[..., Seen], report: Path) -> None:
    page = look(report, size).page
    boxes = {e.get_attribute("id"): e.bounding_box() for e in page.query_selector_all("section")}
    assert len(boxes) == SECTIONS
    assert all(box["width"] > 250 and box["height"] > 80 for box in boxes.values())
    drawings = page.query_selector_all("figure > svg")
    sizes = [drawing.bounding_box() for drawing in drawings]
    plots = 4 if page.query_selector("#examples .card") else 3  # masks have no plot of top-1
    assert [d.get_attribute("class") for d in drawings] == ["plot"] * plots + ["net"]
    assert all(s["width"] > 250 and s["height"] > 80 for s in sizes)
    shown = page.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])"
    )
    assert len(shown) >= 5 and all(complete and width > 0 and painted > 40 for complete, width, painted in shown)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_window(size: str, look: Callable[..., Seen], report: Path) -> None:
    page = look(report, size).page
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str, look: Callable[..., Seen], report: Path) -> None:
    found = look(report, "desk", scheme).page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert [(round(contrast, 2), text) for contrast, text in found if contrast < 4.5] == []


def test_letters_are_large_enough_on_a_phone(look: Callable[..., Seen], report: Path) -> None:
    """Those of the drawings, too, which shrink with the window."""
    page = look(report, "phone").page
    heights = page.evaluate("[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)")
    assert len(heights) > 100 and min(heights) >= 10


def test_dark_is_dark(look: Callable[..., Seen], report: Path) -> None:
    means = []
    for scheme in ("light", "dark"):
        picture = Image.open(io.BytesIO(look(report, "desk", scheme).page.screenshot()))
        means.append(float(np.asarray(picture.convert("L")).mean()))
    assert means[0] > 220 and means[1] < 50


def test_it_prints(look: Callable[..., Seen], report: Path) -> None:
    """On white also where the system is dark."""
    page = look(report, "desk", "dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.skipif(
    "MVIT2_SCREENSHOTS" not in os.environ, reason="writes the README's pictures: MVIT2_SCREENSHOTS=BUNDLE"
)
@pytest.mark.parametrize(
    ("name", "size", "scheme", "scale", "top", "height"),
    [
        ("light", "desk", "light", 1, "body", 1250),
        ("dark", "desk", "dark", 1, "#network", 1250),
        ("phone", "phone", "light", 2, "#examples", 740),
    ],
)
def test_screenshots(
    name: str, size: str, scheme: str, scale: int, top: str, height: int, look: Callable[..., Seen]
) -> None:
    page = look(Path(os.environ["MVIT2_SCREENSHOTS"]).resolve() / "report.html", size, scheme, scale).page
    y = page.query_selector(top).bounding_box()["y"]
    clip = {"x": 0, "y": y, "width": SIZES[size][0], "height": height}
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip)))
    SCREENSHOTS.mkdir(exist_ok=True)
    file = SCREENSHOTS / f"report-{name}.png"
    picture.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < 250_000
