"""What a phone's accelerator would take of an ONNX graph, as ONNX Runtime's mobile usability checker sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mvit2.errors import BundleError

__all__ = ["Accelerator", "AcceleratorName", "Verdict"]

AcceleratorName = Literal["NNAPI", "CoreML NeuralNetwork", "CoreML MLProgram"]
Verdict = Literal["yes", "maybe", "no"]


@dataclass(frozen=True)
class Accelerator:
    """An estimate from the types of the operators and the ranks of their inputs; nothing was run on a phone.

    Attributes:
        nodes, supported: of the graph, and those of them whose type the accelerator knows.
        partitions: runs of supported nodes; between two of them, data travel to the CPU and back.
        unsupported: types of the other nodes, with their domain, in alphabetical order.
        verdict: whether the checker would try it; "yes" needs one partition of more than 75 % of the nodes.

    Raises BundleError for counts that no graph has.
    """

    name: AcceleratorName
    nodes: int
    supported: int
    partitions: int
    unsupported: tuple[str, ...]
    verdict: Verdict

    def __post_init__(self) -> None:
        if not 0 <= self.partitions <= self.supported <= self.nodes:
            raise BundleError(
                f"manifest gives {self.name} {self.supported} of {self.nodes} nodes in {self.partitions} partitions, "
                "accepted: partitions <= supported <= nodes"
            )

    def __str__(self) -> str:
        return f"{self.verdict}: {self.supported} of {self.nodes} nodes in {self.partitions} part(s)"
