"""MobileViTV2 beside the first MobileViT, in one interleaved run: make headline, or python -m tests.headline --help.

The paper of version 2 (arXiv 2206.02680) says that it is 3.2 times as fast as version 1, on an iPhone 12, in Core ML.
Here the same pairs run on one thread of a CPU, as our files and as transformers' own graph. Measured is the time of the
thread that computes, so that other programs on the machine change little. Weights are random: no time depends on them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvit2.network.architectures import family_of, find_variant
from mvit2.runtime.engines.random_inputs import random_inputs
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.machine import cpu_name
from mvit2.runtime.timing import interleaved, paired_ratio

from . import peers

ENGINES = {".onnx": "ONNX Runtime", ".tflite": "LiteRT"}
THEIRS: Mapping[str, tuple[str, peers.Maker]] = {  # transformers' network: where a tool puts its file, and the tool
    ".onnx": ("transformers.onnx", peers.transformers_onnx),
    ".tflite": ("*/transformers_float32.tflite", partial(peers.onnx2tf_tflite, "transformers", "float32")),
}
LOWER_QUARTILE = 25  # percentile; of thread time, whose upper half holds what other programs did to the caches


@dataclass(frozen=True)
class Row:
    """One model beside version 2's of the same graph, engine, precision and image size.

    Attributes:
        graph: "mvit2" or "transformers".
        ms: lower quartile of the thread's time, of one image.
        ratio: the median over the turns of its time by that of version 2's.
    """

    pair: str
    edge: int
    engine: str
    precision: str
    graph: str
    variant: str
    ms: float
    ratio: float


def files_of(
    subject: peers.Subject, folder: Path, options: argparse.Namespace
) -> Iterator[tuple[tuple[str, ...], Path]]:
    """(engine, precision, graph) and a file for each; those that are in ``folder`` already are taken as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = next(folder.glob("mobilevit*-*"), None) or peers.ours(subject, folder)
    for suffix, engine in ENGINES.items():
        for precision in options.precisions:
            yield (engine, precision, "mvit2"), bundle / f"model_{precision}{suffix}"
    for suffix in options.theirs:
        try:
            place, make = THEIRS[suffix]
            made = next(folder.glob(place), None) or make(subject, folder)
            yield (ENGINES[suffix], "float32", "transformers"), made
        except (Exception, SystemExit) as error:  # whatever a tool raises is what its user would see
            print(f"{subject.variant}, {subject.edge} px: no {suffix} of transformers' graph: {error}", file=sys.stderr)


def measured(files: Mapping[tuple[str, ...], Path], runs: int) -> dict[tuple[str, ...], NDArray[np.float64]]:
    """Seconds [runs] of each file."""
    work: dict[str, Callable[[], object]] = {}
    for key, file in files.items():
        model = open_any(file, 1)
        work["|".join(key)] = partial(model.run_all, random_inputs(model))
    seconds = interleaved(work, runs=runs, clock=time.thread_time_ns)
    return {key: seconds["|".join(key)] for key in files}


def rows_of(pair: tuple[str, str], edge: int, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Both networks of a pair at one size, all their files in one run."""
    files: dict[tuple[str, ...], Path] = {}
    for variant in pair:
        subject = peers.Subject(variant, "classify", edge)
        files |= {(variant, *key): file for key, file in files_of(subject, folder / f"{variant}-{edge}", options)}
    seconds = measured(files, options.runs)
    rows = []
    for (variant, engine, precision, graph), taken in seconds.items():
        reference = seconds.get((pair[0], engine, precision, graph))
        if reference is None:  # a tool could not make version 2's
            continue
        ms = 1e3 * float(np.percentile(taken, LOWER_QUARTILE))
        ratio = paired_ratio(taken, reference)
        rows.append(Row("/".join(pair), edge, engine, precision, graph, variant, ms, ratio))
    return rows


def table(rows: Sequence[Row], edges: Sequence[int]) -> str:
    """Markdown: a line for each pair, engine, precision and graph; for each size ms of both and their ratio."""
    sizes = " | ".join(f"{edge} px: V2 ms | V1 ms | V1 / V2" for edge in edges)
    lines = [f"| pair | engine | precision | graph | {sizes} |", "|---" * (4 + 3 * len(edges)) + "|"]
    found = {(row.pair, row.engine, row.precision, row.graph, row.variant, row.edge): row for row in rows}
    for pair, engine, precision, graph in dict.fromkeys((r.pair, r.engine, r.precision, r.graph) for r in rows):
        second, first = pair.split("/")
        cells: list[str] = []
        for edge in edges:
            both = [found.get((pair, engine, precision, graph, variant, edge)) for variant in (second, first)]
            cells += ["-" if row is None else f"{row.ms:.1f}" for row in both]
            cells.append("-" if both[1] is None else f"**{both[1].ratio:.2f}**")
        lines.append(f"| {' | '.join([pair, engine, precision, graph, *cells])} |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], file: Path) -> None:
    """How often version 2 is as fast as version 1, against the edge of the image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    ours = [row for row in rows if row.graph == "mvit2" and row.variant == row.pair.split("/")[1]]
    for pair, engine, precision in dict.fromkeys((row.pair, row.engine, row.precision) for row in ours):
        line = [row for row in ours if (row.pair, row.engine, row.precision) == (pair, engine, precision)]
        style = "--" if precision == "int8" else "-"
        label = f"{pair}, {engine}, {precision}"
        axes.plot([row.edge for row in line], [row.ratio for row in line], style, marker="o", label=label)
    axes.axhline(3.2, color="grey", linewidth=0.8)
    axes.annotate(
        "the paper: iPhone 12, Core ML, 256 px", (min(row.edge for row in ours), 3.2), va="bottom", fontsize=8
    )
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(sorted({row.edge for row in ours}))
    axes.set_xlabel("edge of the image in pixels")
    axes.set_ylabel("time of MobileViT / time of MobileViTV2, one thread")
    axes.legend(fontsize=7)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[256, 384, 512], help="edges of the image, multiples of 32"
    )
    parser.add_argument("--pairs", nargs="+", default=["1.0/small", "0.5/xx-small"], help="version 2 / version 1")
    parser.add_argument("--precisions", nargs="+", choices=("float32", "int8"), default=["float32", "int8"])
    parser.add_argument(
        "--theirs",
        nargs="*",
        choices=tuple(THEIRS),
        default=[".onnx"],
        help="transformers' own graph; .tflite takes long",
    )
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="make the files in this folder, and take those that are there")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw the ratios there: .png, .svg or .pdf")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the tools have many
    pairs = [tuple(find_variant(name).name for name in pair.split("/")) for pair in options.pairs]
    for pair in pairs:
        if [family_of(name).name for name in pair] != ["mobilevitv2", "mobilevit"]:
            parser.error(
                f"--pairs {'/'.join(pair)} is not a variant of version 2 and one of version 1, such as 1.0/small"
            )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="mvit2-headline-") as scratch:
        for pair in pairs:
            for edge in options.sizes:
                rows += rows_of((pair[0], pair[1]), edge, options.keep or Path(scratch), options)
    print(f"{cpu_name()}, 1 thread, milliseconds of CPU time (lower quartile of {options.runs} turns)\n")
    print(table(rows, options.sizes))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.plot is not None:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
