"""float16 ends at 65,504: the networks stay within it, and those that cannot are not exported for it."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.errors import CheckFailed
from mvit2.export.convert.contract import PixelContract
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.half_precision import largest_values, scale_streams
from mvit2.export.convert.onnx_input import with_dequantised_input
from mvit2.export.convert.to_onnx import simplify, to_onnx
from mvit2.export.pipeline import export
from mvit2.export.request import ExportRequest
from mvit2.export.steps.export_form import within_float16
from mvit2.export.steps.parity_inputs import parity_inputs
from mvit2.image.preprocess import to_pixel_values
from mvit2.network.blocks import LARGEST_FLOAT16, Block, beyond_float16
from mvit2.network.mobilevitv2 import GlobalNorm, MobileViTV2Layer
from mvit2.network.network import Network


@cache
def _checkpoint(width: str) -> Checkpoint:
    return load_checkpoint("demo", width)


@cache
def _pixels(width: str) -> NDArray[np.uint8]:
    return parity_inputs(_checkpoint(width).preprocess).pixels


def _values(width: str) -> Tensor:
    return torch.from_numpy(to_pixel_values(_pixels(width), _checkpoint(width).preprocess))


def _scaled(width: str) -> Network:
    model = copy.deepcopy(_checkpoint(width).model)
    scale_streams(model, _values(width))
    return model


# ---- the scale ----


@pytest.mark.parametrize("width", ["0.5", "1.0"])
@torch.no_grad()
def test_float32_keeps_every_bit(width: str) -> None:
    plain, scaled = _checkpoint(width).model, _scaled(width)
    norms = [m for m in scaled.modules() if isinstance(m, GlobalNorm)]
    assert {norm.eps for norm in norms} > {1e-5}, "nothing was scaled"
    assert torch.equal(scaled(_values(width)), plain(_values(width)))


def test_the_scale_is_measured_on_the_images_that_are_given() -> None:
    """Those that a comparison is made on, the user's among them; of a black image most norms' inputs are small."""
    given = _checkpoint("0.5")
    pixels = _pixels("0.5")

    def scaled(images: NDArray[np.uint8]) -> set[float]:
        return {m.eps for m in within_float16(given, images).model.modules() if isinstance(m, GlobalNorm)}

    assert scaled(pixels) != scaled(np.zeros_like(pixels[:1]))
    assert {m.eps for m in given.model.modules() if isinstance(m, GlobalNorm)} == {1e-5}


@torch.no_grad()
def test_small_values_are_left_alone(oracles: ModuleType) -> None:
    from mvit2.network.mobilevitv2_config import ModelConfig

    model = oracles.seeded(ModelConfig(width_multiplier=0.5, labels=tuple("abcdefg")))
    before = copy.deepcopy(model.state_dict())
    scale_streams(model, oracles.pictures(2, 64))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {m.eps for m in model.modules() if isinstance(m, GlobalNorm)} == {1e-5}


@torch.no_grad()
def test_a_stream_of_any_size_is_scaled(oracles: ModuleType) -> None:
    from mvit2.network.mobilevitv2_config import ModelConfig

    model = oracles.seeded(ModelConfig(width_multiplier=0.5, labels=tuple("abcdefg")))
    x = oracles.pictures(2, 64)
    layer = next(m for m in model.modules() if isinstance(m, MobileViTV2Layer))
    layer.conv_1x1.convolution.weight.mul_(1e6)
    expected = model(x)
    scale_streams(model, x)
    deviations: list[Tensor] = []
    hook = layer.layernorm.register_forward_pre_hook(lambda _, inputs: deviations.append(inputs[0]))
    assert torch.equal(model(x), expected)
    hook.remove()
    assert 16 < (deviations[0] - GlobalNorm.mean(deviations[0])).abs().max() <= 64


# ---- half precision ----


@torch.no_grad()
def test_width_1_0_is_right_in_half_precision() -> None:
    """As it was trained, its norms' squares are infinite there."""
    model = _checkpoint("1.0").model
    x = _values("1.0")
    expected = model(x).softmax(-1)
    half = export_form(_scaled("1.0"), single_image=False).half()
    scores = half(x.half()).float().softmax(-1)
    assert torch.equal(scores.argmax(1), expected.argmax(1))
    assert (scores - expected).abs().max() < 1e-2


@pytest.mark.parametrize("width", ["0.5", "1.0"])
def test_no_tensor_of_the_graph_is_beyond_float16(width: str) -> None:
    """With four times as much room in every norm, for images that reach further than these."""
    checkpoint = _checkpoint(width)
    form = PixelContract(export_form(_scaled(width), single_image=True), checkpoint.preprocess).eval()
    pixels = _pixels(width)
    exported = to_onnx(form, torch.from_numpy(pixels[:1]), names=("image", "scores"), opset=18)
    model = onnx.shape_inference.infer_shapes(with_dequantised_input(simplify(exported, {})))
    inner = [v for v in model.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    del model.graph.output[:]
    model.graph.output.extend(inner)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    largest = max(float(np.abs(t).max()) for image in pixels for t in session.run(None, {"image": image[None]}))
    assert len(inner) > 400 and 1000 < largest < LARGEST_FLOAT16 / 14


# ---- what is said of it ----


@torch.no_grad()
def test_the_largest_value_of_every_block_is_seen() -> None:
    """Squares included: of as trained width 1.0 they come close to the end, or lie beyond it."""
    form = export_form(_checkpoint("1.0").model, single_image=True)
    with largest_values(form) as largest:
        for x in _values("1.0")[:5]:
            form(x[None])
    assert largest["encoder.layer.3.layernorm"] > 30_000 and largest["conv_stem"] < 1000
    assert {"conv_stem", "classifier", "encoder.layer.4.transformer.layer.2"} <= largest.keys()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in form.modules())


def _block(name: str, largest: float | None) -> Block:
    return Block(name, "linear", (1, 1, 7), 7, 7, largest)


def test_beyond_float16_in_words() -> None:
    assert beyond_float16([_block("a", None), _block("b", LARGEST_FLOAT16)]) is None
    assert beyond_float16([]) is None
    said = beyond_float16([_block("a", 7e4), _block("b", 1.23456e6), _block("c", None)])
    assert said == "block b reaches 1.23e+06, float16 ends at 65504"


@pytest.fixture
def untamed(tmp_path: Path, photos: Path) -> Path:
    """A checkpoint with values beyond float16 that no norm squares: one layer multiplies them, the next one divides."""
    from safetensors.torch import save_file

    checkpoint = load_checkpoint("demo", "0.5")
    first = checkpoint.model.mobilevitv2.encoder.layer[0].layer[0].reduce_1x1.normalization
    second = checkpoint.model.mobilevitv2.encoder.layer[1].layer[0].expand_1x1.convolution
    assert isinstance(first, nn.BatchNorm2d)
    with torch.no_grad():
        first.weight.mul_(2.0**17)
        first.bias.mul_(2.0**17)
        second.weight.mul_(2.0**-17)
    folder = tmp_path / "untamed"
    folder.mkdir()
    save_file(checkpoint.model.state_dict(), folder / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((photos.parent / "checkpoints" / "0.5" / name).read_bytes())
    return folder


def test_what_cannot_be_made_safe_is_refused_for_float16(untamed: Path, tmp_path: Path) -> None:
    request = ExportRequest(weights=str(untamed), output=tmp_path, quantize=("float16",), formats=("tflite",))
    with pytest.raises(
        CheckFailed, match=r"^block encoder\.layer\.0\.layer\.0 reaches .*, float16 ends at 65504: leave"
    ):
        export(request)
    assert [path.name for path in tmp_path.iterdir()] == ["untamed"]


def test_what_cannot_be_made_safe_is_named_for_float32(untamed: Path, tmp_path: Path) -> None:
    from mvit2.export.listener import Silent

    class Listening(Silent):
        def __init__(self) -> None:
            self.warned: list[str] = []

        def warn(self, message: str) -> None:
            self.warned.append(message)

    listener = Listening()
    request = ExportRequest(weights=str(untamed), output=tmp_path, quantize=(), formats=("onnx",), report=False)
    manifest = export(request, listener).manifest
    assert any("float16 ends at 65504; the files are for CPUs" in line for line in listener.warned)
    assert max(block.largest or 0 for block in manifest.blocks) > LARGEST_FLOAT16
