"""``mvit2 audit``: the command, its table and its verdict."""

from __future__ import annotations

import json as json_text
import os
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvit2.bundle.manifest import DEFAULT_SEED, MANIFEST
from mvit2.errors import UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json, Labelled, Labels, Number, Opt, Quiet, Synsets, Variant
from mvit2.image.dataset import labelled_images
from mvit2.tasks import CLASSIFY

if TYPE_CHECKING:
    from mvit2.runtime.audit.candidates import Measured, Subject
    from mvit2.runtime.audit.verdict import Audit, Row

__all__ = ["audit"]

_TARGET = "A bundle, or a checkpoint as for --weights: folder, file, demo, hub id."
_SET = "Write a really better preprocessing into the preprocessor_config.json of a checkpoint's folder."

Target = Annotated[str, typer.Argument(metavar="BUNDLE|CHECKPOINT", help=_TARGET)]
Images = Annotated[int | None, Number(metavar="N", help="A random part of the images; default: all.")]
Seed = Annotated[int, Number(metavar="N", help="Which part.")]
Set = Annotated[bool, Opt("--set", help=_SET)]


def audit(
    target: Target,
    source: Labelled,
    images: Images = None,
    seed: Seed = DEFAULT_SEED,
    set_: Set = False,
    variant: Variant = None,
    labels: Labels = None,
    synsets: Synsets = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    if images is not None and images < 1:
        raise UsageError(f"images is {images}, accepted: 1 or more, or none for all.")
    if set_:
        _refuse_to_set(target)
    from mvit2.runtime.audit.candidates import measure, variants
    from mvit2.runtime.audit.verdict import judge

    subject = _open(target, variant, labels)
    pictures = labelled_images(source, subject.labels, synsets)
    if images is not None and images < len(pictures):
        pictures = sorted(Random(seed).sample(pictures, images))
    specs = variants(subject.preprocess, subject.any_scale)
    with screen.progress(f"auditing {len(specs)} preprocessings on {len(pictures)} images", len(pictures)) as advance:
        measured = measure(subject, specs, pictures, advance)
    found = judge(specs, measured)
    _warn_of_unreadable(measured)
    _show(found)
    needed = _conclude(found, target, set_)
    content: dict[str, Any] = {"target": target, "audited": subject.name, "source": str(source), "right": found.right}
    content |= {"settings": needed, "set": set_ and not found.right}
    unreadable = {str(path): reason for path, reason in measured.unreadable.items()}
    screen.json({**content, **asdict(found), "unreadable": unreadable, "warnings": screen.warnings})


def _is_bundle(target: str) -> bool:
    return bool(target) and os.path.isfile(os.path.join(target, MANIFEST))


def _open(target: str, variant: str | None, labels: Path | None) -> Subject:
    if _is_bundle(target):
        if variant is not None or labels is not None:
            raise UsageError(
                f"{target} is a bundle, which knows its variant and classes; leave out --variant, --labels."
            )
        from mvit2.runtime.audit.candidates import open_subject

        return open_subject(Path(target))
    import torch

    from mvit2.checkpoint.load import load_checkpoint
    from mvit2.export.audit_checkpoint import subject_of

    with screen.step(f"opening {target}"):
        try:
            checkpoint = load_checkpoint(target, variant, labels)
        except UsageError as error:
            raise UsageError(f"{target!r} holds no {MANIFEST}, so it is not a bundle, and: {error}") from None
    if checkpoint.task is not CLASSIFY:
        raise UsageError(
            f"{target} holds {checkpoint.task.network}; audit is for image classifiers. Export it once for each "
            "--channel-order or --resize in question, and let mvit2 evaluate BUNDLE MASKS or mvit2 compare tell."
        )
    torch.set_num_threads(1)  # of one image: several are worked on side by side
    for warning in checkpoint.warnings:
        screen.warn(warning)
    return subject_of(checkpoint)


def _refuse_to_set(target: str) -> None:
    """Refuse early, before minutes of work."""
    if _is_bundle(target):
        raise UsageError(
            f"--set cannot change {target}, a finished bundle; accepted: the folder of a checkpoint; audit without "
            "--set, set what it says in the checkpoint's preprocessor_config.json and export again."
        )
    if not os.path.isdir(os.path.expanduser(target)):
        raise UsageError(
            f"--set cannot change {target!r}, which is no folder; accepted: the folder of a checkpoint; copy the "
            "checkpoint into a folder and audit that."
        )


def _warn_of_unreadable(measured: Measured) -> None:
    if measured.unreadable:
        total = len(measured.unreadable) + len(measured.hits)
        screen.warn(
            f"{len(measured.unreadable)} of {total} images cannot be read and count nowhere; the first: "
            f"{next(iter(measured.unreadable.values()))}"
        )


# ---- what was found ----


def _show(found: Audit) -> None:
    columns = ("preprocessing", "top-1 (95 %)", "won / lost", "mean log p", "against configured (95 %)", "")
    title = f"{len(found.rows)} preprocessings on {found.images} images; possible: no other is certainly better"
    screen.table(title, columns, (_cells(row, found) for row in found.rows))


def _cells(row: Row, found: Audit) -> tuple[str, ...]:

    low, high = row.top1_interval
    top1 = f"{row.top1 / found.images:.1%} ({100 * low:.1f} to {100 * high:.1f})"
    name, log_probability = row.preprocess.in_words(), f"{row.log_probability:.3f}"
    possible = ["possible"] if row.possible else []
    if row.preprocess == found.configured:
        return name, top1, "", log_probability, "", ", ".join(["configured", *possible])
    between = "" if row.gain_interval is None else " ({:+.3f} to {:+.3f})".format(*row.gain_interval)
    chosen = ["best choice"] if row.preprocess == found.winner else []
    won = f"{row.gained} / {row.lost}"
    return name, top1, won, log_probability, f"{row.gain:+.3f}{between}", ", ".join([*chosen, *possible])


def _conclude(found: Audit, target: str, write: bool) -> dict[str, Any]:
    """Say what follows; with --set do it. Returns the settings that the winner needs, none if that is configured."""
    from mvit2.export.audit_checkpoint import PREPROCESSOR, settings, write_settings
    from mvit2.runtime.audit.candidates import changes

    told = [("these images decide", found.certain), ("they leave open, so it stays as configured", found.open)]
    sure = "; ".join(f"{what}: {', '.join(axes)}" for what, axes in told if axes)
    if found.right:
        screen.result(
            f"keep the configured {found.configured.in_words()}: no other is better by a difference that "
            f"{found.images} images can show{', and nothing was set' if write else ''}."
        )
        screen.result(sure)
        return {}
    best, configured = found.row(found.winner), found.row(found.configured)
    screen.result(
        f"wrong: {', '.join(changes(found.configured, found.winner))}. The weights want "
        f"{found.winner.in_words()}; the configured {found.configured.in_words()} costs "
        f"{100 * (best.top1 - configured.top1) / found.images:.1f} points of top-1 ({best.gained} images lost, "
        f"{best.lost} won)."
    )
    screen.result(sure)
    needed = settings(found.configured, found.winner)
    words = json_text.dumps(needed)
    if write:
        folder = Path(os.path.expanduser(target))
        needed = write_settings(folder, found.configured, found.winner)
        screen.result(f"set in {folder / PREPROCESSOR}: {json_text.dumps(needed)}")
        screen.result(f"next: mvit2-export --weights {folder}")
    elif os.path.isdir(os.path.expanduser(target)) and not _is_bundle(target):
        screen.result(f"next: --set writes {words} into {PREPROCESSOR}")
    else:
        screen.result(f"next: set {words} in the checkpoint's {PREPROCESSOR} and export again")
    return needed
