"""Where weights come from: ``--weights auto|demo|untrained|HUB_ID|FILE|FOLDER`` becomes files on this machine.

Only ``auto`` may fall back (to the bundled demo checkpoint, with a warning); an explicit choice never does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from mvit2.bundle.kinds import MANIFEST, WEIGHTS
from mvit2.errors import CheckpointError, UsageError, did_you_mean
from mvit2.network.architectures import (
    ARCHITECTURES,
    DEFAULT_VARIANT,
    family_of,
    find_variant,
    hub_id,
    list_variants,
    published_identity,
)
from mvit2.tasks import CLASSIFY, Task

from .hub import Unreachable, fetcher
from .shards import INDEX, shards_of

__all__ = ["KEYWORDS", "Source", "bundled_variants", "called", "locate"]

KEYWORDS = ("auto", "demo", "untrained")
_BUNDLED = Path(__file__).parents[1] / "checkpoints"
_CONFIG = "config.json"
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")  # transformers reads either
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order of preference: safetensors runs no code
_INDEXES = tuple(name + INDEX for name in _WEIGHTS)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


@dataclass(frozen=True)
class Source:
    """A checkpoint's files; ``weights`` is None for the untrained network, the others where there is no such file."""

    name: str  # identity in the bundle's name: "imagenet1k-256", "demo20", "untrained"
    origin: str  # for the manifest: hub id and commit, "bundled", or the file's name
    weights: Path | None = None
    config: Path | None = None
    preprocessor: Path | None = None
    warning: str | None = None


def bundled_variants(task: Task = CLASSIFY) -> list[str]:
    """The variants for which a trained checkpoint of the task comes with this package."""
    return [one.name for one in list_variants() if (_home(one.name, task) / _WEIGHTS[0]).is_file()]


def locate(weights: str, variant: str | None = None, task: Task = CLASSIFY) -> Source:
    """The files behind ``--weights``. Raises UsageError or CheckpointError, each naming what can be chosen instead.

    ``variant`` and ``task`` are for the keywords. Without ``variant`` it is 1.0 (``auto``), or of what comes with this
    package 1.0 or else the widest.
    """
    if weights == "untrained":
        return Source("untrained", "seeded initialisation, never trained")
    if weights == "demo":
        return _bundled(variant or _usual(task), task)
    if weights == "auto":
        return _auto(variant, task)
    path = Path(os.path.expanduser(weights))  # unlike Path.expanduser, this leaves "~nobody" alone
    if weights and path.is_dir():  # an empty word, say from an unset shell variable, would be the current folder
        source = called(_absolute(path).name)
        return _folder(path, source.name, source.origin)
    if weights and path.exists():
        return _file(path)
    if path.suffix.lower() not in WEIGHTS and _HUB_ID.fullmatch(weights):
        return _explicit_hub(weights)
    near = did_you_mean(weights, KEYWORDS)
    raise UsageError(
        f"--weights {weights!r} is no file, no folder and no hub id (owner/name).{near} "
        f"Accepted: {', '.join(KEYWORDS)}, a hub id such as {hub_id(task)}, a file, a folder."
    )


def called(name: str) -> Source:
    """The identity of what lies in a folder of that name."""
    return Source(_own_name(name), _printable(name))


def _absolute(path: Path) -> Path:
    """Without ``..``, but through no link: the hub's cache keeps model.safetensors as a link into another folder."""
    return Path(os.path.abspath(path))


def _home(variant: str, task: Task) -> Path:
    return _BUNDLED / f"{variant}{task.suffix}"


def _usual(task: Task) -> str:
    """The variant that is taken of what comes along where nobody asks for one."""
    held = bundled_variants(task)
    return DEFAULT_VARIANT if DEFAULT_VARIANT in held else held[-1]


def _bundled(variant: str, task: Task) -> Source:
    held = bundled_variants(task)
    if variant not in held:
        raise CheckpointError(
            f"no checkpoint for variant {variant} of {task.network} comes with mvit2 (there is one for: "
            f"{', '.join(held)}). Choose {_choices(task)}."
        )
    folder = _home(variant, task)
    classes = _count_classes(folder / _CONFIG)
    return _folder(folder, f"demo{classes}", "bundled")


def _count_classes(config: Path) -> int:
    import json

    return len(json.loads(config.read_text())["id2label"])


def _choices(task: Task) -> str:
    others = [f"--variant {name} --weights demo" for name in bundled_variants(task)]
    return ", ".join([*others, "--weights untrained (latency work only)", "--weights FILE or FOLDER"])


def _auto(variant: str | None, task: Task) -> Source:
    name = find_variant(variant or DEFAULT_VARIANT).name
    published = hub_id(task, name)
    try:
        if published is not None:
            return _hub(published)
        problem = f"no weights for variant {name} of {task.network} were published"
        insist, retry = f"published is {hub_id(task)}.", ""
    except Unreachable as reason:
        problem = f"{published} is not in the local cache and the hub cannot be reached ({reason})"
        insist, retry = f"to insist on that one, give --weights {published}.", ", or retry with network access"
    if variant is not None and name not in bundled_variants(task):
        raise CheckpointError(
            f"{problem}, and no checkpoint for variant {name} comes with mvit2. Choose {_choices(task)}{retry}."
        )
    held = name if variant is not None else _usual(task)
    demo = _bundled(held, task)
    which = f"{demo.name}, {family_of(held).variant_noun} {held}"
    warning = (
        f"{problem}: using the DEMO checkpoint {which}, that comes with mvit2 instead. It knows "
        f"{demo.name.removeprefix('demo')} classes and is not the published network; {insist}"
    )
    return replace(demo, warning=warning)


def _folder(folder: Path, name: str, origin: str) -> Source:
    if (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder} is a bundle, what an export makes; name the checkpoint that it was made from.")
    weights = next((folder / file for file in (*_WEIGHTS, *_INDEXES) if (folder / file).is_file()), None)
    if weights is None:
        single = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in WEIGHTS and p.is_file()]
        if len(single) != 1:
            found = ", ".join(p.name for p in single[:3]) + (", ..." if len(single) > 3 else "")
            raise CheckpointError(
                f"{folder}: expected {' or '.join(_WEIGHTS)}, or exactly one file ending in {' '.join(WEIGHTS)}; "
                f"found {found or 'none'}. Name one FILE; a checkpoint in several files needs its {_INDEXES[0]}."
            )
        weights = single[0]
    return Source(name, origin, weights, _if_file(folder / _CONFIG), _preprocessor(folder))


def _file(path: Path) -> Source:
    if path.suffix.lower() not in WEIGHTS and path.name not in _INDEXES:
        raise UsageError(f"--weights {path}: unknown kind of file; accepted: {' '.join(WEIGHTS)}, or a folder.")
    folder = _absolute(path).parent
    config = _if_file(folder / _CONFIG)
    if path.name in (*_WEIGHTS, *_INDEXES):  # then the folder says more than the file
        preprocessor = _preprocessor(folder) if config else None
        return Source(_own_name(folder.name), _printable(path.name), path, config, preprocessor)
    ignored = f"the {_CONFIG} beside {path.name} is not read, it may belong to another file; give the folder to use it."
    stem = path.with_suffix("").stem if path.suffix.lower() == ".tar" else path.stem
    return Source(_own_name(stem), _printable(path.name), path, warning=ignored if config else None)


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _preprocessor(folder: Path) -> Path | None:
    return next((folder / file for file in _PREPROCESSORS if (folder / file).is_file()), None)


def _own_name(name: str) -> str:
    """``mobilevitv2-1.0-imagenet1k-256`` -> ``imagenet1k-256``, in characters that are safe in a folder's name."""
    known = "|".join(row.file_name for row in ARCHITECTURES.values())
    name = re.sub(rf"^({known})", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "custom"


def _printable(name: str) -> str:
    """A file's name may hold bytes that are no text; the manifest is UTF-8."""
    return name.encode("utf-8", "replace").decode()


def _explicit_hub(weights: str) -> Source:
    try:
        return _hub(weights)
    except Unreachable as reason:
        raise CheckpointError(
            f"{weights} is no folder here, it is not in the local cache, and the hub cannot be reached ({reason}). An "
            "explicit choice never falls back; retry with network access, or name a local FILE or FOLDER."
        ) from None


def _hub(given: str) -> Source:
    """Files of a hub repository, all of one commit; raises Unreachable, UsageError or CheckpointError."""
    repo, _, revision = given.partition("@")
    fetch = fetcher(repo, revision or "main", probe=_CONFIG)
    config = fetch(_CONFIG, revision or "main")
    if config is None:
        raise CheckpointError(f"{given}: the repository has no {_CONFIG}, so it is not in Hugging Face layout.")
    commit = config.parent.name
    preprocessor = next((found for file in _PREPROCESSORS if (found := fetch(file, commit))), None)
    weights = next((found for file in (*_WEIGHTS, *_INDEXES) if (found := fetch(file, commit))), None)
    if weights is not None and weights.name in _INDEXES:
        for shard in shards_of(weights):
            if fetch(shard, commit) is None:
                raise CheckpointError(f"{given}: its {weights.name} lists {shard}, which is not there.")
    if weights is None:
        raise CheckpointError(
            f"{given}: the repository has neither {' nor '.join(_WEIGHTS)}; fetch its weights and name the FILE."
        )
    name = published_identity(repo) or _own_name(repo.split("/")[1])
    return Source(name, f"{repo}@{commit}", weights, config, preprocessor)
