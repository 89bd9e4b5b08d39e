"""The network as a drawing: a row for each block, with its output, and its share of the work as a bar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from itertools import groupby

from mvit2.network.blocks import Block

__all__ = ["block_title", "draw_network"]

_WIDTH, _ROW, _HEAD = 360, 21, 27  # units of the drawing, which are pixels on a phone
_SPINE, _TEXT, _SHAPE, _BAR, _LONGEST = 13, 30, 226, 236, 76
_STAGE = re.compile(r"encoder\.layer\.(?P<layer>\d+)\.|segmentation_head\.")
_HEAD_TITLE = "DeepLabV3"
_MOST = 400  # blocks; a damaged manifest may name more than anybody would look at


def block_title(name: str) -> str:
    """A block's name as people read it.

    >>> block_title("encoder.layer.2.transformer.layer.0")
    '2 · transformer 0'
    >>> block_title("encoder.layer.1.layer.0")
    '1 · block 0'
    >>> block_title("conv_stem")
    'conv stem'
    """
    short = re.sub(r"^encoder\.layer\.(\d+)\.", r"\1 · ", name)
    short = short.replace("transformer.layer.", "transformer ").replace("layer.", "block ")
    short = short.replace("segmentation_head.", "head · ")
    return short.replace("downsampling_layer", "downsampling").replace("_", " ")


def draw_network(blocks: Sequence[Block]) -> str:
    """Inline SVG; its colours are the page's. ``blocks`` in the order in which they run, one or more."""
    blocks = blocks[:_MOST]
    total = max(1, sum(max(0, block.macs) for block in blocks))
    most = max(1, *(block.macs for block in blocks))
    parts, y = [], 4
    for stage, group in groupby(blocks, key=_stage):
        rows = list(group)
        parts += _stage_head(stage, rows, y)
        y += _HEAD if stage else 0
        parts += _capsules(rows, y)
        for block in rows:
            parts += _row(block, y, block.macs / total, block.macs / most)
            y += _ROW
    spine = f'<line class="spine" x1="{_SPINE}" y1="{_ROW // 2 + 4}" x2="{_SPINE}" y2="{y - _ROW // 2}"/>'
    box = f'viewBox="0 0 {_WIDTH} {y + 4}"'
    head = f'<svg class="net" {box} role="img" aria-label="The blocks of the network, in order">'
    return "".join([head, spine, *parts, "</svg>"])


def _stage(block: Block) -> str:
    found = _STAGE.match(block.name)
    return "" if found is None else f"layer {found['layer']}" if found["layer"] else _HEAD_TITLE


def _stage_head(stage: str, rows: Sequence[Block], y: int) -> list[str]:
    if not stage:
        return []
    what = "MobileViT block: local, then global" if any(map(_is_transformer, rows)) else "convolutions"
    what = "several reaches at once, then classes" if stage == _HEAD_TITLE else what
    line = f'<line class="rule" x1="{_TEXT}" y1="{y + 5}" x2="{_WIDTH}" y2="{y + 5}"/>'
    title = f'{stage} <tspan class="soft">{what}</tspan>'
    return [line, f'<text class="stage" x="{_TEXT}" y="{y + 19}">{title}</text>']


def _is_transformer(block: Block) -> bool:
    return "transformer" in block.kind


def _capsules(rows: Sequence[Block], y: int) -> list[str]:
    """A frame around each run of transformer layers."""
    found = []
    for is_transformer, group in groupby(rows, key=_is_transformer):
        height = _ROW * len(list(group))
        if is_transformer:
            box = f'x="{_SPINE - 9}" y="{y + 1}" width="{_WIDTH - _SPINE + 9}" height="{height - 2}" rx="9"'
            found.append(f'<rect class="capsule" {box}/>')
        y += height
    return found


def _row(block: Block, y: int, share: float, length: float) -> list[str]:
    middle, base = y + _ROW / 2, y + _ROW / 2 + 4
    kind = "hot" if _is_transformer(block) else "cold"
    height, width, channels = block.shape
    shape = f"{channels}" if (height, width) == (1, 1) else f"{height}&#215;{width}&#215;{channels}"
    bar = f'x="{_BAR}" y="{middle - 4}" width="{max(0.5, _LONGEST * max(0.0, length)):.1f}" height="8" rx="1.5"'
    return [
        f"<g><title>{escape(block.name)}: {block.parameters:,} parameters, {block.macs:,} multiply-accumulates</title>",
        _glyph(block, middle),
        f'<text x="{_TEXT}" y="{base}">{escape(_short(block.kind))}</text>',
        f'<text class="soft" x="{_SHAPE}" y="{base}" text-anchor="end">{shape}</text>',
        f'<rect class="{kind}" {bar}/>' if block.macs > 0 else "",
        f'<text x="{_WIDTH - 4}" y="{base}" text-anchor="end">{_percent(share)}</text></g>',
    ]


def _short(kind: str) -> str:
    return kind[:40].replace("depthwise convolution", "depthwise")


def _percent(share: float) -> str:
    return "-" if share <= 0 else "&lt;0.1%" if share < 0.001 else f"{share:.1%}"


def _glyph(block: Block, y: float) -> str:
    """Transformer: a filled square with rows; inverted residual: narrow, wide, narrow; pyramid: a ring around a circle.

    Others: a circle.
    """
    if _is_transformer(block):
        lines = "".join(f"M{_SPINE - 3} {y + dy}h6" for dy in (-2.5, 0, 2.5))
        square = f'<rect class="hot" x="{_SPINE - 6}" y="{y - 6}" width="12" height="12" rx="3"/>'
        return f'{square}<path class="etch" d="{lines}"/>'
    if block.kind == "inverted residual":
        return f'<path class="node" d="M{_SPINE - 3} {y - 6}h6l4 6l-4 6h-6l-4 -6z"/>'
    if block.kind == "spatial pyramid":
        return "".join(f'<circle class="node" cx="{_SPINE}" cy="{y}" r="{r}"/>' for r in (6.5, 2.5))
    return f'<circle class="node" cx="{_SPINE}" cy="{y}" r="{2.5 if block.macs <= 0 else 4}"/>'
