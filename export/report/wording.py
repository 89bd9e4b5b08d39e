"""What the report and the model card say in words, from the manifest alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.bundle.measurements import Fidelity
from mvit2.difference import Measure
from mvit2.runtime.tasks.outputs import output_of
from mvit2.units import human_bytes

from .task import Highlight
from .verdict import shipped

if TYPE_CHECKING:
    from .gather import Report

__all__ = [
    "ERRORS",
    "OUR_ORIGINS",
    "answer",
    "by_float32",
    "export_again",
    "highlights",
    "hub_id",
    "number",
    "postprocessing",
    "preprocessing",
]

_ANSWERS: Mapping[Measure, str] = MappingProxyType(
    {"probabilities": "softmax probabilities", "logits": "logits", "masks": "the class of every pixel"}
)
ERRORS: Mapping[Measure, str] = MappingProxyType(  # max_relative, in words
    {
        "probabilities": "largest error of a log-probability",
        "logits": "largest error of a logit, of their range",
        "masks": "largest share of pixels of another class",
    }
)
OUR_ORIGINS: Mapping[str, str] = MappingProxyType(  # weights that come with mvit2 -> as --weights names them
    {"bundled": "demo", "seeded initialisation, never trained": "untrained"}
)
_COMMIT = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@[\w./-]+")


def number(value: int) -> str:
    """1_115_573 -> "1.1 M"."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.1f}{unit}"
    return str(value)


def preprocessing(manifest: Manifest) -> tuple[str, ...]:
    """What an app has to do, step by step."""
    spec = manifest.preprocess
    height, width = spec.image_size
    steps = ["Decode the image, apply its EXIF orientation, convert it to RGB."]
    if spec.resize_shortest is not None:
        steps.append(
            f"Resize it so that the shorter edge has {spec.resize_shortest} px ({spec.resample}, antialiased)."
        )
    if spec.resize_exact is not None:
        steps.append(f"Resize it to {spec.resize_exact[1]} x {spec.resize_exact[0]} px ({spec.resample}, antialiased).")
    if spec.resize_exact != spec.image_size:
        steps.append(f"Crop the centre, {width} x {height} px.")
    scale = "1/255" if abs(spec.scale * 255 - 1) < 1e-9 else f"{spec.scale:g}"
    if manifest.io == "image":
        normal = f", mean {list(spec.mean)} and standard deviation {list(spec.std)}" if spec.normalises else ""
        held = f"The channel order of the weights ({spec.channel_order}) and the scale {scale}{normal}"
        inside = f"{held} are inside the model."
        return (*steps, f"Pass the bytes as they are: uint8, RGB, 0 to 255. {inside}")
    if spec.normalises:
        steps.append(f"Multiply by {scale}, subtract {list(spec.mean)}, divide by {list(spec.std)} (red, green, blue).")
        return (*steps, f"Order the channels as {spec.channel_order}: float32, channels first.")
    return (*steps, f"Order the channels as {spec.channel_order}, multiply by {scale}: float32, channels first.")


def answer(manifest: Manifest) -> str:
    """What the numbers are that come out."""
    return "logits" if manifest.io == "tensor" else _ANSWERS[output_of(manifest).name]


def postprocessing(manifest: Manifest) -> tuple[str, ...]:
    """What an app has to do with a map of classes, step by step; nothing for a classifier."""
    name, spec = output_of(manifest).name, manifest.preprocess
    if name == "probabilities":
        return ()
    height, width = spec.image_size
    lies = f"over the {width} x {height} px that went in"
    steps = {
        "logits": (
            f"The map lies {lies}. Bring it to the image bilinearly, by the middles of pixels, without antialiasing.",
            "The class of a pixel is its largest logit; of equal ones the first.",
        ),
        "masks": (f"The mask lies {lies}: a pixel of the image has the class of the one in which its middle lies.",),
    }[name]
    cut = spec.resize_exact != spec.image_size
    return (*steps, *(("Undo resize and crop: what the crop cut off was not seen and has no class.",) if cut else ()))


def by_float32(manifest: Manifest, artifact: Artifact) -> float | None:
    """The size of ``artifact`` by that of the float32 one of the same engine; None without one."""
    sizes = (a.file.bytes for a in manifest.artifacts if (a.engine, a.precision) == (artifact.engine, "float32"))
    size = next(sizes, 0)
    return artifact.file.bytes / size if size > 0 else None


def hub_id(manifest: Manifest) -> str | None:
    """owner/name of the weights, where they came from a hub."""
    found = _COMMIT.fullmatch(manifest.weights.origin)
    return found[1] if found else None


def export_again(manifest: Manifest) -> tuple[str, ...]:
    """The command that makes this bundle, in parts; names in capitals for what the manifest does not hold."""
    origin = manifest.weights.origin
    weights = origin if hub_id(manifest) else OUR_ORIGINS.get(origin, "CHECKPOINT")
    start = f"mvit2-export --variant {shlex.quote(manifest.variant)} --weights {weights}"
    if not manifest.options:
        return start, "# and other options, which that version of mvit2 did not record"
    parts: list[list[str]] = []  # an option each, with all that was said of it
    for word in manifest.options:
        if not parts or (word.startswith("--") and parts[-1][0] != word):
            parts.append([])
        parts[-1].append(shlex.quote(word))
    return start, *(" ".join(part) for part in parts)


def highlights(report: Report) -> list[Highlight]:
    """The figures that one looks for first, of what is known: parity, then the file that an app would get."""
    manifest = report.manifest
    differences = [a.parity for a in manifest.artifacts if a.parity is not None and a.precision == "float32"]
    found = []
    if differences:
        worst = max(differences, key=lambda d: d.max_relative)
        note = f"{ERRORS[worst.measure]}, float32; accepted {worst.tolerance:.0e}"
        found.append(Highlight(f"{worst.max_relative:.1e}", "max error vs torch", note))
    shown = shipped(manifest) or manifest.artifacts[0]
    ratio = by_float32(manifest, shown)
    note = "" if ratio is None or shown.precision == "float32" else f"{ratio:.2f} of float32"
    found.append(Highlight(human_bytes(shown.file.bytes), shown.file.path, note))
    if shown.quantisation is not None:
        agreement, on = _agreement(report, shown.file.path, shown.quantisation.fidelity)
        note = f"{report.task.same}, {on}"
        found.append(Highlight(f"{agreement:.1%}", "agreement with float32", note))
    return found + _measured(report, shown.file.path)


def _agreement(report: Report, artifact: str, fidelity: Fidelity) -> tuple[float, str]:
    """With float32, and on which images: of the export or of an evaluation, the larger sample counts."""
    rows = report.accuracy.rows if report.accuracy else ()
    row = next((row for row in rows if row.artifact == artifact), None)
    if row is not None and row.agreement is not None and row.images > fidelity.images:
        return row.agreement, f"{row.images} labelled images"
    return fidelity.agreement, fidelity.on


def _measured(report: Report, artifact: str) -> list[Highlight]:
    rows = report.accuracy.rows if report.accuracy else ()
    found = [row.highlight for row in rows if row.artifact == artifact]
    trials = report.timing.trials if report.timing else ()
    measured = next((m for trial in trials for m in trial.results if m.model == artifact), None)
    if measured is not None:
        note = f"{measured.threads} thread{'' if measured.threads == 1 else 's'}, this machine"
        if measured.ratio is not None and measured.reference != artifact:
            note = f"{measured.ratio:.2f} of float32; {note}"
        if report.timing is not None and report.timing.noisy:
            note = f"noisy, measure again; {note}"
        found.append(Highlight(f"{measured.inference.median:.2f} ms", "one inference", note))
    return found
