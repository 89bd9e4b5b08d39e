"""The rewrites behind onnx2tf, read back from the exported files with LiteRT and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mvit2.export.convert.float16 import KEPT_SHARE
from mvit2.runtime.engines.litert import LiteRTBackend, open_interpreter
from mvit2.tflite_file import read_tflite, write_tflite

FLOAT = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}


def constants(model: Any) -> Iterator[tuple[bytes, NDArray[Any]]]:
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and tensor.type in FLOAT:
            yield tensor.name, np.frombuffer(data.tobytes(), FLOAT[tensor.type])


@pytest.mark.parametrize("file", ["model_float32.tflite", "model_float16.tflite"])
def test_the_interface_says_what_a_pixel_means(demo_bundle: Path, file: str) -> None:
    interpreter = open_interpreter(demo_bundle / file)
    (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (pixels["name"], pixels["dtype"], pixels["shape"].tolist()) == ("image", np.uint8, [1, 128, 128, 3])
    assert pixels["quantization"] == (pytest.approx(1 / 255), 0)
    assert (scores["name"], scores["dtype"], scores["quantization"]) == ("scores", np.float32, (0.0, 0))


def test_the_stem_has_the_weights_of_the_checkpoint(demo_bundle: Path) -> None:
    """Unscaled again: within rounding, the stem equals torch's, BatchNorm folded, channels in RGB order."""
    from mvit2.checkpoint.load import load_checkpoint

    stem = load_checkpoint("demo", "0.5").model.mobilevitv2.conv_stem
    norm = stem.normalization
    folded = stem.convolution.weight * (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None, None]
    expected = folded.flip(1).permute(0, 2, 3, 1).detach().numpy()  # the demo was trained in BGR
    sizes = {values.size: values for _, values in constants(read_tflite(demo_bundle / "model_float32.tflite"))}
    np.testing.assert_allclose(sizes[expected.size], expected.ravel(), rtol=1e-5, atol=1e-8)


def test_float16_rounds_the_large_constants_only(demo_bundle: Path) -> None:
    full = dict(constants(read_tflite(demo_bundle / "model_float32.tflite")))
    half = dict(constants(read_tflite(demo_bundle / "model_float16.tflite")))
    rounded = {name.removesuffix(b"_float16"): v for name, v in half.items() if v.dtype == np.float16}
    kept = {name: v for name, v in half.items() if v.dtype == np.float32}
    assert rounded.keys() | kept.keys() == full.keys()
    for name, values in rounded.items():
        np.testing.assert_array_equal(values, full[name].astype(np.float16))
    for name, values in kept.items():
        np.testing.assert_array_equal(values, full[name])
    assert 0 < sum(v.size for v in kept.values()) <= KEPT_SHARE * sum(v.size for v in full.values())
    assert max(v.size for v in kept.values()) <= min(v.size for v in rounded.values())
    sizes = [(demo_bundle / f"model_{p}.tflite").stat().st_size for p in ("float16", "float32")]
    assert sizes[0] < 0.53 * sizes[1]


def test_keeping_the_small_constants_pays(demo_bundle: Path, photos: Path, tmp_path: Path) -> None:
    """Against float16 of everything, as TensorFlow does it: the same file with the kept constants rounded too."""
    from mvit2.bundle.manifest import read_manifest
    from mvit2.image.preprocess import preprocess

    model = read_tflite(demo_bundle / "model_float16.tflite")
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None and tensor.type == schema.TensorType.FLOAT32:
            values = np.frombuffer(buffer.data.tobytes(), np.float32).astype(np.float16).astype(np.float32)
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    write_tflite(model, tmp_path / "all.tflite")
    spec = read_manifest(demo_bundle).preprocess
    pixels = [preprocess(photo, spec)[None] for photo in sorted(photos.glob("*.jpg"))]
    files = (demo_bundle / "model_float32.tflite", demo_bundle / "model_float16.tflite", tmp_path / "all.tflite")
    full, ours, everything = ([np.log(LiteRTBackend(file).run(image)) for image in pixels] for file in files)
    assert np.abs(np.subtract(ours, full)).max() < 0.7 * np.abs(np.subtract(everything, full)).max()


@pytest.mark.parametrize(
    ("bundle", "file"),
    [
        ("demo_bundle", "model_float32.tflite"),
        ("demo_bundle", "model_float16.tflite"),
        ("int8_bundle", "model_int8.tflite"),
    ],
)
def test_constants_lie_where_runtimes_may_read_them(bundle: str, file: str, request: pytest.FixtureRequest) -> None:
    """At multiples of 16 bytes, as the schema's force_align asks."""
    content = (request.getfixturevalue(bundle) / file).read_bytes()
    start = np.frombuffer(content, np.uint8).ctypes.data
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    places = [b.DataAsNumpy().ctypes.data - start for b in buffers if b.DataLength() >= 16]
    assert len(places) > 50 and {place % 16 for place in places} == {0}
