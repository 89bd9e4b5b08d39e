"""The page with a segmentation network: Python's mask, its colours over the picture, and what is said of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvit2.bundle.manifest import read_manifest
from mvit2.runtime import open_bundle

from ..support.browser import CONTRASTS, Seen
from .looking import ANSWERED, CHECKED, PHONE, answers, canvases, check_table, checked, look, serving, wait

PIXELS = "pixels of the pictures"
ONNX, TFLITE = "model_float32.onnx", "model_float32.tflite"


@pytest.fixture(scope="module")
def url(segment_bundle: Path) -> Iterator[str]:
    with serving(segment_bundle) as at:
        yield at


@pytest.fixture(scope="module")
def segmented(browser: Any, url: str) -> Iterator[Seen]:
    """One page for the tests here."""
    with checked(browser, url) as seen:
        yield seen


def _choose(page: Any, file: Path) -> str:
    """What is said of a picture in the end."""
    page.set_input_files("#file", file)
    wait(page, "#crop-says", f"of {re.escape(file.name)}:")
    return wait(page, "#status", "%.*; .*%|nothing.*nothing")


def _photo(photos: Path, folder: Path, size: tuple[int, int]) -> Path:
    """One that every decoder gives the same pixels of."""
    file = folder / f"{size[0]}x{size[1]}.png"
    Image.open(photos / "coffee.jpg").convert("RGB").resize(size).save(file)
    return file


# ---- numbers ----


def test_both_engines_give_what_was_recorded(segmented: Seen, segment_bundle: Path) -> None:
    table = check_table(segmented.page)
    heads = [head.inner_text() for head in segmented.page.query_selector_all("thead th")]
    assert heads == ["file", "verdict", "max |Δ logit|", "of their range", "accepted", "same class"]
    assert set(table) == {PIXELS, ONNX, TFLITE}
    assert re.fullmatch(r"0 of [1-9]\d+ bytes differ", table[PIXELS][1])
    height, width, classes = read_manifest(segment_bundle).artifacts[0].output.shape[1:]
    for verdict, gap, share, accepted, same in (table[ONNX], table[TFLITE]):
        assert (verdict, accepted, same) == ("ok", "1.0e-4", f"{8 * height * width} of {8 * height * width}")
        assert 0 < float(gap) < 1e-3 and float(share) < 1e-4
    assert classes == 21


def test_the_picture_shows_python_s_mask(segmented: Seen, segment_bundle: Path, photos: Path, tmp_path: Path) -> None:
    """Every pixel of both columns, half and fully opaque; the slider is moved by keys."""
    page, photo = segmented.page, _photo(photos, tmp_path, (333, 251))
    said = _choose(page, photo)
    expected = [open_bundle(segment_bundle, file).predict(photo) for file in (ONNX, TFLITE)]
    assert 0.5 < expected[0].seen < 1 and len(expected[0].classes) > 5
    for key, opacity in ((None, 0.5), ("End", 1.0), ("Home", 0.0)):
        if key:
            page.press("#opacity", key)
        shown = canvases(page, "canvas.overlay")
        for canvas, found in zip(shown, expected, strict=True):
            same = (canvas == np.asarray(found.overlay(photo, opacity))).all(-1)
            assert same.mean() >= (0.999 if opacity else 1), opacity
    for listed, found in zip(answers(page), expected, strict=True):
        assert [label for label, _ in listed] == [*(area.label for area in found.classes), "(not seen)"]
        shares = [*(area.share for area in found.classes), 1 - found.seen]
        assert [share for _, share in listed] == pytest.approx([100 * share for share in shares], abs=0.1)
    _tells_of(page, said, photo.name, expected[0])


def _tells_of(page: Any, said: str, name: str, found: Any) -> None:
    """For those who do not see the colours, and the chips for those who do."""
    largest = found.classes[0]
    assert said.startswith(f"onnxruntime-web: {len(found.classes)} classes: {largest.label} {largest.share:.1%}"[:-3])
    for canvas in page.query_selector_all("canvas.overlay"):
        label = canvas.get_attribute("aria-label")
        assert label.startswith(f"{name} with its classes in colours. ") and canvas.get_attribute("role") == "img"
        assert all(f"{area.label} {100 * area.share:.0f}"[:-1] in label for area in found.classes[:3])
    chips = page.eval_on_selector_all(
        "article:first-child .chip", "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    rgb = [tuple(bytes.fromhex(found.colors[area.index][1:])) for area in found.classes]
    expected = [f"rgb({r}, {g}, {b})" if r or g or b else "rgba(0, 0, 0, 0)" for r, g, b in rgb]
    assert chips == [*expected, "rgba(0, 0, 0, 0)"]


# The lines of the README of a web folder, for a page of one's own.
SEGMENT = """async bytes => {
  const { ENGINES } = await import("/engines.mjs");
  const { decode, Mvit2Segmenter, openBundle, overlay } = await import("/mvit2/segmenter.mjs");
  const engine = await ENGINES.find(({ name }) => name === "litert").load(1);
  const segmenter = await Mvit2Segmenter.open(await openBundle("bundle/"), "model_float32.tflite", engine);
  const image = await decode(new Blob([new Uint8Array(bytes)]));
  const found = await segmenter.segment(image);
  const shown = new ImageData(overlay(image, found), image.width);
  await segmenter.close();
  return { ...found, mask: Array.from(found.mask), shown: [shown.width, shown.height] };
}"""


def test_in_a_page_of_one_s_own(segmented: Seen, segment_bundle: Path, photos: Path, tmp_path: Path) -> None:
    photo = _photo(photos, tmp_path, (120, 200))
    found = segmented.page.evaluate(SEGMENT, list(photo.read_bytes()))
    expected = open_bundle(segment_bundle, TFLITE).predict(photo)
    assert np.mean(np.reshape(found["mask"], (200, 120)) == expected.mask) >= 0.999
    assert (found["width"], found["height"], tuple(found["box"])) == (120, 200, expected.box)
    assert (found["shown"], tuple(found["colors"])) == ([120, 200], expected.colors)
    classes = {one["index"]: (one["label"], one["share"]) for one in found["classes"]}
    for area in expected.classes[:5]:
        assert classes[area.index] == (area.label, pytest.approx(area.share, abs=1e-3))


def test_a_large_picture_is_shown_smaller(segmented: Seen, segment_bundle: Path, photos: Path, tmp_path: Path) -> None:
    """What is said is about the whole of it."""
    photo = _photo(photos, tmp_path, (1999, 700))
    _choose(segmented.page, photo)
    found = open_bundle(segment_bundle, ONNX).predict(photo)
    assert [canvas.shape for canvas in canvases(segmented.page, "canvas.overlay")] == [(280, 800, 3)] * 2
    for listed in answers(segmented.page):
        assert dict(listed)["(not seen)"] == pytest.approx(100 * (1 - found.seen), abs=0.06)
        assert listed[0] == (found.classes[0].label, pytest.approx(100 * found.classes[0].share, abs=0.1))


def test_nothing_but_a_strip_beside_the_crop(segmented: Seen, tmp_path: Path) -> None:
    """Of a picture of two pixels the middle of none is in the crop."""
    Image.new("RGB", (1, 2), "red").save(tmp_path / "thin.png")
    said = _choose(segmented.page, tmp_path / "thin.png")
    assert said.count("nothing of the picture was seen") == 2
    assert answers(segmented.page) == [[("(not seen)", 100.0)]] * 2
    assert canvases(segmented.page, "canvas.overlay")[0].tolist() == [[[255, 0, 0]], [[255, 0, 0]]]


# ---- a mask in the graph ----


def _others(count: int) -> Callable[[Any], Any]:
    """So many of the first picture's pixels get another class."""
    return lambda masks: np.where(np.arange(masks.size) < count, masks ^ 1, masks)


@pytest.mark.parametrize(
    ("others", "row"),
    [
        (0, ["ok", "0", "0.00 %", "0.10 %", "2 of 2"]),
        (4, ["ok", "4", "0.07 %", "0.10 %", "2 of 2"]),
        (62, ["FAILED", "62", "1.01 %", "0.10 %", "1 of 2"]),
    ],
)
def test_masks_are_compared_by_pixels(
    others: int, row: list[str], browser: Any, segments: ModuleType, forge: ModuleType, tmp_path: Path
) -> None:
    """A made-up network of two golden inputs, whose answer is known: red grows from left to right."""
    bundle = segments.write_bundle(tmp_path / "b", output_kind="mask")
    forge.edit_numbers(bundle, f"golden/{segments.MODEL}.u8", "u1", _others(others))
    Image.fromarray(segments.gradient(160, 90)).save(tmp_path / "gradient.png")
    with serving(bundle) as at:
        page = look(browser, at).page
        page.set_input_files("#file", tmp_path / "gradient.png")
        wait(page, "#status", "class 0 12.5 %")
        page.click("#check")
        wait(page, "#check-says", CHECKED)
        table = check_table(page)
        (shown,) = canvases(page, "canvas.overlay")
        page.context.close()
    assert table == {segments.MODEL: row}
    expected = open_bundle(bundle).predict(tmp_path / "gradient.png").overlay(tmp_path / "gradient.png")
    assert np.array_equal(shown, np.asarray(expected))


# ---- troubles, hands ----


def test_a_failing_check_fails(browser: Any, segment_bundle: Path, forge: ModuleType, tmp_path: Path) -> None:
    """Recorded logits that are another network's, or none at all."""
    bundle = Path(shutil.copytree(segment_bundle, tmp_path / "b"))
    forge.edit_numbers(bundle, f"golden/{ONNX}.f32", "<f4", lambda logits: np.roll(logits, 1))
    forge.edit_numbers(bundle, f"golden/{TFLITE}.f32", "<f4", lambda logits: logits * np.float32(np.nan))
    with serving(bundle) as at:
        page = look(browser, at).page
        wait(page, "#status", ANSWERED)
        page.click("#check")
        said = wait(page, "#check-says", CHECKED)
        table = check_table(page)
        page.context.close()
    assert said == "Something differs: 1 of 3 lines are ok."
    assert table[ONNX][0] == table[TFLITE][0] == "FAILED" and float(table[ONNX][2]) > 0.1
    assert table[TFLITE][1:3] == ["NaN", "NaN"] and table[TFLITE][4].startswith("0 of ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(scheme: str, browser: Any, url: str) -> None:
    """Nothing wider than the screen, everything readable, every control by Tab."""
    seen = look(browser, url, PHONE, scheme)
    page = seen.page
    wait(page, "#status", ANSWERED)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    canvas = page.eval_on_selector(
        "canvas.overlay", "one => { const r = one.getBoundingClientRect(); return [r.width, r.height]; }"
    )
    assert 200 < canvas[0] <= PHONE["width"] - 32 and canvas[1] <= 480
    heights = page.eval_on_selector_all(
        "button, select, #opacity", "all => all.map(e => e.getBoundingClientRect().height)"
    )
    assert all(height == 0 or height >= 44 for height in heights)
    assert [(ratio, text) for ratio, text in page.evaluate(CONTRASTS) if ratio < 4.5] == []
    page.focus("#examples button:last-child")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.eval_on_selector(":focus", "one => one.id || one.tagName"))
    assert reached == ["opacity", "SELECT", "SELECT", "check"]
    assert (seen.console, seen.failed) == ([], [])
    page.context.close()


def test_nothing_but_the_server_is_asked_and_nobody_complains(segmented: Seen, url: str) -> None:
    """After everything that was done with it here."""
    outside = [one for one in segmented.requests if not one.startswith((url, f"blob:{url}"))]
    assert (outside, segmented.failed, segmented.console, segmented.dialogs) == ([], [], [], [])
