"""Where weights come from: ``--weights auto|demo|untrained|HUB_ID|FILE|FOLDER`` becomes files on this machine.

Only ``auto`` may fall back (to the bundled demo checkpoint, with a warning); an explicit choice never does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError, MissingEngineError, UsageError, did_you_mean
from .variant import VARIANTS

__all__ = ["KEYWORDS", "Source", "bundled_variants", "locate"]

KEYWORDS = ("auto", "demo", "untrained")
_BUNDLED = Path(__file__).parent / "checkpoints"
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order of preference: safetensors runs no code
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
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


class _Unreachable(Exception):
    """The hub did not answer, and the local cache does not hold the files."""


def bundled_variants() -> list[str]:
    """The widths for which a trained checkpoint comes with this package."""
    return [name for name in VARIANTS if (_BUNDLED / name / _WEIGHTS[0]).is_file()]


def locate(weights: str, variant: str) -> Source:
    """The files behind ``--weights``. Raises UsageError or CheckpointError, each naming what can be chosen instead."""
    if weights == "untrained":
        return Source("untrained", "seeded initialisation, never trained")
    if weights == "demo":
        return _bundled(variant)
    if weights == "auto":
        return _auto(variant)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _folder(path, _own_name(path.resolve().name), path.resolve().name)
    if path.exists():
        return _file(path)
    if path.suffix.lower() not in _SUFFIXES and _HUB_ID.fullmatch(weights):
        return _explicit_hub(weights)
    near = did_you_mean(weights, KEYWORDS)
    raise UsageError(
        f"--weights {weights!r} is no file, no folder and no hub id (owner/name).{near} "
        f"Accepted: {', '.join(KEYWORDS)}, a hub id such as {VARIANTS['1.0'].hub_id}, a file, a folder."
    )


def _bundled(variant: str) -> Source:
    folder = _BUNDLED / variant
    if variant not in bundled_variants():
        raise CheckpointError(
            f"no checkpoint for variant {variant} comes with mvit2 (there is one for: "
            f"{', '.join(bundled_variants())}). Choose {_choices(variant)}."
        )
    classes = _count_classes(folder / _CONFIG)
    return _folder(folder, f"demo{classes}", "bundled")


def _count_classes(config: Path) -> int:
    import json

    return len(json.loads(config.read_text())["id2label"])


def _choices(variant: str) -> str:
    others = [f"--variant {name} --weights demo" for name in bundled_variants() if name != variant]
    return ", ".join([*others, "--weights untrained (latency work only)", "--weights FILE or FOLDER"])


def _auto(variant: str) -> Source:
    if variant not in VARIANTS:
        raise UsageError(f"no weights are published for width {variant}; name them with --weights FILE or FOLDER.")
    hub_id = VARIANTS[variant].hub_id
    try:
        return _hub(hub_id)
    except _Unreachable as reason:
        if variant not in bundled_variants():
            raise CheckpointError(
                f"{hub_id} is not in the local cache and the hub cannot be reached ({reason}), and no checkpoint for "
                f"variant {variant} comes with mvit2. Choose {_choices(variant)}, or retry with network access."
            ) from None
        demo = _bundled(variant)
        warning = (
            f"{hub_id} is not in the local cache and the hub cannot be reached ({reason}): using the DEMO "
            f"checkpoint {demo.name} that comes with mvit2 instead. It knows {demo.name.removeprefix('demo')} classes "
            "and is not the published network."
        )
        return Source(demo.name, demo.origin, demo.weights, demo.config, demo.preprocessor, warning)


def _folder(folder: Path, name: str, origin: str) -> Source:
    weights = next((folder / file for file in _WEIGHTS if (folder / file).is_file()), None)
    if weights is None:
        single = [p for p in sorted(folder.iterdir()) if p.suffix in _SUFFIXES]
        if len(single) != 1:
            found = ", ".join(p.name for p in single[:3]) or "none"
            raise CheckpointError(
                f"{folder}: expected {' or '.join(_WEIGHTS)}, or exactly one file ending in {' '.join(_SUFFIXES)}; "
                f"found {found}."
            )
        weights = single[0]
    return Source(name, origin, weights, _if_file(folder / _CONFIG), _if_file(folder / _PREPROCESSOR))


def _file(path: Path) -> Source:
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--weights {path}: unknown kind of file; accepted: {' '.join(_SUFFIXES)}, or a folder.")
    generic = path.name in _WEIGHTS  # then the folder says more than the file
    name = path.resolve().parent.name if generic else path.stem
    folder = path.resolve().parent
    has_config = (folder / _CONFIG).is_file() and generic  # a config.json beside timm_model.pth may be anybody's
    config, preprocessor = (folder / _CONFIG, _if_file(folder / _PREPROCESSOR)) if has_config else (None, None)
    return Source(_own_name(name), path.name, path, config, preprocessor)


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _own_name(name: str) -> str:
    """``mobilevitv2-1.0-imagenet1k-256`` -> ``imagenet1k-256``, in characters that are safe in a folder's name."""
    name = re.sub(r"^mobilevit_?v2[-_]?(\d\.\d+|\d{3})?[-_.]?", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "custom"


def _explicit_hub(weights: str) -> Source:
    try:
        return _hub(weights)
    except _Unreachable as reason:
        raise CheckpointError(
            f"{weights} is not in the local cache and the hub cannot be reached ({reason}). An explicit choice never "
            "falls back; retry with network access, or name a local FILE or FOLDER."
        ) from None


def _hub(hub_id: str) -> Source:
    """Files of a hub repository from the local cache or the hub; raises _Unreachable or CheckpointError."""
    repo, _, revision = hub_id.partition("@")
    get = _fetcher(repo, revision or None)
    config = get(_CONFIG)
    if config is None:
        raise CheckpointError(f"{hub_id}: the repository has no {_CONFIG}, so it is not in Hugging Face layout.")
    weights = next((found for file in _WEIGHTS if (found := get(file))), None)
    if weights is None:
        raise CheckpointError(f"{hub_id}: the repository has neither {' nor '.join(_WEIGHTS)}.")
    commit = config.parent.name
    return Source(_own_name(repo.split("/")[1]), f"{repo}@{commit}", weights, config, get(_PREPROCESSOR))


def _fetcher(repo: str, revision: str | None) -> Callable[[str], Path | None]:
    """A function file name -> local path, or None where the repository has no such file."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise MissingEngineError("huggingface_hub", "export") from None
    problem = _why_unreachable(repo, revision)

    def get(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(repo, file, revision=revision, local_files_only=problem is not None))
        except LocalEntryNotFoundError:
            if problem is None:
                raise CheckpointError(f"{repo}: the connection broke while fetching {file}; run it again.") from None
            if file == _CONFIG:
                raise _Unreachable(problem) from None
            return None  # config.json is cached, so the commit is known: this file was not in it or never fetched
        except EntryNotFoundError:
            return None
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(f"{repo}: fetching {file} failed: {_one_line(error)}") from None

    return get


def _why_unreachable(repo: str, revision: str | None) -> str | None:
    """One request without retries: None when the hub answers, else why not. Raises CheckpointError for a "no"."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    try:
        get_hf_file_metadata(hf_hub_url(repo, _CONFIG, revision=revision))
    except EntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status >= 500 or status == 429:
            return f"it answered {status}"
        raise CheckpointError(f"the hub has no {repo} that you may read: {_one_line(error)}") from None
    except HFValidationError as error:
        raise UsageError(f"--weights {repo!r}: {_one_line(error)}") from None
    except Exception as error:  # whatever the HTTP library raises when nobody answers
        return f"{type(error).__name__}: {_one_line(error)}"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
