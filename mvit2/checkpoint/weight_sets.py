"""The sets of weights in a training checkpoint: found in whatever wraps them, and one of them chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mvit2.errors import CheckpointError, UsageError, did_you_mean

from .tensor_names import prefix_of

__all__ = ["WeightSet", "choose", "find_sets"]

_DEPTH: Final = 6  # of dictionaries in dictionaries
_MOST: Final = 100_000  # entries that are looked at
_AVERAGED: Final = re.compile(r"(?<![a-z])(ema|averaged|swa|averaging)(?![a-z])")
_TOP: Final = "."


@dataclass(frozen=True)
class WeightSet:
    """Tensors that belong to one network.

    Attributes:
        key: where they lie: the keys and the common prefix of their names, joined by dots ("state_dict.model"); "." is
            the top.
        tensors: without the prefix.
        left_out: entries of the same dictionary that are none of the network's, such as a loss's weights.
    """

    key: str
    tensors: Mapping[str, Tensor]
    left_out: tuple[str, ...] = ()

    @property
    def averaged(self) -> bool:
        """Whether this is a running average of the weights over training (EMA, SWA), by its key."""
        return _AVERAGED.search(re.sub(r"([a-z])([A-Z])", r"\1_\2", self.key).lower()) is not None


def find_sets(content: object) -> list[WeightSet]:
    """Every network of this family in ``content``, which is what a checkpoint file holds."""
    found = []
    for path, entries in _dictionaries(content):
        found += _sets(path, entries)
    return found


def _dictionaries(content: object) -> Iterator[tuple[tuple[str, ...], Mapping[str, object]]]:
    waiting: list[tuple[tuple[str, ...], object]] = [((), content)]
    seen = 0
    while waiting:
        path, value = waiting.pop(0)
        if not isinstance(value, dict):
            continue
        seen += len(value)
        if seen > _MOST:
            return
        entries = {key: inner for key, inner in value.items() if isinstance(key, str)}
        yield path, entries
        if len(path) < _DEPTH:
            waiting += [((*path, key), inner) for key, inner in entries.items() if isinstance(inner, dict)]


def _sets(path: tuple[str, ...], entries: Mapping[str, object]) -> list[WeightSet]:
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    prefixes = sorted({p for name in tensors if (p := prefix_of(name)) is not None}, key=len, reverse=True)
    found, taken = [], set()
    for prefix in prefixes:  # the longest first: "model." is also in front of "model.ema."
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix) and n not in taken}
        taken |= {prefix + name for name in own}
        found.append((prefix, own))
    left_out = tuple(name for name in tensors if name not in taken)
    return [WeightSet(".".join((*path, *filter(None, [p.rstrip(".")]))) or _TOP, own, left_out) for p, own in found]


def choose(sets: Sequence[WeightSet], key: str | None, where: str) -> tuple[WeightSet, tuple[str, ...]]:
    """The set that ``--weights-key`` names, or else the averaged one, or the only one; and notes on the choice.

    Raises:
        UsageError: no set is called so, or several are.
        CheckpointError: several, and nothing tells which.
    """
    if key is not None:
        return _named(sets, key, where), ()
    different = _different(sets)
    if len(different) == 1:
        return different[0], _about(different[0], where)
    averaged = [one for one in different if one.averaged]
    if len(averaged) != 1:
        names = ", ".join(one.key for one in averaged or different)
        raise CheckpointError(f"{where} holds {len(different)} networks: {names}; choose one: --weights-key KEY.")
    others = ", ".join(one.key for one in different if one is not averaged[0])
    note = (
        f"{where} holds several sets of weights: the averaged ones (EMA) under {averaged[0].key} are taken; "
        f"for others: --weights-key {others}."
    )
    return averaged[0], (note, *_about(averaged[0], where))


def _named(sets: Sequence[WeightSet], key: str, where: str) -> WeightSet:
    wanted = key.strip(".")
    found = [one for one in sets if one.key == key or one.key.strip(".") == wanted]
    found = found or [one for one in sets if wanted and wanted in _parts(one.key)]
    if len(found) == 1:
        return found[0]
    keys = [one.key for one in sets]
    state = "means several of" if found else "is none of"
    raise UsageError(f"--weights-key {key!r} {state} those in {where}: {', '.join(keys)}.{did_you_mean(key, keys)}")


def _parts(key: str) -> set[str]:
    """ "a.b.c" -> its beginnings a, a.b and its ends b.c, c."""
    words = key.split(".")
    return {".".join(words[:i]) for i in range(1, len(words))} | {".".join(words[i:]) for i in range(1, len(words))}


def _different(sets: Sequence[WeightSet]) -> list[WeightSet]:
    """Without those that hold the same values as one before."""
    kept: list[WeightSet] = []
    for one in sets:
        if not any(_equal(one.tensors, other.tensors) for other in kept):
            kept.append(one)
    return kept


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def _about(chosen: WeightSet, where: str) -> tuple[str, ...]:
    if not chosen.left_out:
        return ()
    names = ", ".join(chosen.left_out[:3]) + (", ..." if len(chosen.left_out) > 3 else "")
    return (f"{where}: {len(chosen.left_out)} tensors that are not the network's are left out ({names}).",)
