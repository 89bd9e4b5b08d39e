"""The commands of ``mvit2`` in the order of work: what --help says of each without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["COMMANDS", "RENAMED", "CommandRow"]


@dataclass(frozen=True)
class CommandRow:
    """One command.

    Attributes:
        name: what is typed.
        section: its heading in ``mvit2 --help``.
        help: one sentence or two.
        examples: lines that can be typed, the most common first.
        runs_models: it gives model files to native code, and so runs in a process of its own (boundary.py).
        module: file in commands/ whose function of the same name is the command; default: ``name``.
    """

    name: str
    section: str
    help: str
    examples: tuple[str, ...]
    module: str = ""
    runs_models: bool = False

    @property
    def function(self) -> str:
        return self.module or self.name


_MAKE, _TRUST, _MEASURE, _SHIP = "Make and use", "Check", "Measure", "Ship"

_ROWS = (
    CommandRow(
        "export",
        _MAKE,
        "Export a checkpoint to a bundle: model files, labels, golden vectors, manifest, report.",
        (
            "mvit2 export --weights demo --variant 0.5",
            "mvit2 export --weights my_checkpoint --calibration photos --eval labelled",
            "mvit2 export --weights apple/mobilevitv2-1.0-imagenet1k-256 --format tflite --quantize int8",
        ),
    ),
    CommandRow(
        "predict",
        _MAKE,
        "Classify or segment images, folders, videos or a camera with a bundle, on every artifact.",
        (
            "mvit2 predict BUNDLE photo.jpg",
            "mvit2 predict BUNDLE photos --artifact int8 --format csv > answers.csv",
            "mvit2 predict BUNDLE --camera 0 --frames 3",
        ),
        runs_models=True,
    ),
    CommandRow(
        "info",
        _MAKE,
        "Describe a bundle, a model file or a checkpoint.",
        ("mvit2 info BUNDLE", "mvit2 info BUNDLE/model_int8.tflite", "mvit2 info my_checkpoint"),
        runs_models=True,
    ),
    CommandRow(
        "check",
        _TRUST,
        "Check a bundle on this machine: hashes, preprocessing, and every model against its recorded answers.",
        ("mvit2 check BUNDLE", "mvit2 check BUNDLE --on all --record"),
        runs_models=True,
    ),
    CommandRow(
        "evaluate",
        _TRUST,
        "Measure every artifact on labelled images: accuracy or mIoU, agreement, worst cases.",
        ("mvit2 evaluate BUNDLE labelled", "mvit2 evaluate BUNDLE labelled --save-worst worst --resume progress.jsonl"),
    ),
    CommandRow(
        "compare",
        _TRUST,
        "Compare two bundles or model files: size, accuracy on labelled images, agreement, latency.",
        ("mvit2 compare BEFORE AFTER labelled", "mvit2 compare BUNDLE/model_float32.tflite BUNDLE/model_int8.tflite"),
        runs_models=True,
    ),
    CommandRow(
        "audit",
        _TRUST,
        "Find out on labelled images which preprocessing a classifier's weights want: channels, resize, filter.",
        ("mvit2 audit my_checkpoint labelled --images 200", "mvit2 audit my_checkpoint labelled --set"),
    ),
    CommandRow(
        "bench",
        _MEASURE,
        "Measure how long the models of bundles take, side by side in one run.",
        ("mvit2 bench BUNDLE", "mvit2 bench BUNDLE --threads 1,4 --json > before.json"),
        runs_models=True,
    ),
    CommandRow(
        "sensitivity",
        _MEASURE,
        "Measure what each block of a network loses to int8, on held-out calibration images.",
        ("mvit2 sensitivity --weights my_checkpoint --calibration photos --plot blocks.png",),
    ),
    CommandRow(
        "devices",
        _MEASURE,
        "List the devices that models can be measured on, and why the figures of one would mislead.",
        ("mvit2 devices",),
    ),
    CommandRow(
        "report",
        _SHIP,
        "Write a bundle's report.html and model card: whether to ship it and why, how accurate, how fast.",
        ("mvit2 report BUNDLE --eval labelled", "mvit2 report BUNDLE --output report.html"),
    ),
    CommandRow(
        "app",
        _SHIP,
        "Write a folder to copy into an app: model, labels, sources, golden vectors as a test, README.",
        ("mvit2 app BUNDLE --target android", "mvit2 app BUNDLE --target ios --artifact int8 -o apps"),
        module="app_folder",
    ),
    CommandRow(
        "serve",
        _SHIP,
        "Run a bundle in the browser: a page on this machine, its models on two engines.",
        ("mvit2 serve BUNDLE",),
    ),
    CommandRow(
        "doctor",
        _SHIP,
        "Show versions, engines, accelerators and what is missing: the text for a bug report.",
        ("mvit2 doctor", "mvit2 doctor --json"),
    ),
)

COMMANDS: Mapping[str, CommandRow] = MappingProxyType({row.name: row for row in _ROWS})
RENAMED: Mapping[str, str] = MappingProxyType({"bundle": "app"})
"""Old word -> new word: the old one works for one more release, and is in no help."""
