"""Plots as inline SVG: matplotlib draws, the page's style sheet colours, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mvit2.errors import MissingEngineError

from .network_drawing import block_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mvit2.runtime.bench.run import Trial

    from .task import BlockNoise

__all__ = ["PAPER", "Tradeoff", "colour_of", "drawn", "label_row", "latency_plot", "sensitivity_plot", "tradeoff_plot"]

# matplotlib takes no CSS: each of these colours stands for a variable of the style sheet and occurs nowhere else.
_INK, _SOFT, _RULE, _FLOAT, _ACCENT, PAPER = (f"#0b00{i:02x}" for i in range(1, 7))
_CSS = {_INK: "ink", _SOFT: "soft", _RULE: "rule", _FLOAT: "float", _ACCENT: "accent", PAPER: "paper"}
_WIDTH = 360 / 72  # inches; the width of a phone, so that letters have their size there
_FONT = 11  # points
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": _FONT,
    "xtick.labelsize": _FONT - 1,
    "axes.linewidth": 0.8,
}


def latency_plot(trials: Sequence[Trial]) -> str:
    """A thin line from the minimum to the 99th percentile, a thick one to the 90th, a dot at the median."""
    found = [measured for trial in trials for measured in trial.results]
    several = len(trials) > 1
    edge = min(max(m.inference.p99 for m in found), 2.5 * max(m.inference.median for m in found)) * 1.05

    def draw(axes: Axes) -> None:
        for y, measured in enumerate(found):
            t, colour = measured.inference, colour_of(measured.precision)
            axes.plot((t.min, min(t.p99, edge)), (y, y), color=colour, linewidth=1.2)
            axes.plot((t.min, t.p90), (y, y), color=colour, linewidth=5, solid_capstyle="butt", alpha=0.55)
            axes.plot(t.median, y, "o", markersize=6.5, markeredgecolor=PAPER, markerfacecolor=colour)
            if t.p99 > edge:
                axes.plot(edge, y, ">", markersize=5, color=colour, clip_on=False)
            threads = f" · {measured.threads} thread{'s' if measured.threads > 1 else ''}" if several else ""
            label_row(axes, y, measured.model + threads, f"{t.median:.2f} ms")
        axes.set_xlim(0, edge)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g} ms")

    return drawn("latency", "Latency of one inference of every artifact", len(found), draw)


@dataclass(frozen=True)
class Tradeoff:
    """One artifact: median milliseconds, a share of right answers, bytes."""

    artifact: str
    precision: str
    milliseconds: float
    accuracy: float
    bytes: int


def tradeoff_plot(found: Sequence[Tradeoff], metric: str) -> str:
    """Accuracy over latency; the larger a dot, the larger the file. Best: up, left and small."""
    largest = max(one.bytes for one in found)
    rows = 5

    def draw(axes: Axes) -> None:
        for one in found:
            size = 40 + 360 * one.bytes / largest
            colour = colour_of(one.precision)
            axes.scatter([one.milliseconds], [one.accuracy], s=size, color=colour, alpha=0.55, edgecolor=colour)
            name = one.artifact.removeprefix("model_")
            axes.annotate(
                name,
                (one.milliseconds, one.accuracy),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                color=_INK,
                fontsize=_FONT - 2,
            )
        shares = [one.accuracy for one in found]
        room = max(0.02, 0.3 * (max(shares) - min(shares)))
        axes.set_xlim(0, 1.25 * max(one.milliseconds for one in found))
        axes.set_ylim(min(shares) - room, max(shares) + 1.5 * room)
        axes.set_yticks([])
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g} ms")

    return drawn("tradeoff", f"{metric} over latency of every artifact; the area of a dot is its size", rows, draw)


def sensitivity_plot(losses: Sequence[BlockNoise]) -> str:
    """Bars of each block's signal-to-noise ratio when it alone is int8; the most sensitive first, the longest last."""
    import matplotlib.transforms

    def draw(axes: Axes) -> None:
        axes.barh(range(len(losses)), [loss.alone_snr_db for loss in losses], height=0.62, color=_ACCENT)
        for y, loss in enumerate(losses):
            text: Any = {"color": _INK, "verticalalignment": "center", "clip_on": False}
            across = matplotlib.transforms.blended_transform_factory(axes.transAxes, axes.transData)
            axes.text(-0.02, y, block_title(loss.block)[:40], horizontalalignment="right", transform=across, **text)
            axes.text(1.02, y, f"{loss.alone_agreement:.1%}", horizontalalignment="left", transform=across, **text)
        axes.margins(x=0)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g} dB")

    return drawn("sensitivity", "Signal-to-noise ratio of each block in int8", len(losses), draw, (0.37, 0.86), 19)


def colour_of(precision: str | None) -> str:
    return _FLOAT if precision == "float32" else _ACCENT


def label_row(axes: Axes, y: int, name: str, value: str) -> None:
    """Above a row: what it is on the left, its figure on the right."""
    text: Any = {"transform": axes.get_yaxis_transform(), "verticalalignment": "bottom"}
    axes.text(0, y - 0.22, name, color=_SOFT, **text)
    axes.text(1, y - 0.22, value, color=_INK, horizontalalignment="right", **text)


def drawn(
    name: str,
    title: str,
    rows: int,
    draw: Callable[[Axes], None],
    sides: tuple[float, float] = (0.004, 0.985),
    row: float = 40,
) -> str:
    """``draw`` on axes with ``rows`` rows of ``row`` points, downwards; ``sides``: where the axes begin and end."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingEngineError("matplotlib", "export") from None
    below, height = 22, rows * row + 22 + 4
    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH, height / 72))
        axes = figure.add_axes((sides[0], below / height, sides[1] - sides[0], 1 - (below + 2) / height))
        axes.set_ylim(rows - 0.5, -0.5 - (0.25 if row > 30 else 0))
        draw(axes)
        _style(axes)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return _inline(stream.getvalue(), name, title)


def _style(axes: Axes) -> None:
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    axes.grid(axis="x", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0, labelcolor=_SOFT, pad=5)
    axes.locator_params(axis="x", nbins=5)


def _inline(svg: str, name: str, title: str) -> str:
    """matplotlib's file as a part of a page: no prologue, own ids, the page's colours and letters, any width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)  # styles would reach all
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*"', rf'<svg class="plot" role="img" aria-label="{title}" \1', svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family:[^;\"]*;?|font: ([\d.]+px)[^;\"]*", lambda m: f"font-size: {m[1]}" if m[1] else "", svg)
    for colour, variable in _CSS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
