"""The sources for apps, C99 and JavaScript, against Python: the same pixels to the last bit, the same order of classes.

All cases go through one process of each program (tests/app_sources/driver.*), as files of little-endian numbers:
a case is ``_HEADER`` and its payload, an answer is (failed, bytes) and the bytes, which are a message if it failed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mvit2
from mvit2.image import MAX_PIXELS, PreprocessSpec, load_image, preprocess, to_pixel_values, top_k
from mvit2.preprocess_spec import MAX_EDGE
from mvit2.runtime.parity import log_softmax

Array = np.ndarray[Any, Any]
Answer = tuple[bool, bytes]
Program = Callable[..., list[Answer]]

HERE = Path(__file__).parent
DRIVERS = HERE / "app_sources"
SOURCES = HERE.parent / "runtime" / "sources"
PHOTOS = sorted((Path(mvit2.__file__).parent / "photos").glob("*.jpg"))
GOLDEN = json.loads((HERE / "golden" / "preprocess.json").read_text(encoding="utf-8"))
SEED, RANDOM_CASES = 5, 500

PREPROCESS, PIXEL_VALUES, SOFTMAX, TOP_K, SHORT_OUTPUT, NO_PIXELS = range(6)
FILTERS, ORDERS = ("bilinear", "bicubic"), ("RGB", "BGR")
_HEADER = struct.Struct("<12id")
C_FILES = [str(path) for path in (DRIVERS / "driver.c", *sorted((SOURCES / "c").glob("*.c")))]
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", str(SOURCES / "c"))
PROGRAMS = {
    "C": ("-std=c99", "-O2"),
    "C, sanitized": ("-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "JavaScript": None,
}
GCC, NODE = shutil.which("gcc"), shutil.which("node")
needs_gcc = pytest.mark.skipif(GCC is None, reason="THE C SOURCES ARE NOT TESTED: no gcc; apt-get install gcc")
needs_node = pytest.mark.skipif(NODE is None, reason="THE JAVASCRIPT SOURCE IS NOT TESTED: no Node 20 or later")
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="a flag of x86")


@dataclass(frozen=True)
class Case:
    """One call. ``fields`` are those of the header, and those of the spec under their own names."""

    name: str
    payload: Array
    fields: tuple[int | float, ...]

    def encoded(self) -> bytes:
        return _HEADER.pack(*self.fields) + self.payload.tobytes()


def _case(name: str, payload: Array, spec: PreprocessSpec | None = None, **changes: Any) -> Case:
    """By default ``preprocess`` of a picture; ``changes`` make the impossible possible."""
    spec = spec or PreprocessSpec((8, 9), 10)
    height, width, channels = payload.shape if payload.ndim == 3 else (1, 1, 3)
    values = {
        "what": PREPROCESS,
        "width": width,
        "height": height,
        "channels": channels,
        "size": spec.image_size,
        "shortest": spec.resize_shortest or 0,
        "exact": spec.resize_exact or (0, 0),
        "resample": FILTERS.index(spec.resample),
        "order": ORDERS.index(spec.channel_order),
        "payload": payload.nbytes,
        "scale": spec.scale,
        **changes,
    }
    flat = [part for value in values.values() for part in (value if isinstance(value, tuple) else (value,))]
    return Case(name, payload, tuple(flat))


def _compiled(flags: Sequence[str], target: Path) -> Path:
    command = [str(GCC), *flags, *WARNINGS, *C_FILES, "-lm", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=needs_node if flags is None else needs_gcc) for name, flags in PROGRAMS.items()],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder, flags = tmp_path_factory.mktemp("program"), PROGRAMS[request.param]
    command = [str(NODE), str(DRIVERS / "driver.mjs")] if flags is None else [str(_compiled(flags, folder / "driver"))]
    run = functools.partial(_run, command, folder)
    run.language = request.param  # type: ignore[attr-defined]
    return run


def _run(command: list[str], folder: Path, cases: Sequence[Case], **environment: str) -> list[Answer]:
    (folder / "cases").write_bytes(b"".join(case.encoded() for case in cases))
    done = subprocess.run(
        [*command, str(folder / "cases"), str(folder / "results")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0 and not done.stderr, done.stderr[-3000:]
    data, answers, at = (folder / "results").read_bytes(), [], 0
    while at < len(data):
        failed, size = struct.unpack_from("<2i", data, at)
        answers.append((bool(failed), data[at + 8 : at + 8 + size]))
        at += 8 + size
    assert len(answers) == len(cases)
    return answers


# ---- the same pixels as Python ----


def _recorder() -> Any:
    found = importlib.util.spec_from_file_location("record_preprocess", HERE / "golden" / "record_preprocess.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


SPECS = {name: PreprocessSpec.from_hf(config, name) for name, config in GOLDEN["configs"].items()}


def test_golden_pixels(program: Program) -> None:
    """The recorded ones of transformers' own image processor."""
    picture = functools.cache(_recorder().picture)
    cases = [_case(str(one), picture(*one["picture"]), SPECS[one["config"]]) for one in GOLDEN["cases"]]
    for one, (failed, pixels) in zip(GOLDEN["cases"], program(cases), strict=True):
        assert not failed and hashlib.sha256(pixels).hexdigest() == one["sha256"], one


@functools.cache
def _photo_cases() -> list[tuple[Case, bytes]]:
    images = {photo.stem: np.asarray(load_image(photo)) for photo in PHOTOS}
    pairs = [(f"{stem}, {name}", image, spec) for stem, image in images.items() for name, spec in SPECS.items()]
    return [(_case(name, image, spec), preprocess(image, spec).tobytes()) for name, image, spec in pairs]


def _size(rng: np.random.Generator, largest: int) -> int:
    """Small ones as often as large ones."""
    return int(np.exp(rng.uniform(0, np.log(largest + 1))))


def _random_picture(rng: np.random.Generator) -> Array:
    shape = (_size(rng, 700), _size(rng, 700), int(rng.integers(3, 5)))
    kind = rng.integers(4)
    if kind == 0:  # black and white, so that bicubic overshoots
        return (rng.integers(0, 2, shape) * 255).astype(np.uint8)
    if kind == 1:  # one colour: the weights must add up
        return np.broadcast_to(rng.integers(0, 256, shape[2]), shape).astype(np.uint8)
    if kind == 2:  # smooth
        rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
        return ((rows * rng.integers(9) + columns)[..., None] // np.arange(1, shape[2] + 1) % 256).astype(np.uint8)
    return rng.integers(0, 256, shape).astype(np.uint8)


def _random_spec(rng: np.random.Generator) -> PreprocessSpec:
    shortest, exact = [(None, None), (_size(rng, 300), None), (None, (_size(rng, 300), _size(rng, 300)))][
        rng.choice(3, p=[0.1, 0.6, 0.3])
    ]
    size = (_size(rng, 300), _size(rng, 300))
    return PreprocessSpec(size, shortest, exact, resample=FILTERS[rng.integers(2)])


@functools.cache
def _random_cases() -> list[tuple[Case, bytes]]:
    made = []
    for index in range(RANDOM_CASES):
        rng = np.random.default_rng([SEED, index])
        picture, spec = _random_picture(rng), _random_spec(rng)
        name = f"default_rng([{SEED}, {index}]): {picture.shape} -> {spec}"
        made.append((_case(name, picture, spec), preprocess(picture, spec).tobytes()))
    return made


@pytest.mark.parametrize("pairs", [_photo_cases, _random_cases], ids=["photos", "random"])
def test_not_one_byte_differs_from_python(pairs: Callable[[], list[tuple[Case, bytes]]], program: Program) -> None:
    cases = [case for case, _ in pairs()]
    answers = program(cases)
    wrong = [
        f"{case.name}: {message.decode() if failed else _difference(message, expected)}"
        for (failed, message), (case, expected) in zip(answers, pairs(), strict=True)
        if failed or message != expected
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ, first {wrong[0]}"


def _difference(found: bytes, expected: bytes) -> str:
    if len(found) != len(expected):
        return f"{len(found)} bytes instead of {len(expected)}"
    a, b = (np.frombuffer(one, np.uint8).astype(int) for one in (found, expected))
    return f"{np.count_nonzero(a != b)} of {a.size} bytes, by up to {np.abs(a - b).max()}"


def test_the_random_cases_are_of_all_kinds() -> None:
    """Else the test above could pass without having tried them."""
    fields = np.array([case.fields[1:11] for case, _ in _random_cases()])  # width, height, channels, ...
    width, height, channels, tall, wide, shortest, exact, exact_width, resample, _ = fields.T
    whole = (shortest == 0) & (exact == 0)
    vertical_first = (exact > 0) & (height - exact > np.maximum(0, 2 * (width - exact_width)))
    padded = (whole & (width < wide)) | ((shortest > 0) & (shortest < np.minimum(tall, wide)))
    for kind in (whole, shortest > 0, exact > 0, vertical_first, padded, resample == 0, channels == 4, width < height):
        assert 20 < np.count_nonzero(kind) < RANDOM_CASES - 20


# ---- the bare network's input, the answer's labels ----


def test_pixel_values_are_those_of_python(program: Program) -> None:
    pixels = np.random.default_rng(SEED).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    specs = [
        PreprocessSpec((5, 7), None, channel_order=order, scale=scale)
        for order in ORDERS
        for scale in (1 / 255, 1.0, 0.017)
    ]
    answers = program([_case("values", pixels, spec, what=PIXEL_VALUES) for spec in specs])
    assert answers == [(False, to_pixel_values(pixels, spec).tobytes()) for spec in specs]


def test_softmax_is_that_of_python(program: Program) -> None:
    """To one step of float32: every C library and browser has its own exp."""
    rng = np.random.default_rng(SEED)
    rows = [(rng.normal(0, spread, size)).astype(np.float32) for spread in (1, 10, 60) for size in (1, 2, 20, 1000)]
    answers = program([_case("softmax", row, what=SOFTMAX) for row in [*rows, np.float32([3e38, -3e38])]])
    for row, (failed, found) in zip(rows, answers[:-1], strict=True):
        expected = np.exp(log_softmax(row[None]))[0].astype(np.float32)
        steps = np.frombuffer(found, np.int32).astype(int) - expected.view(np.int32)
        assert not failed and np.abs(steps).max() <= 1
    assert answers[-1] == (False, np.float32([1, 0]).tobytes())


def test_top_k_is_that_of_python(program: Program) -> None:
    rng = np.random.default_rng(SEED)
    sizes = [int(size) for size in rng.integers(1, 1200, 60)]
    rows = [rng.integers(-4, 4, size).astype(np.float32) / 4 for size in sizes]  # full of ties
    rows += [rng.normal(size=size).astype(np.float32) for size in sizes]
    rows += [np.float32([0.0, -0.0, 0.0]), np.float32([-1e-40, 1e-40, 0])]
    ks = [int(rng.integers(1, row.size + 5)) for row in rows]
    answers = program([_case("top-k", row, what=TOP_K, width=k) for row, k in zip(rows, ks, strict=True)])
    for row, k, (failed, found) in zip(rows, ks, answers, strict=True):
        expected = [one.index for one in top_k(row, [""] * row.size, k)]
        assert not failed and np.frombuffer(found, np.int32).tolist() == expected


# ---- refusals ----

PICTURE = np.full((4, 6, 3), 7, np.uint8)
NONE = PreprocessSpec((8, 9), None)
PIXEL = np.zeros((1, 1, 3), np.uint8)
HAIR = np.zeros((1, 100_000, 3), np.uint8)
NO_CLASS = "scores = .* cannot be used; accepted: 1 number or more"
BAD_PICTURE, BAD_SPEC, TOO_LARGE = "the picture cannot", "the spec cannot", "the picture is too large, or too long"
TOO_LONG = f"{TOO_LARGE} and thin \\(100000x1 -> 28800000x288\\); accepted: at most {MAX_PIXELS} "
EDGES = rf"\[height, width\], each 1\.\.{MAX_EDGE}"
REFUSED: list[tuple[Case, str, str]] = [  # what C says, what JavaScript says
    (_case("no width", PICTURE, width=0), BAD_PICTURE, "width = 0 cannot be used; accepted: 1 or more"),
    (_case("no height", PICTURE, height=-4), BAD_PICTURE, "height = -4 cannot be used"),
    (_case("gray", PICTURE, channels=1), BAD_PICTURE, r"channels = 1 cannot be used; accepted: 3 \(RGB\), 4"),
    (_case("another channel", PICTURE, channels=4), BAD_PICTURE, r"pixels.length = 72 cannot be used; accepted: 96"),
    (_case("a row less", PICTURE, height=5), BAD_PICTURE, r"pixels.length = 72 cannot be used; accepted: 90"),
    (_case("a row more", PICTURE, height=3), BAD_PICTURE, r"pixels.length = 72 cannot be used; accepted: 54"),
    (_case("huge", PICTURE, width=2**31 - 1, height=2**31 - 1), TOO_LARGE, rf"{TOO_LARGE} and thin \(2147483647x2147"),
    (_case("a hair", HAIR, PreprocessSpec((256, 256), 288)), TOO_LARGE, TOO_LONG),
    (_case("no crop", PICTURE, size=(8, 0)), BAD_SPEC, f"image_size = 8,0 cannot be used; accepted: {EDGES}"),
    (_case("a large crop", PICTURE, size=(8193, 9)), BAD_SPEC, "image_size = 8193,9 cannot"),
    (_case("negative edge", PICTURE, shortest=-1), BAD_SPEC, r"resize_shortest = -1 cannot be used; accepted: null, 1"),
    (_case("large edge", PICTURE, shortest=8193), BAD_SPEC, "resize_shortest = 8193 cannot"),
    (_case("half an exact", PICTURE, NONE, exact=(0, 5)), BAD_SPEC, f"resize_exact = 0,5 cannot .* {EDGES}"),
    (_case("large exact", PICTURE, NONE, exact=(5, 8193)), BAD_SPEC, "resize_exact = 5,8193 cannot"),
    (_case("two resizes", PICTURE, exact=(5, 5)), BAD_SPEC, "resize_exact = 5,5 cannot be used; accepted: null beside"),
    (_case("filter", PICTURE, resample=7), BAD_SPEC, 'resample = "number 7" .* accepted: bilinear, bicubic'),
    (_case("order", PIXEL, what=PIXEL_VALUES, size=(1, 1), order=3), BAD_SPEC, 'channel_order = "number 3" cannot'),
    (_case("scale", PIXEL, what=PIXEL_VALUES, size=(1, 1), scale=0.0), BAD_SPEC, "scale = 0 cannot be used"),
    (_case("nan", PIXEL, what=PIXEL_VALUES, size=(1, 1), scale=float("nan")), BAD_SPEC, "scale = NaN cannot"),
    (_case("values", PICTURE, what=PIXEL_VALUES), BAD_PICTURE, r"pixels.length = 72 cannot be used; accepted: 216"),
    (_case("k", np.float32([1, 2]), what=TOP_K, width=0), "k cannot", "k = 0 cannot be used; accepted: 1 or more"),
    (_case("no scores", np.float32([]), what=TOP_K), "there are no scores", NO_CLASS),
    (_case("no logits", np.float32([]), what=SOFTMAX), "there are no scores", NO_CLASS),
    (_case("NaN", np.float32([0, np.nan]), what=TOP_K), "a score is not finite", "score of class 1 = NaN cannot"),
    (_case("inf", np.float32([np.inf, 0]), what=SOFTMAX), "a score is not finite", "score of class 0 = Infinity"),
]  # fmt: skip
ONLY_C = [
    (_case("output", PICTURE, what=SHORT_OUTPUT), "the output cannot be used; accepted: room for exactly the result"),
    (_case("null", PICTURE, what=NO_PIXELS), BAD_PICTURE),
]


def test_what_cannot_be_done_is_refused(program: Program) -> None:
    in_c = program.language != "JavaScript"  # type: ignore[attr-defined]
    table = [(case, c if in_c else js) for case, c, js in REFUSED] + (ONLY_C if in_c else [])
    for (case, wrong), (failed, message) in zip(table, program([case for case, _ in table]), strict=True):
        assert failed, case.name
        assert re.match(wrong, message.decode()), (case.name, message.decode())
        assert b"\n" not in message and b"undefined" not in message


@needs_gcc
@pytest.mark.parametrize("shape", [(1, 500_000, 3), (500_000, 1, 3)], ids=["first", "second"])
def test_c_without_memory_says_so(shape: tuple[int, int, int], tmp_path: Path) -> None:
    """The weights of the first or second axis are refused; the sanitizer sees what is not freed on that way."""
    flags = PROGRAMS["C, sanitized"]
    assert flags is not None
    command = [str(_compiled(flags, tmp_path / "driver"))]
    size = tuple(min(8192, edge) for edge in shape[:2])
    case = _case("weights", np.zeros(shape, np.uint8), PreprocessSpec(size, None, size, resample="bicubic"))
    limit = "allocator_may_return_null=1:max_allocation_size_mb=2"
    ((failed, message),) = _run(command, tmp_path, [case], ASAN_OPTIONS=f"{limit}:log_path={tmp_path / 'warnings'}")
    assert failed and message.startswith(b"there is not enough memory; make the picture smaller first")


@needs_gcc
def test_the_c_compiler_finds_nothing_to_fuse(tmp_path: Path) -> None:
    """A fused multiply-add rounds once where Pillow rounds twice: other weights on ARM than on a desk."""
    flags = [str(GCC), "-std=gnu99", "-O3", "-ffp-contract=fast", "-S", "-o", "-"]
    flags += ["-mfma"] if platform.machine() == "x86_64" else []
    (tmp_path / "control.c").write_text("double f(double a, double b, double c) { return a * b + c; }\n")
    fused = re.compile(r"^\s+v?fn?m(add|sub)\w*\s", re.MULTILINE)
    for source, expected in ((tmp_path / "control.c", True), *((path, False) for path in (SOURCES / "c").glob("*.c"))):
        done = subprocess.run([*flags, str(source)], capture_output=True, text=True, check=True)
        assert bool(fused.search(done.stdout)) is expected, source.name


@needs_gcc
@pytest.mark.parametrize("flag", ["-ffast-math", pytest.param("-mfpmath=387", marks=on_x86)])
def test_c_refuses_inexact_arithmetic(flag: str) -> None:
    command = [str(GCC), "-std=c99", flag, "-fsyntax-only", str(SOURCES / "c" / "mvit2.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "mvit2 needs exact doubles" in done.stderr


BROKEN_SPECS = [
    ("null", 'spec = null cannot be used; accepted: "preprocess" of a manifest'),
    ("'bilinear'", 'spec = "bilinear" cannot'),
    ("{}", "image_size = undefined cannot be used; accepted: [height, width]"),
    ("{ ...spec, image_size: 8 }", "image_size = 8 cannot"),
    ("{ ...spec, image_size: [8, 9, 3] }", "image_size = 8,9,3 cannot"),
    ("{ ...spec, image_size: [8, '9'] }", "image_size = 8,9 cannot"),
    ("{ ...spec, resize_shortest: 10.5 }", "resize_shortest = 10.5 cannot"),
    ("{ ...spec, resize_shortest: true }", "resize_shortest = true cannot"),
    ("{ ...spec, resample: 'constructor' }", 'resample = "constructor" cannot'),
    ("{ ...spec, resample: 'x'.repeat(9999) }", 'resample = "xxx'),
]


@needs_node
def test_javascript_trusts_no_manifest() -> None:
    """Values of types that only JSON can bring."""
    specs = ", ".join(f"({spec})" for spec, _ in BROKEN_SPECS)
    code = f"""
        import {{ preprocess }} from {json.dumps((SOURCES / "js" / "mvit2.mjs").as_uri())};
        const spec = {{ image_size: [8, 9], resize_shortest: 10, resize_exact: null, resample: "bilinear" }};
        for (const one of [spec, {specs}]) {{
          try {{ console.log(preprocess(new Uint8ClampedArray(3), 1, 1, 3, one).length); }}
          catch (error) {{ console.log(`${{error.name}}: ${{error.message}}`); }}
        }}
        try {{ preprocess([1, 2, 3], 1, 1, 3, spec); }} catch (error) {{ console.log(error.message); }}
    """
    done = subprocess.run([str(NODE), "--input-type=module", "-e", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    works, *lines, array = done.stdout.splitlines()
    assert works == str(8 * 9 * 3)
    for line, (_, wrong) in zip(lines, BROKEN_SPECS, strict=True):
        assert line.startswith(f"RangeError: {wrong}") and len(line) < 250
    assert array == 'pixels = "[object Array]" cannot be used; accepted: a Uint8Array or Uint8ClampedArray'


# ---- the languages say the same ----


@pytest.mark.parametrize("file", ["c/mvit2.h", "js/mvit2.mjs"])
def test_the_limits_are_those_of_python(file: str) -> None:
    text = (SOURCES / file).read_text(encoding="utf-8")
    assert MAX_PIXELS == 2**27
    assert re.search(r"MVIT2_MAX_PIXELS \(1 << 27\)|MAX_PIXELS = 2 \*\* 27;", text)
    assert re.search(rf"MAX_EDGE (= )?{MAX_EDGE}\b", text)


def test_the_declarations_name_what_javascript_exports() -> None:
    exported = re.compile(r"^export (?:const|function) (\w+)", re.MULTILINE)
    module, declared = ((SOURCES / "js" / f"mvit2.{end}").read_text(encoding="utf-8") for end in ("mjs", "d.mts"))
    assert sorted(exported.findall(module)) == sorted(exported.findall(declared))
