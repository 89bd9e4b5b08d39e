"""What is used of the classes ModelT, SubGraphT, ... of ai_edge_litert.schema_py_generated, which come without types.

In a model that was read from a file, what is a list here may be a NumPy array, or None where the file has none.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Buffer",
    "Connected",
    "Graph",
    "Metadata",
    "Model",
    "Operator",
    "OperatorCode",
    "Quantization",
    "Signature",
    "SignatureTensor",
    "Tensor",
]


class Quantization(Protocol):
    """real value = scale * (stored value - zeroPoint), for each index along quantizedDimension."""

    scale: list[float]
    zeroPoint: list[int]
    quantizedDimension: int


class Tensor(Protocol):
    name: bytes
    shape: list[int] | NDArray[np.int32]
    type: int
    hasRank: bool
    buffer: int  # 0: no data
    quantization: Quantization


class Operator(Protocol):
    opcodeIndex: int
    inputs: list[int]  # -1: left out
    outputs: list[int]
    builtinOptions: object
    builtinOptionsType: int


class Connected(Protocol):
    """An operator or a graph."""

    inputs: list[int]
    outputs: list[int]


class OperatorCode(Protocol):
    builtinCode: int
    deprecatedBuiltinCode: int
    version: int


class Buffer(Protocol):
    data: NDArray[np.uint8] | None


class Graph(Protocol):
    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


class SignatureTensor(Protocol):
    tensorIndex: int


class Signature(Protocol):
    inputs: list[SignatureTensor]
    outputs: list[SignatureTensor]


class Metadata(Protocol):
    buffer: int


class Model(Protocol):
    version: int
    operatorCodes: list[OperatorCode]
    subgraphs: list[Graph]
    buffers: list[Buffer]
    signatureDefs: list[Signature] | None
    metadata: list[Metadata] | None

    def Pack(self, builder: object) -> int: ...
