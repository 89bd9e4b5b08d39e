"""What only phones can run: here it is checked that it compiles, against the signatures in stubs/, and no more."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from .programs import HERE, SOURCES, compiled, kotlin_library, need, sources, swiftc

STUBS = HERE / "stubs"
APPLE = ("CoreGraphics", "CoreVideo")


def test_the_bitmap_adapter_compiles(tmp_path: Path) -> None:
    need("Kotlin")
    adapter = str(SOURCES / "kotlin" / "Mvit2Bitmap.kt")
    kotlin_library([*sources("kotlin"), adapter, str(STUBS / "java")], tmp_path / "app.jar")


@pytest.mark.parametrize("frameworks", [APPLE, APPLE[:1], APPLE[1:]])
def test_the_image_adapter_compiles(frameworks: tuple[str, ...], tmp_path: Path) -> None:
    """Each half with the framework that it needs."""
    need("Swift")
    for name in frameworks:
        stub = str(STUBS / "apple" / f"{name}.swift")
        compiled(swiftc("-emit-module", "-module-name", name, "-emit-module-path", str(tmp_path / name), stub))
        (tmp_path / name).rename(tmp_path / f"{name}.swiftmodule")
    adapter = str(SOURCES / "swift" / "Mvit2Image.swift")
    compiled(swiftc("-typecheck", "-module-name", "App", "-I", str(tmp_path), *sources("swift"), adapter))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a flag of x86")
def test_swift_finds_nothing_to_fuse(tmp_path: Path) -> None:
    """A fused multiply-add rounds once where Pillow rounds twice: other weights on ARM than on a desk."""
    need("Swift")
    control = tmp_path / "control.swift"
    control.write_text("public func f(a: Double, b: Double, c: Double) -> Double { c.addingProduct(a, b) }\n")
    fused = re.compile(r"^\s+vfn?m(add|sub)\w*\s", re.MULTILINE)
    for files, expected in (([str(control)], True), (sources("swift"), False)):
        command = swiftc("-O", "-wmo", "-Xcc", "-mfma", "-module-name", "App", "-emit-assembly", *files, "-o", "-")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert bool(fused.search(done.stdout)) is expected
