"""Tensors of a checkpoint known by their names, and brought to those of mvit2.network (no torch here).

Three layouts are known, each a table of renamings in an architecture's row: Hugging Face (ours), timm, and Apple's
ml-cvnets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_spec import Layout
from mvit2.network.architecture import Architecture, Naming
from mvit2.network.architectures import ARCHITECTURES, MOBILEVITV2

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["architecture_of", "layout_of", "prefix_of", "to_hf_names", "without_auxiliary_head"]


def architecture_of(tensors: Mapping[str, Tensor], source: str) -> tuple[Architecture, Layout]:
    """Which network these are the tensors of, and whose names they have; CheckpointError when nobody's."""
    known = [(row, layout, naming) for row in ARCHITECTURES.values() for layout, naming in row.namings.items()]
    fitting = [one for one in known if _fits(one[2], tensors)]
    if fitting:
        row, layout, _ = max(
            fitting, key=lambda one: len(one[2].mark)
        )  # of two that share a stem, the one that is marked
        return row, layout
    stems = ", ".join(dict.fromkeys(stem for _, _, naming in known for stem in naming.stems))
    titles = " or ".join(row.title for row in ARCHITECTURES.values())
    raise CheckpointError(
        f"{source}: not a {titles} classifier or segmenter: none of the stems {stems} among its "
        f"{len(tensors)} tensors, the first of which is {next(iter(tensors), 'none')!r}."
    )


def _fits(naming: Naming, tensors: Mapping[str, Tensor]) -> bool:
    stem = any(stem in tensors for stem in naming.stems)
    return stem and (not naming.mark or any(re.search(naming.mark, name) for name in tensors))


def layout_of(tensors: Mapping[str, Tensor], source: str) -> Layout:
    """Whose names these are; CheckpointError when nobody's."""
    return architecture_of(tensors, source)[1]


def prefix_of(name: str) -> str | None:
    """What stands in front of a stem's name ("module.", "" for nothing); None: ``name`` is no stem's."""
    stems = (stem for row in ARCHITECTURES.values() for naming in row.namings.values() for stem in naming.stems)
    ends = [stem for stem in stems if name == stem or name.endswith(f".{stem}")]
    return name.removesuffix(max(ends, key=len)) if ends else None


def to_hf_names(
    tensors: Mapping[str, Tensor], layout: Layout, architecture: Architecture = MOBILEVITV2
) -> dict[str, Tensor]:
    """The same tensors under the names of mvit2.network (those of Hugging Face), joint ones apart."""
    naming = architecture.namings[layout]
    renamed = {}
    for name, tensor in tensors.items():
        for part, values in _apart(naming, name, tensor):
            for pattern, replacement in naming.renamings:
                part = re.sub(pattern, replacement, part, count=1)
            renamed[part] = values
    return renamed


def _apart(naming: Naming, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor whose rows belong to several layers of ours, as one for each."""
    for pattern, parts in naming.splits:
        if re.search(pattern, name):
            rows = tensor.chunk(len(parts))
            yield from ((re.sub(pattern, part, name, count=1), some) for part, some in zip(parts, rows, strict=True))
            return
    yield name, tensor


def without_auxiliary_head(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """``tensors`` (Hugging Face names) without the second head that ml-cvnets trains beside DeepLabV3; how many it had.

    It reads the fourth encoder layer and adds to the loss; no result ever comes from it.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("segmentation_head.aux_head.")}
    return kept, len(tensors) - len(kept)
