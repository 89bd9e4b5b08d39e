"""The export form of MobileViT: the same numbers from fewer operators, in an order that converters keep."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from mvit2.errors import ConversionError
from mvit2.export.convert.contract import PixelContract, map_of_logits, probabilities
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.fold.mobilevit import CentredNorm
from mvit2.export.convert.half_precision import scale_streams
from mvit2.export.convert.to_onnx import simplify, to_onnx
from mvit2.export.convert.to_tflite import to_tflite
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.mobilevit_config import SIZES, MobileViTConfig

SMALL = replace(MobileViTConfig.of_size(SIZES["xx-small"]), labels=tuple("abcdefg"))


def in_double(model: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = copy.deepcopy(model).double()(x.double())
    return result


@pytest.mark.parametrize("size", [64, 128, (224, 160)], ids=str)
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"output_stride": 16, "patch_size": 4},
        {"qkv_bias": False, "num_attention_heads": 8, "hidden_sizes": (64, 80, 96)},
        {"hidden_act": "gelu", "conv_kernel_size": 5, "layer_norm_eps": 0.1},
    ],
    ids=str,
)
@torch.no_grad()
def test_export_form_equals_the_network(oracles: ModuleType, changed: dict[str, Any], size: Any) -> None:
    """In float64: nothing is approximated (the fold rounds once to float32). Patches do not tile the last size."""
    plain = oracles.seeded(replace(SMALL, **changed))
    x = oracles.pictures(2, size)
    expected = in_double(plain, x)
    form = export_form(plain, single_image=True)
    assert oracles.gap(in_double(form, x), expected) < 2e-6
    assert oracles.gap(form(x), expected) < 1e-5


@torch.no_grad()
def test_nothing_is_left_to_fold(oracles: ModuleType) -> None:
    plain = oracles.seeded(SMALL)
    folded = export_form(plain, single_image=False)
    kinds = {type(module) for module in folded.modules()}
    assert CentredNorm in kinds and not kinds & {nn.BatchNorm2d, nn.LayerNorm}
    assert {nn.BatchNorm2d, nn.LayerNorm} <= {type(module) for module in plain.modules()}
    means: list[float] = []
    for module in folded.modules():
        if isinstance(module, CentredNorm):
            module.register_forward_pre_hook(lambda _, x: means.append(float(x[0].mean(-1).abs().max())))
    folded(oracles.pictures(1, 96))
    assert len(means) == 21 and max(means) < 1e-5


@torch.no_grad()
def test_a_stream_beyond_float16_is_scaled_and_keeps_every_bit(oracles: ModuleType) -> None:
    model, x = oracles.seeded(SMALL), oracles.pictures(1, 96)
    layer = model.mobilevit.encoder.layer[2]
    layer.conv_1x1.convolution.weight.mul_(1e6)
    expected = model(x)
    scale_streams(model, x)
    assert torch.equal(model(x), expected)
    assert {norm.eps < 1e-15 for norm in layer.modules() if isinstance(norm, nn.LayerNorm)} == {True}
    assert model.mobilevit.encoder.layer[3].layernorm.eps == 1e-5


# ---- as a graph ----


def graph(model: nn.Module, size: tuple[int, int], answer: Any = probabilities, *, batch: bool = False) -> Any:
    contract = PixelContract(export_form(model, single_image=not batch), PreprocessSpec(size, None, size), answer)
    example = torch.zeros((1, *size, 3), dtype=torch.uint8)
    exported = to_onnx(contract.eval(), example, names=("image", "scores"), opset=18, dynamic_batch=batch)
    return simplify(exported, {})


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (224, 256)], ids=str)
def test_no_transpose_moves_axis_0_and_no_layers_are_joined(oracles: ModuleType, size: tuple[int, int]) -> None:
    """onnx2tf guesses at such a Transpose; and onnxsim would make one layer of query, key and value."""
    model = graph(oracles.seeded(SMALL), size)
    orders = [tuple(node.attribute[0].ints) for node in model.graph.node if node.op_type == "Transpose"]
    assert orders and {order[0] for order in orders} == {0}
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    assert max(len(value.type.tensor_type.shape.dim) for value in values) == 4
    kinds = [node.op_type for node in model.graph.node]
    assert {"Split", "Slice", "Gather", "LayerNormalization"}.isdisjoint(kinds)
    one_patch = 3 * (size == (64, 64))  # layers with nothing to choose: no softmax, no query and no key
    assert kinds.count("Softmax") - 1 == 9 - one_patch and kinds.count("MatMul") == 2 * 9 - one_patch


@torch.no_grad()
def test_layers_come_in_the_order_of_the_modules(oracles: ModuleType) -> None:
    """Query and key have equal shapes: a swap would pass every check of those (quantize/plan.py)."""
    form = export_form(oracles.seeded(SMALL), single_image=True)
    model = graph(oracles.seeded(SMALL), (128, 128))
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = [held[n.input[1]] for n in model.graph.node if n.op_type in ("Gemm", "MatMul") and n.input[1] in held]
    linear = [module for module in form.modules() if isinstance(module, nn.Linear)]
    assert len(weights) == len(linear) == 55
    for weight, layer in zip(weights, linear, strict=True):
        assert any(np.array_equal(one, layer.weight.numpy()) for one in (weight, weight.T))


@torch.no_grad()
def test_an_open_batch(oracles: ModuleType) -> None:
    plain = oracles.seeded(SMALL)
    session = onnxruntime.InferenceSession(graph(plain, (96, 96), batch=True).SerializeToString())
    pixels = (oracles.pictures(5, 96).permute(0, 2, 3, 1) * 255).byte()
    for count in (1, 2, 5):
        (scores,) = session.run(None, {"image": pixels[:count].numpy()})
        expected = plain(pixels[:count].permute(0, 3, 1, 2).float() / 255).softmax(-1)
        assert np.abs(scores - expected.numpy()).max() < 1e-5


@torch.no_grad()
def test_a_segmenter(oracles: ModuleType) -> None:
    plain = oracles.segmenter(replace(SMALL, output_stride=16, aspp_out_channels=24))
    model = graph(plain, (128, 192), map_of_logits)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    pixels = (oracles.pictures(1, (128, 192)).permute(0, 2, 3, 1) * 255).byte()
    (scores,) = session.run(None, {"image": pixels.numpy()})
    expected = plain(pixels.permute(0, 3, 1, 2).float() / 255).permute(0, 2, 3, 1)
    assert scores.shape == (1, 8, 12, 7)
    assert oracles.gap(torch.from_numpy(scores), expected) < 1e-5


@pytest.mark.parametrize("order", [[1, 0, 2], None], ids=str)
def test_a_transpose_that_moves_axis_0_is_not_converted(order: list[int] | None, tmp_path: Any) -> None:
    value = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    node = onnx.helper.make_node("Transpose", ["x"], ["y"], name="moved", **({"perm": order} if order else {}))
    made = onnx.helper.make_graph([node], "g", [value("x", shape=[2, 2, 3])], [value("y", shape=[2, 2, 3])])
    with pytest.raises(ConversionError, match=r"^moved is a Transpose that moves axis 0, which onnx2tf may get wrong"):
        to_tflite(onnx.helper.make_model(made), 1.0, tmp_path)
    assert list(tmp_path.iterdir()) == []
