"""Kotlin and Swift read "preprocess" of a manifest, and trust none of it."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import numpy as np
import pytest

from mvit2.bundle.manifest import SCHEMA_VERSION

from .cases import MANIFEST, TASK, Case, make_case
from .programs import Program, assert_refused, sources

GOOD = {
    "image_size": [256, 192],
    "resize_shortest": 288,
    "resize_exact": None,
    "resample": "bicubic",
    "channel_order": "BGR",
    "scale": 1 / 255,
}
OF_ANOTHER_TYPE = "typeMismatch|keyNotFound|dataCorrupted|valueNotFound"  # DecodingError
SIZE = r"cannot be used; accepted: \[height, width\], each 1\.\.8192$"
BROKEN: list[tuple[dict[str, Any], str, str]] = [  # what Kotlin says, what Swift says
    ({"image_size": 8}, f"image_size = 8 {SIZE}", OF_ANOTHER_TYPE),
    ({"image_size": None}, f"image_size = null {SIZE}", OF_ANOTHER_TYPE),
    ({"image_size": [8, 9, 3]}, f"image_size = .8,9,3. {SIZE}", rf"image_size = \[8, 9, 3\] {SIZE}"),
    ({"image_size": [8, "9"]}, f'image_size = .8,"9". {SIZE}', OF_ANOTHER_TYPE),
    ({"image_size": [8, 0]}, f"image_size = 8,0 {SIZE}", f"image_size = 8,0 {SIZE}"),
    ({"resize_shortest": 10.5}, "resize_shortest = 10.5 cannot be used; accepted: null, 1", OF_ANOTHER_TYPE),
    ({"resize_shortest": True}, "resize_shortest = true cannot", OF_ANOTHER_TYPE),
    ({"resize_shortest": 2**40}, f"resize_shortest = {2**40} cannot", f"resize_shortest = {2**40} cannot"),
    ({"resize_exact": [5, 5]}, "resize_exact = 5,5 cannot .* null beside", "resize_exact = 5,5 cannot .* null beside"),
    (
        {"resample": "lanczos"},
        'resample = "lanczos" cannot .* bilinear, bicubic$',
        'resample = "lanczos" cannot .* bilin',
    ),
    ({"resample": "a\nb" + "x" * 999}, 'resample = "a bxxx', 'resample = "a bxxx'),
    ({"channel_order": "rgb"}, 'channel_order = "rgb" cannot be used; accepted: RGB, BGR$', 'channel_order = "rgb"'),
    ({"channel_order": 1}, "channel_order = 1 cannot", OF_ANOTHER_TYPE),
    ({"scale": "1"}, 'scale = "1" cannot', OF_ANOTHER_TYPE),
    ({"scale": -1}, "scale = -1.0 cannot be used; accepted: a finite number above 0$", "scale = -1.0 cannot"),
    ({"scale": None}, "scale = null cannot", OF_ANOTHER_TYPE),
]
both = pytest.mark.parametrize("program", ["Kotlin", "Swift"], indirect=True)


def answers_of(program: Program, specs: list[dict[str, Any]]) -> list[tuple[bool, bytes]]:
    texts = [json.dumps(spec).encode() for spec in specs]
    return program([make_case("manifest", np.frombuffer(text, np.uint8), what=MANIFEST) for text in texts])


@both
def test_a_manifest_is_read(program: Program) -> None:
    exact = {**GOOD, "resize_shortest": None, "resize_exact": [5, 6], "resample": "bilinear", "scale": 1}
    expected = [(256, 192, 288, 0, 0, 1, 1, 1 / 255), (256, 192, 0, 5, 6, 0, 1, 1.0)]
    assert answers_of(program, [GOOD, exact]) == [(False, struct.pack("<7id", *values)) for values in expected]


@both
def test_no_manifest_is_trusted(program: Program) -> None:
    answers = answers_of(program, [{**GOOD, **change} for change, _, _ in BROKEN])
    for (failed, message), (change, kotlin, swift) in zip(answers, BROKEN, strict=True):
        line = message.decode()
        assert failed and re.match(kotlin if program.language == "Kotlin" else swift, line), (change, line)
        assert line.startswith(tuple(OF_ANOTHER_TYPE.split("|"))) or (len(line) < 250 and "\n" not in line)


def test_the_sources_that_are_tested_import_nothing() -> None:
    """They run wherever their languages do; org.json alone comes with Android."""
    allowed = re.compile(r"kotlin\.math\.|java\.nio\.ByteBuffer$|(Darwin|Glibc)$")
    files = [path for path in (*sources("kotlin"), *sources("swift")) if not path.endswith("Manifest.kt")]
    for path in files:
        with open(path, encoding="utf-8") as file:
            imported = re.findall(r"^\s*import (.*)", file.read(), re.MULTILINE)
        assert all(map(allowed.match, imported)), (path, imported)
    assert len(files) > 6


# ---- the whole manifest ----

SEGMENTS = {
    "schema_version": SCHEMA_VERSION,
    "task": "semantic-segmentation",
    "io": "image",
    "output_kind": "mask",
    "classes": 3,
    "colors": ["#000000", "#80ff00", "#0000ff"],
    "preprocess": GOOD,
    "artifacts": [
        {
            "file": {"path": "model.onnx"},
            "input": {"name": "image", "dtype": "uint8", "shape": [None, 256, 192, 3]},
            "outputs": [
                {"name": "mask", "dtype": "uint8", "shape": [None, 256, 192]},
                {"name": "features", "dtype": "float32", "shape": [1, 9]},
            ],
        }
    ],
}
CLASSIFIES = {**SEGMENTS, "task": "image-classification", "output_kind": "scores", "colors": []}
NOT_OURS: list[tuple[str, dict[str, Any], str]] = [  # the task that an app is for, the manifest, what is said
    (
        "image-classification",
        SEGMENTS,
        f'manifest.json = "semantic-segmentation, schema_version {SCHEMA_VERSION}" cannot be used; accepted: '
        f"image-classification, schema_version {SCHEMA_VERSION}$",
    ),
    ("semantic-segmentation", CLASSIFIES, 'manifest.json = "image-classification, .* accepted: semantic-segmentation,'),
    ("semantic-segmentation", {**SEGMENTS, "schema_version": 2}, ".* schema_version 2. cannot .* schema_version 4$"),
    ("semantic-segmentation", {**SEGMENTS, "colors": []}, 'colors = "0 of them" cannot be used; accepted: 3, by the'),
    ("image-classification", {**CLASSIFIES, "colors": ["#000000"]}, 'colors = "1 of them" cannot .* accepted: 0, by'),
    ("semantic-segmentation", {**SEGMENTS, "colors": ["#000000", "red", "#z"]}, 'color 1 = "red" .* like #80ff00$'),
    ("semantic-segmentation", {**SEGMENTS, "colors": ["#+00000"] * 3}, 'color 0 = "#.00000" .* like #80ff00$'),
    (
        "semantic-segmentation",
        {**SEGMENTS, "artifacts": [{**SEGMENTS["artifacts"][0], "outputs": []}]},
        'outputs of model.onnx = "none" cannot be used; accepted: one or more$',
    ),
    ("semantic-segmentation", {**SEGMENTS, "artifacts": []}, 'file = "model.onnx" cannot be used; accepted: $'),
]  # fmt: skip


def _manifest_case(task: str, manifest: dict[str, Any]) -> Case:
    text = f"{task}\n{json.dumps(manifest)}".encode()
    return make_case("manifest", np.frombuffer(text, np.uint8), what=TASK)


@both
def test_what_an_app_reads_of_a_manifest(program: Program) -> None:
    cases = [_manifest_case(manifest["task"], manifest) for manifest in (SEGMENTS, CLASSIFIES)]
    colors = "ff000000, ff80ff00, ff0000ff"
    expected = [f"mask 3 [{colors}] uint8 mask 1, 256, 192", "scores 3 [] uint8 mask 1, 256, 192"]
    assert program(cases) == [(False, line.encode()) for line in expected]


@both
def test_a_manifest_of_another_task_is_refused(program: Program) -> None:
    assert_refused(program, [(_manifest_case(task, manifest), wrong) for task, manifest, wrong in NOT_OURS])
