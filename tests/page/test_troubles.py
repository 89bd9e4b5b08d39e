"""What goes wrong is said on the page, and what could be dangerous does not happen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from .looking import ANSWERED, CHECKED, PHONE, answers, check_table, look, serving, wait


def test_nothing_but_the_server_is_asked_and_nobody_complains(shared: Any, url: str) -> None:
    assert len(shared.requests) > 20
    outside = [one for one in shared.requests if not one.startswith((url, f"blob:{url}"))]
    assert (outside, shared.failed, shared.console, shared.dialogs) == ([], [], [], [])
    assert shared.page.evaluate("crossOriginIsolated") is True
    assert re.search(r"\d threads", shared.page.inner_text("#browser"))


def test_labels_are_text(browser: Any, int8_bundle: Path, forge: ModuleType, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    labels = [f"<img src=x onerror=alert({i})> {'längstes' * 30}" for i in range(20)]
    (bundle / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    forge.resign(bundle, "labels.txt")
    with serving(bundle) as at:
        seen = look(browser, at, PHONE)
        wait(seen.page, "#status", ANSWERED)
        assert {label for column in answers(seen.page) for label, _ in column} <= set(labels)
        assert (seen.dialogs, seen.failed) == ([], [])
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        seen.page.context.close()


UNDECODABLE = {
    "note.png": b"a note",
    "empty.jpg": b"",
    "cut.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0",
    "<b>.gif": b"GIF8",
}


def test_a_picture_that_cannot_be_decoded(browser: Any, url: str, tmp_path: Path) -> None:
    page = look(browser, url).page
    wait(page, "#status", ANSWERED)
    for name, content in UNDECODABLE.items():
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#file", tmp_path / name)
        said = wait(page, "#problems", name)
        assert said == f"{name} cannot be decoded by this browser; accepted: JPEG, PNG, WebP, BMP; convert it first"
    page.click("#examples button >> nth=1")
    wait(page, "#status", ANSWERED)
    assert page.inner_text("#problems") == ""
    page.context.close()


def test_without_simd(launch: Callable[..., Any], url: str) -> None:
    old = launch("--js-flags=--no-enable-sse4-1")
    seen = look(old, url)
    if seen.page.evaluate("import('/engines.mjs').then(({abilities}) => abilities().simd)"):
        old.close()
        pytest.skip("the SIMD of this CPU cannot be switched off")
    said = wait(seen.page, "#problems", "SIMD")
    assert said == "This browser has no WebAssembly SIMD, which both engines need; use one of 2023 or later."
    assert not [one for one in seen.requests if "/engines/" in one] and seen.console == []
    old.close()


def test_without_isolation_there_is_one_thread(browser: Any, url: str) -> None:
    page = look(browser, url, strip=True).page
    wait(page, "#status", ANSWERED)
    assert page.evaluate("crossOriginIsolated") is False
    assert page.inner_text("#browser").startswith("One thread, slower than it could be")
    assert all("one thread" in one.inner_text() for one in page.query_selector_all(".time"))
    page.click("#check")
    assert wait(page, "#check-says", CHECKED).startswith("This browser computes")
    page.context.close()


def test_a_file_that_an_engine_cannot_run(browser: Any, int8_bundle: Path, forge: ModuleType, tmp_path: Path) -> None:
    """The other one goes on, and so does the check."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    forge.edit_numbers(bundle, "model_float32.onnx", np.uint8, lambda data: data[:1000])
    with serving(bundle) as at:
        page = look(browser, at).page
        wait(page, "#status", "%")
        said = page.inner_text("article .problem:visible")
        assert said.startswith("onnxruntime-web cannot run model_float32.onnx: ") and "\n" not in said
        assert [len(column) for column in answers(page)] == [0, 5]
        page.select_option("article:first-child select", "model_int8.onnx")
        wait(page, "#status", "%.*; .*%")
        page.click("#check")
        wait(page, "#check-says", CHECKED)
        table = check_table(page)
        page.context.close()
    assert table["model_float32.onnx"][0].startswith("cannot run: ") and table["model_int8.onnx"][0] == "ok"


def test_a_bundle_without_golden_vectors(
    browser: Any, int8_bundle: Path, forge: ModuleType, photos: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    forge.edit_manifest(
        bundle, lambda m: m.update(files=[f for f in m["files"] if not f["path"].startswith("golden/")])
    )
    with serving(bundle) as at:
        page = look(browser, at).page
        said = wait(page, "#check-says", "golden")
        assert said == "This bundle has no golden vectors; export it again with mvit2-export."
        assert page.is_disabled("#check")
        page.set_input_files("#file", photos / "cat.jpg")
        wait(page, "#status", ANSWERED)
        page.context.close()
