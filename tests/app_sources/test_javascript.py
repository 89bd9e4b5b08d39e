"""What only JavaScript can get wrong: types, and the declarations beside it."""

from __future__ import annotations

import json
import re
import subprocess

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


def test_the_declarations_name_what_it_exports() -> None:
    exported = re.compile(r"^export (?:const|function) (\w+)", re.MULTILINE)
    module, declared = ((SOURCES / "js" / f"mvit2.{end}").read_text(encoding="utf-8") for end in ("mjs", "d.mts"))
    assert sorted(exported.findall(module)) == sorted(exported.findall(declared))
