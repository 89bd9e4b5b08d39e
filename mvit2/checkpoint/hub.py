"""Single files of a hub repository, from the local cache or the hub, through huggingface_hub."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from mvit2.errors import CheckpointError, MissingEngineError, UsageError

__all__ = ["Unreachable", "fetcher"]


class Unreachable(Exception):
    """The hub did not answer, and the local cache does not hold all files; the message is why it did not."""


def fetcher(repo: str, revision: str, probe: str) -> Callable[[str, str], Path | None]:
    """A function (file, revision) -> local path, or None where the repository has no such file.

    Args:
        probe: a file to ask for once, to learn whether the hub answers at all.

    Raises:
        MissingEngineError, UsageError (no hub id), CheckpointError (the hub says no); its result Unreachable too.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingEngineError("huggingface_hub", "export")
    problem = _why_unreachable(repo, revision, probe)
    return partial(_cached, repo, problem) if problem else partial(_download, repo)


def _cached(repo: str, problem: str, file: str, revision: str) -> Path | None:
    """As the hub would answer, or Unreachable: a file that was never asked for is not a file that is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    if found is None:
        raise Unreachable(problem)
    return Path(found) if isinstance(found, str) else None


def _download(repo: str, file: str, revision: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except LocalEntryNotFoundError:
        raise CheckpointError(f"{repo}: the hub stopped answering while fetching {file}; run it again.") from None
    except EntryNotFoundError:
        return None
    except Exception as error:  # the HTTP library's own, which differ between releases of the hub's client
        raise CheckpointError(f"{repo}: fetching {file} failed ({_one_line(error)}); run it again.") from None


def _why_unreachable(repo: str, revision: str, probe: str) -> str | None:
    """One request without retries: None when the hub answers, else why not. Raises CheckpointError for its "no"."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        found = get_hf_file_metadata(hf_hub_url(repo, probe, revision=revision))
        return None if found.commit_hash else "what answered there is not a Hugging Face hub"
    except errors.EntryNotFoundError:
        return None
    except errors.HFValidationError as error:
        raise UsageError(f"--weights {repo}: {_one_line(error)}") from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{repo} has no branch, tag or commit {revision!r}; leave @{revision} out.") from None
    except errors.OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status != 401 and not isinstance(error, errors.RepositoryNotFoundError):
            return f"it answered {status}"
        raise CheckpointError(
            f"{repo} is no folder here, and the hub answered {status} for it: there is no such repository, or it is "
            "private or gated, or your token is not valid. Check the spelling, or run: hf auth login"
        ) from None
    except Exception as error:  # whatever the HTTP library raises when nobody answers
        return _one_line(error)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
