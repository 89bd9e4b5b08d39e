"""The places where a model file can be proven, one row each; and their names as they are typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mvit2.errors import UsageError, did_you_mean

from . import ethos_u, fp16, litert_gpu, opencv, qnn_htp
from .accelerator import Accelerator

__all__ = ["ACCELERATORS", "ALL", "Place", "parse_places"]

ALL = "all"

ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType(
    {
        row.name: row
        for row in (
            Accelerator(
                name="litert-gpu",
                title="LiteRT's GPU accelerator",
                takes=litert_gpu.takes,
                extra="litert",
                libraries=("ai-edge-litert",),
                missing=litert_gpu.missing,
                run=litert_gpu.run,
                note="32-bit arithmetic; phones' GPUs compute in 16 bits, which fp16 rehearses",
                arithmetic="float32",
                float_activations=("dynamic",),
            ),
            Accelerator(
                name="qnn-htp",
                title="Qualcomm's Hexagon NPU",
                takes=qnn_htp.takes,
                extra="qnn",
                libraries=("onnxruntime", "onnxruntime-qnn"),
                missing=qnn_htp.missing,
                run=qnn_htp.run,
                note="compiled for the chip and run on its simulator; a simulator's time says nothing of the chip's",
                arithmetic="float16",
                chips=MappingProxyType({name: chip.title for name, chip in qnn_htp.CHIPS.items()}),
                limit_seconds=1800,
                compiles=True,
            ),
            Accelerator(
                name="ethos-u",
                title="Arm's Ethos-U NPU",
                takes=ethos_u.takes,
                extra="ethos-u",
                libraries=("ethos-u-vela",),
                missing=ethos_u.missing,
                run=ethos_u.run,
                note="placement only: Vela compiles, nothing runs the result here; time and SRAM are its estimates",
                arithmetic="int8",
                chips=ethos_u.CHIPS,
                compiles=True,
            ),
            Accelerator(
                name="fp16",
                title="a rehearsal of half precision",
                takes=fp16.takes,
                extra="fp16",
                libraries=("onnx", "onnxruntime"),
                missing=fp16.missing,
                run=fp16.run,
                note="weights and results rounded to float16, sums inside of an operator kept in float32",
                arithmetic="float16",
            ),
            Accelerator(
                name="opencv",
                title="OpenCV's dnn",
                takes=opencv.takes,
                extra="opencv",
                libraries=("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
                missing=opencv.missing,
                run=opencv.run,
                note="on this CPU, by another engine than ONNX Runtime",
                arithmetic="float32",
            ),
        )
    }
)


@dataclass(frozen=True)
class Place:
    """An accelerator, and for which of its chips.

    Attributes:
        optional: asked for by "all": where this machine lacks what it needs, it is left out and said.
    """

    accelerator: Accelerator
    chip: str
    optional: bool = False

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"{self.accelerator.name}:{self.chip}" if self.chip else self.accelerator.name


def parse_places(option: str, words: Sequence[str]) -> tuple[Place, ...]:
    """``litert-gpu``, ``qnn-htp:8gen3``, ``all``; each place once, in the order typed.

    Raises UsageError with a suggestion.
    """
    places: dict[tuple[str, str], Place] = {}
    for word in words:
        for place in _everywhere() if word == ALL else (_place(option, word),):
            known = places.get((place.accelerator.name, place.chip))
            if known is None or known.optional:
                places[place.accelerator.name, place.chip] = place
    return tuple(places.values())


def _everywhere() -> tuple[Place, ...]:
    return tuple(Place(row, next(iter(row.chips)), optional=True) for row in ACCELERATORS.values())


def _place(option: str, word: str) -> Place:
    name, colon, chip = word.partition(":")
    if name not in ACCELERATORS:
        near = did_you_mean(name, (*ACCELERATORS, ALL))
        raise UsageError(f"unknown {option} {word[:80]!r}.{near} Choose {', '.join(ACCELERATORS)} or {ALL}.")
    row = ACCELERATORS[name]
    if not colon:
        return Place(row, next(iter(row.chips)))
    if chip not in row.chips or not chip:
        named = [known for known in row.chips if known]
        accepted = f"Choose {', '.join(named)}." if named else f"{name} has no chips to choose from."
        raise UsageError(f"unknown chip in {option} {word[:80]!r}.{did_you_mean(chip, named)} {accepted}")
    return Place(row, chip)
