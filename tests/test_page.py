"""The page of ``mvit2 serve`` in a real browser, on both engines: Python's pixels, the recorded scores, no surprises.

The engines come from the cache, or from npm where there is a network: ``mvit2 serve --fetch-only`` gets them before.
``MVIT2_SCREENSHOTS=BUNDLE`` writes the README's pictures.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvit2.image import preprocess
from mvit2.manifest import read_manifest
from mvit2.runtime import open_bundle

Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[[Path], Any]
HERE = Path(__file__).parent
PATIENCE = 120_000  # milliseconds; on an idle machine everything here is below ten thousand
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


def _report_page() -> ModuleType:
    """What it takes to look at a page is there already."""
    found = importlib.util.spec_from_file_location("report_page", HERE / "test_report_page.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["report_page"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


LOOKING = _report_page()


@pytest.fixture(scope="module")
def engines(run: Run) -> None:
    done = run("serve", "--fetch-only", env={"HF_HUB_OFFLINE": "0"})
    if done.returncode != 0:
        pytest.skip(f"THE PAGE IS NOT TESTED: {done.stderr.strip()}")


@contextmanager
def _serving(bundle: Path) -> Iterator[str]:
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


@pytest.fixture(scope="module")
def url(int8_bundle: Path, engines: None) -> Iterator[str]:
    with _serving(int8_bundle) as at:
        yield at


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    api = pytest.importorskip("playwright.sync_api", reason="no browser test: pip install 'mvit2[test]'")
    if LOOKING.PROGRAM is None:
        pytest.skip("THE PAGE IS NOT TESTED: no Chromium here; on Debian: apt-get install chromium")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        options = {"executable_path": LOOKING.PROGRAM}
        yield lambda *flags: playwright.chromium.launch(args=[*LOOKING.LAUNCH, *CAMERA, *root, *flags], **options)


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    opened = launch()
    yield opened
    opened.close()


def _look(browser: Any, url: str, size: dict[str, int] = DESK, scheme: str = "light", strip: bool = False) -> Any:
    """The page, opened; ``strip`` takes away the headers that isolate it, as a careless server would."""
    context = browser.new_context(viewport=size, color_scheme=scheme, permissions=["camera"])
    context.set_default_timeout(PATIENCE)
    seen = LOOKING.Seen(context.new_page())
    seen.page.on("console", lambda message: seen.console.append(f"{message.type}: {message.text}"))
    seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("requestfailed", lambda request: seen.failed.append(request.url))
    seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    if strip:
        context.route("**/*", lambda route: route.fulfill(response=route.fetch(), headers=_careless(route.fetch())))
    seen.page.goto(url)
    return seen


def _careless(response: Any) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if not name.startswith("cross-origin-")}


def _wait(page: Any, name: str, text: str) -> str:
    """Until an element says something; what it says. (A policy against eval stops wait_for_function.)"""
    page.wait_for_selector(f"{name}:text-matches({json.dumps(text)})")
    return str(page.inner_text(name))


ANSWERED = r"(%.*; .*%|^[^;…]*%$)"  # both engines, or the only one


def _answers(page: Any) -> list[list[tuple[str, float]]]:
    """Of each engine: labels and scores in percent, the best first."""
    bars = [article.query_selector_all(".bars li") for article in page.query_selector_all("article")]
    pairs = [[line.inner_text().split("\n") for line in lines] for lines in bars]
    return [[(label, float(share.removesuffix(" %"))) for label, share in column] for column in pairs]


def _table(page: Any) -> dict[str, list[str]]:
    rows = [row.query_selector_all("th, td") for row in page.query_selector_all("tbody tr")]
    return {cells[0].inner_text(): [cell.inner_text() for cell in cells[1:]] for cells in rows}


def _crop(page: Any, shape: tuple[int, int]) -> Any:
    """What is on the small canvas, uint8 RGB [H, W, 3]."""
    code = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    return np.array(page.eval_on_selector("#crop", code), np.uint8).reshape(*shape, 4)[..., :3]


@pytest.fixture(scope="module")
def shared(browser: Any, url: str) -> Iterator[Any]:
    """One page for the tests that leave no mark on it, with an answer and a check already made."""
    seen = _look(browser, url)
    _wait(seen.page, "#status", ANSWERED)
    seen.page.click("#check")
    _wait(seen.page, "#check-says", "lines are ok|cannot")
    yield seen
    seen.page.context.close()


# ---- the same numbers ----


def test_the_browser_computes_what_was_recorded(shared: Any, int8_bundle: Path) -> None:
    """Pixels to the last bit, scores within the bundle's own tolerances, the same first class on every picture."""
    artifacts, table = read_manifest(int8_bundle).artifacts, _table(shared.page)
    assert re.fullmatch(r"0 of [1-9]\d+ bytes differ", table["pixels of the pictures"][0])
    assert {a.precision for a in artifacts} >= {"float32", "int8"} and {a.engine for a in artifacts} == {
        "onnxruntime",
        "litert",
    }
    assert set(table) == {"pixels of the pictures", *(a.file.path for a in artifacts)}
    assert {name: row for name, row in table.items() if row[-1] != "ok"} == {}
    cases = len(json.loads((int8_bundle / "golden" / "golden.json").read_text())["cases"])
    assert {row[3] for name, row in table.items() if name != "pixels of the pictures"} == {f"{cases} of {cases}"}


def test_a_failing_check_fails(
    browser: Any, int8_bundle: Path, forge: ModuleType, tmp_path: Path, engines: None
) -> None:
    """Recorded numbers that are others, as those of another model would be; NaN among them."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    forge.edit_numbers(bundle, "golden/model_float32.onnx.f32", "<f4", lambda scores: np.roll(scores, 1))
    forge.edit_numbers(bundle, "golden/model_float32.tflite.f32", "<f4", lambda scores: scores * np.float32(np.nan))
    forge.edit_numbers(bundle, "golden/cat.rgb", np.uint8, lambda pixels: pixels ^ (np.arange(pixels.size) == 7))
    with _serving(bundle) as at:
        page = _look(browser, at).page
        _wait(page, "#status", ANSWERED)
        page.click("#check")
        said = _wait(page, "#check-says", "lines are ok|cannot")
        verdicts = {name: (row[0], row[-1]) for name, row in _table(page).items()}
        page.context.close()
    assert said.startswith("Something differs")
    assert verdicts["model_float32.onnx"][1] == verdicts["model_float32.tflite"][1] == "FAILED"
    assert verdicts["model_float32.tflite"][0] == "NaN"
    assert re.match("1 of ", verdicts["pixels of the pictures"][0]) and verdicts["model_int8.onnx"][1] == "ok"


@pytest.mark.parametrize("photo", ["cat.jpg", "coffee.jpg"])
def test_a_chosen_photograph_is_answered_as_in_python(
    photo: str, browser: Any, url: str, int8_bundle: Path, photos: Path
) -> None:
    seen = _look(browser, url)
    _wait(seen.page, "#status", ANSWERED)
    seen.page.set_input_files("#file", photos / photo)
    _wait(seen.page, "#crop-says", re.escape(photo))
    _wait(seen.page, "#status", ANSWERED)
    files = [select.input_value() for select in seen.page.query_selector_all("select")]
    for file, answer in zip(files, _answers(seen.page), strict=True):
        expected = open_bundle(int8_bundle, file).predict(photos / photo)
        assert [label for label, _ in answer] == [one.label for one in expected]
        assert [share for _, share in answer] == pytest.approx([100 * one.score for one in expected], abs=0.06)
    spec = read_manifest(int8_bundle).preprocess
    assert np.array_equal(_crop(seen.page, spec.image_size), preprocess(photos / photo, spec))
    seen.page.context.close()


ORIENTATIONS = (1, 3, 6, 8)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_are_upright_and_profiles_ignored(
    orientation: int, browser: Any, url: str, int8_bundle: Path, tmp_path: Path
) -> None:
    """As in Python: EXIF orientation counts, a colour profile does not."""
    from PIL import ImageCms

    rows, columns = np.mgrid[0:90, 0:130]
    picture = Image.fromarray(np.stack([rows * 2, columns, rows ^ columns], -1).astype(np.uint8))
    exif, srgb = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[0x0112] = orientation
    wrong = srgb.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")  # red is green
    picture.save(tmp_path / "p.png", exif=exif, icc_profile=wrong)
    seen = _look(browser, url)
    seen.page.set_input_files("#file", tmp_path / "p.png")
    _wait(seen.page, "#crop-says", r"p\.png")
    spec = read_manifest(int8_bundle).preprocess
    assert np.array_equal(_crop(seen.page, spec.image_size), preprocess(tmp_path / "p.png", spec))
    seen.page.context.close()


# ---- nothing unasked ----


def test_nothing_but_the_server_is_asked_and_nobody_complains(shared: Any, url: str) -> None:
    assert len(shared.requests) > 20
    outside = [one for one in shared.requests if not one.startswith((url, f"blob:{url}"))]
    assert (outside, shared.failed, shared.console, shared.dialogs) == ([], [], [], [])
    assert shared.page.evaluate("crossOriginIsolated") is True
    assert re.search(r"\d threads", shared.page.inner_text("#browser"))


def test_labels_are_text(browser: Any, int8_bundle: Path, forge: ModuleType, tmp_path: Path, engines: None) -> None:
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    labels = [f"<img src=x onerror=alert({i})> {'längstes' * 30}" for i in range(20)]
    (bundle / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    forge.resign(bundle, "labels.txt")
    with _serving(bundle) as at:
        seen = _look(browser, at, PHONE)
        _wait(seen.page, "#status", ANSWERED)
        assert {label for column in _answers(seen.page) for label, _ in column} <= set(labels)
        assert (seen.dialogs, seen.failed) == ([], [])
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        seen.page.context.close()


# ---- by hand: keys, a phone, light and dark, drop, camera ----


def test_by_keyboard(browser: Any, url: str) -> None:
    """Every control is reached by Tab in the order of the page; an example, a model file and the check work by keys."""
    page = _look(browser, url).page
    _wait(page, "#status", ANSWERED)
    described = "e => e.id || e.getAttribute('aria-label') || e.tagName.toLowerCase()"
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.eval_on_selector(":focus", described))
        if reached[-1] == "Classify cat":
            assert page.eval_on_selector(":focus", "e => getComputedStyle(e).outlineStyle") == "solid"
            page.keyboard.press("Enter")
            _wait(page, "#crop-says", "of cat")
            _wait(page, "#status", ANSWERED)
        elif reached[-1] == "select":
            page.keyboard.press("End")
        elif reached[-1] == "check":
            break
    examples = [one for one in reached if one.startswith("Classify ")]
    assert reached == ["file", "camera", *examples, "select", "select", "check"] and len(examples) >= 5
    last = page.eval_on_selector_all("select", "all => all.map(one => one.value === one.options[one.length - 1].value)")
    assert last == [True, True]
    page.keyboard.press("Space")
    assert _wait(page, "#check-says", "lines are ok").startswith("This browser computes")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(scheme: str, browser: Any, url: str) -> None:
    page = _look(browser, url, PHONE, scheme).page
    _wait(page, "#status", ANSWERED)
    page.click("#check")
    _wait(page, "#check-says", "lines are ok")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    heights = page.eval_on_selector_all("button, select", "all => all.map(e => e.getBoundingClientRect().height)")
    assert all(height == 0 or height >= 44 for height in heights) and max(heights) > 0
    contrasts = page.evaluate(LOOKING.CONTRASTS)
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
    page = _look(browser, url).page
    _wait(page, "#status", ANSWERED)
    data = page.evaluate_handle(
        "bytes => { const data = new DataTransfer(), file = new File([new Uint8Array(bytes)], 'dropped.jpg');"
        " data.items.add(file); return data; }",
        list((photos / "coffee.jpg").read_bytes()),
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": data})
    _wait(page, "#crop-says", r"dropped\.jpg")
    page.context.close()


def test_the_camera(browser: Any, url: str) -> None:
    """Chromium's test picture of a camera."""
    page = _look(browser, url).page
    _wait(page, "#status", ANSWERED)
    page.click("#camera")
    page.wait_for_selector("#view:visible")
    page.click("#shoot")
    assert "camera" in _wait(page, "#crop-says", "camera")
    _wait(page, "#status", ANSWERED)
    page.click("#camera-off")
    assert page.is_hidden("#view") and page.is_visible("#camera")
    page.context.close()


# ---- what goes wrong is said ----


@pytest.mark.parametrize(
    ("name", "content"),
    [("note.png", b"this is a note"), ("empty.jpg", b""), ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0")],
)
def test_a_picture_that_cannot_be_decoded(name: str, content: bytes, browser: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    page = _look(browser, url).page
    _wait(page, "#status", ANSWERED)
    page.set_input_files("#file", tmp_path / name)
    said = _wait(page, "#problems", "cannot")
    assert said == f"{name} cannot be decoded by this browser; accepted: JPEG, PNG, WebP, BMP; convert it first"
    page.click("#examples button >> nth=1")
    _wait(page, "#status", ANSWERED)
    assert page.inner_text("#problems") == ""
    page.context.close()


def test_without_simd(launch: Callable[..., Any], url: str) -> None:
    old = launch("--js-flags=--no-enable-sse4-1")
    if old.new_page().evaluate("WebAssembly.validate(new Uint8Array([0,97,115,109,1,0,0,0,1,5,1,96,0,1,123]))"):
        old.close()
        pytest.skip("this Chromium does not let its SIMD be switched off")
    seen = _look(old, url)
    said = _wait(seen.page, "#problems", "SIMD")
    assert said == "This browser has no WebAssembly SIMD, which both engines need; use one of 2023 or later."
    assert not [one for one in seen.requests if "/engines/" in one] and seen.console == []
    old.close()


def test_without_isolation_there_is_one_thread(browser: Any, url: str) -> None:
    page = _look(browser, url, strip=True).page
    _wait(page, "#status", ANSWERED)
    assert page.evaluate("crossOriginIsolated") is False
    assert page.inner_text("#browser").startswith("One thread, slower than it could be")
    assert all("one thread" in one.inner_text() for one in page.query_selector_all(".time"))
    page.click("#check")
    assert _wait(page, "#check-says", "lines are ok|cannot").startswith("This browser computes")
    page.context.close()


def test_a_file_that_an_engine_cannot_run(
    browser: Any, int8_bundle: Path, forge: ModuleType, tmp_path: Path, engines: None
) -> None:
    """The other one goes on, and so does the check."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    forge.edit_numbers(bundle, "model_float32.onnx", np.uint8, lambda data: data[:1000])
    with _serving(bundle) as at:
        page = _look(browser, at).page
        _wait(page, "#status", "%")
        said = page.inner_text("article .problem:visible")
        assert said.startswith("onnxruntime-web cannot run model_float32.onnx: ") and "\n" not in said
        assert [len(column) for column in _answers(page)] == [0, 5]
        page.select_option("article:first-child select", "model_int8.onnx")
        _wait(page, "#status", "%.*; .*%")
        page.click("#check")
        _wait(page, "#check-says", "lines are ok")
        table = _table(page)
        page.context.close()
    assert table["model_float32.onnx"][-1].startswith("cannot run: ") and table["model_int8.onnx"][-1] == "ok"


def test_a_bundle_without_golden_vectors(
    browser: Any, int8_bundle: Path, forge: ModuleType, photos: Path, tmp_path: Path, engines: None
) -> None:
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    forge.edit_manifest(
        bundle, lambda m: m.update(files=[f for f in m["files"] if not f["path"].startswith("golden/")])
    )
    with _serving(bundle) as at:
        page = _look(browser, at).page
        said = _wait(page, "#check-says", "golden")
        assert said == "This bundle has no golden vectors; export it again with mvit2-export."
        assert page.is_disabled("#check")
        page.set_input_files("#file", photos / "cat.jpg")
        _wait(page, "#status", ANSWERED)
        page.context.close()


def test_a_bundle_of_the_bare_network(browser: Any, run: Run, tmp_path: Path, engines: None) -> None:
    """--io tensor: the page scales the pixels and takes the softmax itself. Here without TFLite files."""
    options = ("--weights", "demo", "--variant", "0.5", "--format", "onnx", "--io", "tensor", "--no-report")
    done = run("export", *options, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    with _serving(tmp_path / "mobilevitv2-0.5-demo20-tensor") as at:
        page = _look(browser, at).page
        _wait(page, "#status", "%")
        missing = page.inner_text("article .problem:visible")
        page.click("#check")
        said = _wait(page, "#check-says", "lines are ok|cannot")
        page.context.close()
    assert missing == "This bundle has no TFLite file; export it with --format tflite."
    assert said == "This browser computes what was recorded: 2 of 2 lines are ok."


# ---- pictures of it ----


@pytest.mark.skipif(
    "MVIT2_SCREENSHOTS" not in os.environ, reason="writes the README's pictures: MVIT2_SCREENSHOTS=BUNDLE"
)
@pytest.mark.parametrize(
    ("name", "size", "scheme"), [("page", {**DESK, "width": 1000}, "light"), ("page-phone", PHONE, "dark")]
)
def test_screenshots(name: str, size: dict[str, int], scheme: str, browser: Any, engines: None) -> None:
    with _serving(Path(os.environ["MVIT2_SCREENSHOTS"])) as at:
        page = _look(browser, at, size, scheme).page
        page.click("#examples button >> nth=2")
        _wait(page, "#crop-says", "of coffee")
        _wait(page, "#status", ANSWERED)
        page.click("#check")
        _wait(page, "#check-says", "lines are ok")
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        page.context.close()
    file = HERE / "screenshots" / f"{name}.png"
    picture.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < 250_000
