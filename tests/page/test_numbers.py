"""The same numbers in the browser: Python's pixels to the last bit, the recorded scores within their tolerances."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from mvit2.bundle.manifest import read_manifest
from mvit2.image.preprocess import preprocess
from mvit2.runtime import open_bundle

from .looking import ANSWERED, CHECKED, answers, check_table, crop, look, serving, wait

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_browser_computes_what_was_recorded(shared: Any, int8_bundle: Path) -> None:
    """Pixels to the last bit, scores within the bundle's own tolerances, the same first class on every picture."""
    artifacts, table = read_manifest(int8_bundle).artifacts, check_table(shared.page)
    assert re.fullmatch(r"0 of [1-9]\d+ bytes differ", table["pixels of the pictures"][1])
    assert {a.precision for a in artifacts} >= {"float32", "int8"}
    assert {a.engine for a in artifacts} == {"onnxruntime", "litert"}
    assert set(table) == {"pixels of the pictures", *(a.file.path for a in artifacts)}
    assert {name: row for name, row in table.items() if row[0] != "ok"} == {}
    cases = len(json.loads((int8_bundle / "golden" / "golden.json").read_text())["cases"])
    assert {row[4] for name, row in table.items() if name != "pixels of the pictures"} == {f"{cases} of {cases}"}


def test_a_failing_check_fails(browser: Any, int8_bundle: Path, forge: ModuleType, tmp_path: Path) -> None:
    """Recorded numbers that are others, as those of another model would be; NaN among them."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    forge.edit_numbers(bundle, "golden/model_float32.onnx.f32", "<f4", lambda scores: np.roll(scores, 1))
    forge.edit_numbers(bundle, "golden/model_float32.tflite.f32", "<f4", lambda scores: scores * np.float32(np.nan))
    forge.edit_numbers(bundle, "golden/cat.rgb", np.uint8, lambda pixels: pixels ^ (np.arange(pixels.size) == 7))
    with serving(bundle) as at:
        page = look(browser, at).page
        wait(page, "#status", ANSWERED)
        page.click("#check")
        said = wait(page, "#check-says", CHECKED)
        verdicts = {name: (row[0], row[1]) for name, row in check_table(page).items()}
        page.context.close()
    assert said.startswith("Something differs")
    assert verdicts["model_float32.onnx"][0] == verdicts["model_float32.tflite"][0] == "FAILED"
    assert verdicts["model_float32.tflite"][1] == "NaN"
    assert re.match("1 of ", verdicts["pixels of the pictures"][1]) and verdicts["model_int8.onnx"][0] == "ok"


def _chosen(page: Any, picture: Path, shape: tuple[int, int]) -> Any:
    """What the network sees of a picture that is chosen by hand."""
    page.set_input_files("#file", picture)
    wait(page, "#crop-says", f"of {re.escape(picture.name)}:")
    return crop(page, shape)


def test_chosen_photographs_are_answered_as_in_python(browser: Any, url: str, int8_bundle: Path, photos: Path) -> None:
    page, spec = look(browser, url).page, read_manifest(int8_bundle).preprocess
    for photo in (photos / "cat.jpg", photos / "coffee.jpg"):
        assert np.array_equal(_chosen(page, photo, spec.image_size), preprocess(photo, spec))
        wait(page, "#status", ANSWERED)
        files = [select.input_value() for select in page.query_selector_all("select")]
        for file, answer in zip(files, answers(page), strict=True):
            expected = open_bundle(int8_bundle, file).predict(photo)
            assert [label for label, _ in answer] == [one.label for one in expected]
            assert [share for _, share in answer] == pytest.approx([100 * one.score for one in expected], abs=0.06)
    page.context.close()


# The red of the last pixel as a page gets it that asks for nothing.
MANAGED = """async bytes => {
  const context = new OffscreenCanvas(130, 90).getContext("2d");
  context.drawImage(await createImageBitmap(new Blob([new Uint8Array(bytes)])), 0, 0);
  return context.getImageData(129, 89, 1, 1).data[0];
}"""


def test_pictures_are_upright_and_profiles_ignored(browser: Any, url: str, int8_bundle: Path, tmp_path: Path) -> None:
    """As in Python: EXIF orientation counts, a colour profile does not. This one would exchange red and green."""
    from PIL import ImageCms

    rows, columns = np.mgrid[0:90, 0:130]
    picture = Image.fromarray(np.stack([rows * 2, columns, rows ^ columns], -1).astype(np.uint8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")
    page, spec = look(browser, url).page, read_manifest(int8_bundle).preprocess
    for orientation in range(1, 9):
        exif, file = Image.Exif(), tmp_path / f"{orientation}.png"
        exif[ExifTags.Base.Orientation] = orientation
        picture.save(file, exif=exif, icc_profile=profile)
        assert np.array_equal(_chosen(page, file, spec.image_size), preprocess(file, spec)), file
    assert page.evaluate(MANAGED, list((tmp_path / "1.png").read_bytes())) != picture.getpixel((129, 89))[0]
    page.context.close()


def test_a_bundle_of_the_bare_network(browser: Any, run: Run, tmp_path: Path) -> None:
    """--io tensor: the page scales the pixels and takes the softmax itself. Here without TFLite files."""
    options = ("--weights", "demo", "--variant", "0.5", "--format", "onnx", "--io", "tensor", "--no-report")
    done = run("export", *options, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "mobilevitv2-0.5-demo20-tensor") as at:
        page = look(browser, at).page
        wait(page, "#status", "%")
        missing = page.inner_text("article .problem:visible")
        page.click("#check")
        said = wait(page, "#check-says", CHECKED)
        page.context.close()
    assert missing == "This bundle has no TFLite file; export it with --format tflite."
    assert said == "This browser computes what was recorded: 2 of 2 lines are ok."
