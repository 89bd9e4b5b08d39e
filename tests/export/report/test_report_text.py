"""How text from outside arrives in the page and in the model card; what a report puts into words and drawings."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from mvit2.bundle.manifest import read_manifest, record, write_manifest
from mvit2.errors import BundleError
from mvit2.export.report.classify import ClassifierRow
from mvit2.export.report.gather import Report, example_pictures, gather
from mvit2.export.report.html import page, write_report
from mvit2.export.report.model_card import MARK, markdown, model_card
from mvit2.export.report.network_drawing import block_title, draw_network
from mvit2.export.report.task import Accuracy
from mvit2.export.report.wording import export_again, number

from ...support.reported import Page, front_matter

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def bare(demo_bundle: Path) -> Report:
    """What is known without a measurement."""
    return gather(demo_bundle, example_pictures(None))


# ---- text from outside ----


@pytest.fixture(scope="module")
def hostile(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Every label is HTML and Markdown, and so are the names of weights and pictures."""
    bundle = Path(shutil.copytree(demo_bundle, tmp_path_factory.mktemp("hostile") / "b"))
    (bundle / "labels.txt").write_text("".join(f"{HOSTILE}|[{i}](x)`\n" for i in range(20)))
    manifest = read_manifest(bundle)
    files = tuple(record(bundle, f.path) if f.path == "labels.txt" else f for f in manifest.files)
    weights = dataclasses.replace(manifest.weights, name=HOSTILE, origin=f"a\n---\n{HOSTILE}", sha256='"><b>')
    write_manifest(bundle, dataclasses.replace(manifest, name='x"><i>', files=files, weights=weights))
    photo = next(iter(example_pictures(None).values()))
    report = gather(bundle, {'"><img src=x onerror=alert(1)>.jpg': photo})
    rows = (ClassifierRow("model_float32.onnx", "float32", 10, 5, 6),)
    return dataclasses.replace(report, accuracy=Accuracy(f'"\u2028---\n# {HOSTILE}\x7f\x85\U0001f600', rows))


def test_text_from_outside_is_text_in_the_page(hostile: Report) -> None:
    text = page(hostile)
    found = Page(text)
    assert "script" not in found.tags and "<script" not in text and "onerror=alert" in text
    assert f"{HOSTILE}|[0](x)`"[:25] in found.text["examples"] and HOSTILE in found.text["what"]
    assert "<img src=x" not in text and 'sha256</dt><dd class="mono">&#34;&gt;&lt;b&gt;' in text


def test_text_from_outside_is_text_in_the_model_card(hostile: Report) -> None:
    card = model_card(hostile)
    assert "<script" not in card and "&lt;script&gt;alert(1)" in card
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("\n---\n", 1)[1])
    inside = {each.type for token in tokens for each in token.children or ()}
    assert not inside & {"link_open", "image", "html_inline", "em_open"}
    assert [token.content for token in tokens if token.type == "html_block"] == [f"{MARK}\n"]
    assert card.count("\n---\n") == 1  # the end of the front matter, and no other
    front = front_matter(card)
    assert front["model-index"][0]["name"] == hostile.manifest.name
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == hostile.accuracy.source
    table = [line for line in card.splitlines() if line.startswith("| weights")]
    assert len(table) == 1 and len(re.findall(r"(?<!\\)\|", table[0])) == 3


def test_numbers_that_no_model_has_are_one_line(bare: Report, tmp_path: Path) -> None:
    labels, *others = bare.manifest.files
    files = (dataclasses.replace(labels, bytes=10**400), *others)
    absurd = dataclasses.replace(bare, manifest=dataclasses.replace(bare.manifest, files=files))
    with pytest.raises(BundleError, match="numbers that no model has"):
        write_report(tmp_path, absurd)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mobilevitv2-0.5-demo20", "mobilevitv2-0.5-demo20"),  # a hyphen, an underscore inside a name: as they are
        ("model_float32.onnx 1.1 M, 100.0%", "model_float32.onnx 1.1 M, 100.0%"),
        ("- a", "\\- a"),
        ("+ a", "\\+ a"),
        ("# a", "\\# a"),
        ("1. a", "1\\. a"),
        ("---", "\\---"),
        ("_a_ *b* `c`", "\\_a\\_ \\*b\\* \\`c\\`"),
        ("[a](b) | ~~c~~", "\\[a\\](b) \\| \\~\\~c\\~\\~"),
        ("<b>&\n\n# c", "&lt;b&gt;&amp; # c"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert markdown(text) == shown
    tokens = MarkdownIt("commonmark").parse(shown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


# ---- words and drawings ----


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1000, "1.0 k"), (1_115_573, "1.1 M"), (1_800_000_000, "1.8 G")]
)
def test_number(value: int, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("conv_stem", "conv stem"),
        ("encoder.layer.0.layer.0", "0 \u00b7 block 0"),
        ("encoder.layer.2.downsampling_layer", "2 \u00b7 downsampling"),
        ("encoder.layer.3.transformer.layer.3", "3 \u00b7 transformer 3"),
        ("classifier", "classifier"),
    ],
)
def test_block_title(name: str, title: str) -> None:
    assert block_title(name) == title


def test_the_drawing_has_a_row_for_each_block(bare: Report) -> None:
    blocks = bare.manifest.blocks
    drawing = draw_network(blocks)
    assert drawing.count("<title>") == len(blocks) == 29
    assert drawing.count('class="capsule"') == 3  # runs of transformer layers
    widths = [float(w) for w in re.findall(r'class="(?:hot|cold)" x="236" [^>]*?width="([\d.]+)"', drawing)]
    worked = [b.macs for b in blocks if b.macs > 0]
    assert widths == pytest.approx([max(0.5, 76 * macs / max(worked)) for macs in worked], abs=0.06)


@pytest.mark.parametrize("bundle", ["demo_bundle", "int8_bundle"])
def test_the_command_that_makes_it_again(bundle: str, request: pytest.FixtureRequest) -> None:
    """As conftest.py calls it, but for the defaults that it spells out."""
    command = " ".join(export_again(read_manifest(request.getfixturevalue(bundle))))
    expected = {
        "demo_bundle": "--quantize float16",
        "int8_bundle": "--quantize dynamic --quantize int8 --quantize full-int8 --learning-steps 4 --force",
    }
    assert command == f"mvit2-export --variant 0.5 --weights demo --format all {expected[bundle]}"


def test_the_command_is_safe_to_copy(demo_bundle: Path) -> None:
    """Whatever a manifest says of its options; of an older one, that nobody wrote them down."""
    manifest = read_manifest(demo_bundle)
    hostile = dataclasses.replace(
        manifest, options=("--format", "onnx", "--format", "ort", "--split", "$(touch x); `y`", "&& z")
    )
    parts = export_again(hostile)
    assert parts[1:] == ("--format onnx --format ort", "--split '$(touch x); `y`' '&& z'")
    assert shlex.split(" ".join(parts))[-2:] == ["$(touch x); `y`", "&& z"]
    assert export_again(dataclasses.replace(manifest, options=()))[1].startswith("# ")
