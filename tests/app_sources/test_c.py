"""What only C can get wrong: memory, and floating point that a compiler may change."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mvit2.image.preprocess_spec import PreprocessSpec

from .cases import make_case
from .programs import GCC, SANITIZED, Program, c_program, need, sources

on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="a flag of x86")


@pytest.fixture(autouse=True)
def gcc() -> None:
    need("C")


@pytest.mark.parametrize("shape", [(1, 500_000, 3), (500_000, 1, 3)], ids=["first", "second"])
def test_without_memory_it_says_so(shape: tuple[int, int, int], tmp_path: Path) -> None:
    """The weights of the first or second axis are refused; the sanitizer sees what is not freed on that way."""
    program = Program("C, sanitized", c_program(SANITIZED, tmp_path), tmp_path)
    size = (min(8192, shape[0]), min(8192, shape[1]))
    case = make_case("weights", np.zeros(shape, np.uint8), PreprocessSpec(size, None, size, resample="bicubic"))
    limit = "allocator_may_return_null=1:max_allocation_size_mb=2"
    ((failed, message),) = program([case], ASAN_OPTIONS=f"{limit}:log_path={tmp_path / 'warnings'}")
    assert failed and message.startswith(b"there is not enough memory; make the picture smaller first")


def test_the_compiler_finds_nothing_to_fuse(tmp_path: Path) -> None:
    """A fused multiply-add rounds once where Pillow rounds twice: other weights on ARM than on a desk."""
    flags = [str(GCC), "-std=gnu99", "-O3", "-ffp-contract=fast", "-S", "-o", "-"]
    flags += ["-mfma"] if platform.machine() == "x86_64" else []
    control = tmp_path / "control.c"
    control.write_text("double f(double a, double b, double c) { return a * b + c; }\n")
    fused = re.compile(r"^\s+v?fn?m(add|sub)\w*\s", re.MULTILINE)
    exact = [path for path in sources("c") if not path.endswith("_mask.c")]  # of logits no last bit is promised
    for source, expected in ((str(control), True), *((path, False) for path in exact)):
        done = subprocess.run([*flags, source], capture_output=True, text=True, check=True)
        assert bool(fused.search(done.stdout)) is expected, source


@pytest.mark.parametrize("flag", ["-ffast-math", pytest.param("-mfpmath=387", marks=on_x86)])
def test_inexact_arithmetic_is_refused(flag: str) -> None:
    command = [str(GCC), "-std=c99", flag, "-fsyntax-only", sources("c")[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "mvit2 needs exact doubles" in done.stderr
