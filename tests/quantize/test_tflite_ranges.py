"""Which values the tensors of a float32 TFLite file take, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mvit2.errors import ConversionError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.quantize.calibration import bundled_crops
from mvit2.quantize.write.tflite_ranges import METHODS, tensor_ranges
from mvit2.runtime.engines.table import open_model
from mvit2.tflite_file import read_tflite, write_tflite

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def float_file(demo_bundle: Path) -> Path:
    return demo_bundle / "model_float32.tflite"


@pytest.fixture(scope="module")
def pixels(float_file: Path) -> Pixels:
    height, width = open_model(float_file, 1).input.shape[1:3]
    return bundled_crops(PreprocessSpec((height, width), height + 16)).fit[:6]


def values(file: Path, picture: Pixels) -> dict[bytes, NDArray[np.float32]]:
    """Every computed tensor by its name."""
    interpreter = Interpreter(
        str(file),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
    interpreter.invoke()
    graph = read_tflite(file).subgraphs[0]
    computed = [int(op.outputs[0]) for op in graph.operators]
    return {graph.tensors[t].name: interpreter.get_tensor(t) for t in computed}


def test_ranges_cover_what_the_network_computes(float_file: Path, pixels: Pixels) -> None:
    some = pixels[:3]
    found = tensor_ranges(float_file, some, "min-max")
    model = read_tflite(float_file)
    by_name = {model.subgraphs[0].tensors[t].name: known for t, known in found.items()}
    seen = [values(float_file, picture) for picture in some]
    assert by_name.keys() == seen[0].keys()
    for name, known in by_name.items():
        low, high = min(s[name].min() for s in seen), max(s[name].max() for s in seen)
        assert known.lo == pytest.approx(min(low, 0), rel=1e-6) and known.hi >= high * (1 - 1e-6)
    pictures = by_name[next(iter(seen[0]))]
    assert pictures.hi == pytest.approx(some.max() / 255, rel=1e-6)


def test_a_percentile_lies_within_the_extremes(float_file: Path, pixels: Pixels) -> None:
    table = {method: tensor_ranges(float_file, pixels[:6], method) for method in METHODS}
    widest, middle, narrow = (
        np.array([[known.lo, known.hi] for known in table[name].values()])
        for name in ("min-max", "percentile 99.99", "percentile 99.97")
    )
    for wide, inside in ((widest, middle), (middle, narrow)):
        assert (inside[:, 0] >= wide[:, 0] - 1e-6).all() and (inside[:, 1] <= wide[:, 1] + 1e-6).all()
    assert (narrow[:, 1] < middle[:, 1]).mean() > 0.3 and (middle[:, 1] < widest[:, 1]).mean() > 0.5


def test_the_pictures_may_be_any_number_and_their_order_does_not_matter(float_file: Path, pixels: Pixels) -> None:
    assert tensor_ranges(float_file, pixels) == tensor_ranges(float_file, pixels[::-1])
    assert tensor_ranges(float_file, pixels[:1], "min-max") != tensor_ranges(float_file, pixels, "min-max")


def test_a_file_without_uint8_pixels_is_refused(float_file: Path, pixels: Pixels, tmp_path: Path) -> None:
    model: Any = read_tflite(float_file)
    graph = model.subgraphs[0]
    first, *graph.operators = graph.operators
    graph.inputs, model.signatureDefs = [int(first.outputs[0])], []
    write_tflite(model, tmp_path / "float.tflite")
    with pytest.raises(ConversionError, match=r"float\.tflite takes float32, accepted: uint8; export with --io image"):
        tensor_ranges(tmp_path / "float.tflite", pixels)
