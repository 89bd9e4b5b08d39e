"""What only JavaScript can get wrong: types, and the declarations beside it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mvit2.image.palette import voc_colors
from mvit2.image.placement import Placement
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.segment.result import Segmentation

from .cases import SEED
from .programs import NODE, SOURCES, need

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


def test_no_manifest_is_trusted() -> None:
    """Values of types that only JSON can bring."""
    need("JavaScript")
    specs = ", ".join(f"({spec})" for spec, _ in BROKEN_SPECS)
    code = f"""
        import {{ preprocess }} from {_url("mvit2")};
        const spec = {{ image_size: [8, 9], resize_shortest: 10, resize_exact: null, resample: "bilinear" }};
        for (const one of [spec, {specs}]) {{
          try {{ console.log(preprocess(new Uint8ClampedArray(3), 1, 1, 3, one).length); }}
          catch (error) {{ console.log(`${{error.name}}: ${{error.message}}`); }}
        }}
        try {{ preprocess([1, 2, 3], 1, 1, 3, spec); }} catch (error) {{ console.log(error.message); }}
    """
    works, *lines, array = _run(code).splitlines()
    assert works == str(8 * 9 * 3)
    for line, (_, wrong) in zip(lines, BROKEN_SPECS, strict=True):
        assert line.startswith(f"RangeError: {wrong}") and len(line) < 250
    assert array == 'pixels = "[object Array]" cannot be used; accepted: a Uint8Array or Uint8ClampedArray'


@pytest.mark.parametrize("module", sorted(path.stem for path in (SOURCES / "js").glob("*.mjs")))
def test_the_declarations_name_what_it_exports(module: str) -> None:
    """TypeScript reads these instead; its interfaces are of no object in JavaScript."""
    need("JavaScript")
    names = _run(f"console.log(Object.keys(await import({_url(module)})).join(' '));").split()
    text = (SOURCES / "js" / f"{module}.d.mts").read_text(encoding="utf-8")
    declared = re.findall(r"^export (?:const|function|class) (\w+)", text, re.MULTILINE)
    handed_on = re.findall(r"^export \{([^}]+)\} from", text, re.MULTILINE)
    declared += [name.strip() for some in handed_on for name in some.split(",")]
    assert set(names) == set(declared)


def _url(module: str) -> str:
    return json.dumps((SOURCES / "js" / f"{module}.mjs").as_uri())


def _run(code: str, *arguments: object) -> str:
    command = [str(NODE), "--input-type=module", "-e", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_areas_and_overlays_are_those_of_python(tmp_path: Path) -> None:
    """The shares of the classes, and the pixels of the picture with their colours over it: 0 differing bytes."""
    need("JavaScript")
    rng = np.random.default_rng(SEED)
    placement = Placement.of((60, 90), PreprocessSpec((64, 64), 64))
    rows, columns = placement.rows.seen, placement.columns.seen
    seen = rng.integers(0, 21, (rows.stop - rows.start, columns.stop - columns.start)).astype(np.uint8)
    found = Segmentation.of(seen, placement, [str(index) for index in range(21)], voc_colors(21))
    picture = rng.integers(0, 256, (*found.mask.shape, 3)).astype(np.uint8)
    (tmp_path / "rgba").write_bytes(np.dstack([picture, np.full(found.mask.shape, 255, np.uint8)]).tobytes())
    (tmp_path / "mask").write_bytes(found.mask.tobytes())
    height, width = found.mask.shape
    told = json.dumps({"width": width, "height": height, "box": found.box, "colors": found.colors})
    code = f"""
        import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ areasOf, overlay }} from {_url("masks")};
        const [folder, told] = process.argv.slice(1);
        const found = {{ ...JSON.parse(told), mask: new Uint8Array(readFileSync(folder + "/mask")) }};
        const image = {{ ...JSON.parse(told), data: new Uint8ClampedArray(readFileSync(folder + "/rgba")) }};
        for (const opacity of [0, 0.3, 0.5, 1]) writeFileSync(folder + "/" + opacity, overlay(image, found, opacity));
        console.log(JSON.stringify(areasOf(found)));
    """
    areas = json.loads(_run(code, tmp_path, told))
    assert 0 < found.seen < 1 and len(found.classes) == 21
    assert areas == [{"index": area.index, "share": area.share} for area in found.classes]
    for opacity in (0, 0.3, 0.5, 1):
        pixels = np.frombuffer((tmp_path / str(opacity)).read_bytes(), np.uint8).reshape(height, width, 4)
        assert np.array_equal(pixels[..., :3], np.asarray(found.overlay(picture, opacity))), opacity
        assert (pixels[..., 3] == 255).all()


SIZE = "{ width: 9, height: 5 }, { image_size: [8, 8], resize_exact: [8, 8], resample: 'bilinear' }"
BROKEN_ANSWERS = [
    (f"logitsOnPicture(Float32Array.of(1, NaN), [1, 1, 2], {SIZE})", "RangeError: the model answered NaN, which is"),
    (f"logitsOnPicture(Float32Array.of(1, Infinity), [1, 1, 2], {SIZE})", "RangeError: the model answered Infinity"),
    (f"logitsOnPicture(new Float32Array(3), [1, 1, 2], {SIZE})", "RangeError: the answer has 3 numbers, accepted: 2"),
    (f"logitsOnPicture(new Float32Array(257), [1, 1, 257], {SIZE})", "RangeError: classes = 257 cannot be used; ac"),
    (f"maskOnPicture(new Uint8Array(64).fill(7), 7, {SIZE})", "RangeError: the model answered 7, which is broken"),
    (f"maskOnPicture(new Uint8Array(63), 7, {SIZE})", "RangeError: the answer has 63 numbers, accepted: 64"),
    (f"maskOnPicture(new Uint8Array(64), 7, {SIZE.replace('9', '0')})", "RangeError: width = 0 cannot be used; accep"),
    ("overlay({ width: 1, height: 1 }, {}, 1.5)", "RangeError: opacity = 1.5 cannot be used; accepted: 0..1"),
    ("new Mvit2Segmenter(bundle({ classes: 257 }))", "Error: the manifest has 257 classes, accepted: at most 256; exp"),
    ("new Mvit2Segmenter(bundle({ colors: ['#00'] }))", 'Error: the manifest has no such colors, accepted: "#rrggbb"'),
    ("new Mvit2Segmenter(bundle({ colors: 'x' }))", "Error: the manifest has no such colors"),
    ("new Mvit2Segmenter(bundle({ output_kind: 'x' }))", 'Error: the manifest has output_kind "x", accepted: scores,'),
    ("await Mvit2Segmenter.open(bundle({ task: 'image-classification' }))", "Error: b/ is for image-classification, "),
    ("await Mvit2Classifier.open(bundle({ task: 'semantic-segmentation' }))", "Error: b/ is for semantic-segmentation"),
]


def test_broken_answers_and_manifests_are_refused() -> None:
    """With one line that says what is accepted."""
    need("JavaScript")
    calls = ", ".join(f"async () => {call}" for call, _ in BROKEN_ANSWERS)
    code = f"""
        import {{ logitsOnPicture, maskOnPicture, overlay }} from {_url("masks")};
        import {{ Mvit2Classifier }} from {_url("classifier")};
        import {{ Mvit2Segmenter }} from {_url("segmenter")};
        const manifest = {{ classes: 1, colors: ["#000000"], output_kind: "scores", artifacts: [] }};
        const bundle = (changes) => ({{ base: "b/", labels: [""], manifest: {{ ...manifest, ...changes }} }});
        for (const call of [{calls}]) {{
          await call().then(console.log, ({{ name, message }}) => console.log(`${{name}}: ${{message}}`));
        }}
    """
    for line, (call, wrong) in zip(_run(code).splitlines(), BROKEN_ANSWERS, strict=True):
        assert line.startswith(wrong) and "undefined" not in line, (call, line)
