"""Quantised files written from float32 ones: what the rows of export/formats.py have as ``write``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvit2.export.convert.tflite_metadata import ModelCard, write_with_metadata
from mvit2.quantize.plan import Plan
from mvit2.tflite_file import read_tflite
from mvit2.tflite_file import write_tflite as write_file

__all__ = ["write_full_int8", "write_onnx", "write_tflite"]


def write_onnx(source: Path, file: Path, card: ModelCard, plan: Plan) -> None:
    """``file`` computes as ``plan`` says. Raises ConversionError: ``source`` is another network's."""
    import onnx

    from mvit2.quantize.write.onnx_qdq import quantise_onnx

    model = quantise_onnx(onnx.load(source), plan, card.preprocess.scale)
    file.write_bytes(model.SerializeToString(deterministic=True))


def write_tflite(source: Path, file: Path, card: ModelCard, plan: Plan) -> None:
    """``file`` computes as ``plan`` says. Raises ConversionError: ``source`` is another network's."""
    from mvit2.quantize.write.tflite import quantise_tflite

    model = read_tflite(source)
    quantise_tflite(model, plan)
    write_with_metadata(model, file, card)


def write_full_int8(source: Path, file: Path, card: ModelCard, pixels: NDArray[np.uint8]) -> str:
    """A TFLite file whose every tensor is int8, by the ranges of ``source`` on ``pixels`` [N, H, W, 3].

    Returns the name of the ranges' method. Raises ConversionError: another network's file.
    """
    from mvit2.quantize.write.tflite_full_int8 import quantise_fully
    from mvit2.quantize.write.tflite_means import reduce_pixels_first
    from mvit2.quantize.write.tflite_ranges import DEFAULT_METHOD, tensor_ranges

    model = read_tflite(source)
    reduce_pixels_first(model)
    write_file(model, file)  # for its ranges
    quantise_fully(model, tensor_ranges(file, pixels, DEFAULT_METHOD))
    write_with_metadata(model, file, card)
    return DEFAULT_METHOD
