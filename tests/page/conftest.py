"""The page's engines, a server and a browser, once for all tests here.

The engines come from the cache, or from npm where there is a network: ``mvit2 serve --fetch-only`` gets them before.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .looking import checked, serving

Run = Callable[..., subprocess.CompletedProcess[str]]
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="package", autouse=True)
def engines(run: Run) -> None:
    done = run("serve", "--fetch-only", env={"HF_HUB_OFFLINE": "0"})
    if done.returncode != 0:
        pytest.skip(f"THE PAGE IS NOT TESTED: {done.stderr.strip()}")


@pytest.fixture(scope="package")
def segment_bundle(make_bundle: Callable[..., Path]) -> Path:
    """A segmentation network for both engines that returns logits; it sees the middle of a picture."""
    options = ("--task", "segment", "--weights", "untrained", "--variant", "0.5", "--image-size", 128, "--no-report")
    return make_bundle(*options, "--quantize", "none")


@pytest.fixture(scope="package")
def url(int8_bundle: Path, engines: None) -> Iterator[str]:
    with serving(int8_bundle) as at:
        yield at


@pytest.fixture(scope="package")
def launch(launch: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *flags: launch(*CAMERA, *flags)


@pytest.fixture(scope="package")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    opened = launch()
    yield opened
    opened.close()


@pytest.fixture(scope="package")
def shared(browser: Any, url: str) -> Iterator[Any]:
    """One page for the tests that leave no mark on it."""
    with checked(browser, url) as seen:
        yield seen
