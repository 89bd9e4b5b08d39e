"""int8 ONNX: right numbers in two runtimes that we did not write, and operators that ONNX Runtime really fuses."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

import mvit2
from mvit2.checkpoint.load import load_checkpoint
from mvit2.errors import ConversionError
from mvit2.export.convert.contract import PixelContract
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.onnx_input import with_dequantised_input
from mvit2.export.convert.to_onnx import simplify, to_onnx
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.network import mobilevitv2 as network
from mvit2.network.network import Encoder
from mvit2.quantize.plan import LayerPlan, Mode, Plan, Range, weight_scales
from mvit2.quantize.write.onnx_qdq import quantise_onnx

Array = np.ndarray[Any, Any]
Modes = Callable[[str], Mode]
SCALE = 1 / 255
PHOTOS = sorted((Path(mvit2.__file__).parent / "photos").glob("*.jpg"))


@dataclass(frozen=True)
class Case:
    io: str = "image"
    size: int = 128
    opset: int = 18
    dynamic_batch: bool = False
    zero_biases: bool = False

    @property
    def names(self) -> tuple[str, str]:
        return ("image", "scores") if self.io == "image" else ("pixel_values", "logits")


@cache
def _form(zero_biases: bool) -> network.MobileViTV2Classifier:
    form = export_form(load_checkpoint("demo", "0.5", arithmetic="ml-cvnets").model, single_image=False)
    for module in form.modules():
        if zero_biases and isinstance(module, network.Pointwise):
            module.convolution.bias = nn.Parameter(torch.zeros(len(module.convolution.weight)), requires_grad=False)
    return form


@cache
def _pixels(size: int) -> Array:
    """uint8 [5, size, size, 3]"""
    spec = replace(load_checkpoint("demo", "0.5").preprocess, image_size=(size, size), resize_shortest=size)
    return np.stack([preprocess(photo, spec) for photo in PHOTOS])


def _values(size: int) -> Tensor:
    """float32 (5, 3, size, size), BGR: the network wants it so."""
    return torch.from_numpy(to_pixel_values(_pixels(size), load_checkpoint("demo", "0.5").preprocess))


@cache
def _float_model(case: Case) -> onnx.ModelProto:
    form = copy.deepcopy(_form(case.zero_biases))
    for module in form.modules():
        if isinstance(module, network.SeparableSelfAttention):
            module.single_image = not case.dynamic_batch
    if case.io == "image":
        form = PixelContract(form, load_checkpoint("demo", "0.5").preprocess).eval()
    example = torch.from_numpy(_pixels(case.size)) if case.io == "image" else _values(case.size)
    exported = to_onnx(form, example[:1], names=case.names, opset=case.opset, dynamic_batch=case.dynamic_batch)
    return with_dequantised_input(simplify(exported, {"mvit2.variant": "0.5"}))


# ---- a plan from what torch sees, with the true extremes as ranges ----


@cache
def _seen(size: int, zero_biases: bool) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Module -> its input and output, in the order in which they are computed."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    form = _form(zero_biases)
    hooks = [
        module.register_forward_hook(lambda m, inputs, output: seen.update({m: (inputs[0], output)}))
        for module in form.modules()
        if not isinstance(module, Encoder | network.MobileViTV2 | network.MobileViTV2Classifier)
    ]
    with torch.no_grad():
        form(_values(size))
    for hook in hooks:
        hook.remove()
    return seen


def _range(x: Tensor) -> Range:
    lo, hi = torch.aminmax(x)
    return Range(lo.item(), hi.item())


def _plan(case: Case, mode: Modes, gained: bool = False) -> Plan:
    seen, form = _seen(case.size, case.zero_biases), _form(case.zero_biases)
    names = {module: name for name, module in form.named_modules()}
    modules = dict(form.named_modules())
    plans: list[LayerPlan] = []
    inverse_gain: Array | None = None
    for module, (x, y) in seen.items():
        if not isinstance(module, network.ConvLayer | network.Pointwise | nn.Linear):
            continue
        name = names[module]
        parent = modules[name.rpartition(".")[0]]
        linear: Any = module if isinstance(module, nn.Linear) else module.convolution
        weight = linear.weight.numpy().reshape(*linear.weight.shape[:2], *(linear.weight.shape[2:] or (1, 1)))
        bias = np.zeros(len(weight), np.float32) if linear.bias is None else linear.bias.numpy()
        output, activated = (seen[linear][1], None) if isinstance(module, network.ConvLayer) else (y, None)
        if isinstance(module, network.ConvLayer) and isinstance(module.activation, nn.SiLU):
            activated = y
        if isinstance(parent, network.FeedForward) and name.endswith("conv1"):
            activated = seen[parent.activation][1]
        added = isinstance(parent, network.InvertedResidual) and parent.use_residual and name.endswith("reduce_1x1")
        if case.io == "image" and not plans:
            weight = weight[:, ::-1]  # for RGB
        gain = None
        if inverse_gain is not None:
            weight, inverse_gain = weight * inverse_gain[:, None, None, None], None
        gate = _range(output)
        if gained and name.endswith("expand_1x1") and mode(name) == "int8":
            gain = inverse_gain = np.linspace(1, 0.25, len(weight), dtype=np.float32)
            weight, bias = weight / gain[:, None, None, None], bias / gain
            shaped = torch.from_numpy(gain)[:, None, None]
            output, activated = output / shaped, activated / shaped
        plan = LayerPlan(
            name,
            mode(name),
            weight,
            weight_scales(weight),
            bias,
            input=Range(0, 255 * SCALE) if case.io == "image" and not plans else _range(x),
            output=_range(output),
            activated=None if activated is None else _range(activated),
            gain=gain,
            gained=None if gain is None else gate,
            added=_range(seen[parent][1]) if added else None,
        )
        plans.append(plan)
    return Plan(tuple(plans))


def _all(mode: Mode) -> Modes:
    return lambda name: mode


def _recipe(name: str) -> Mode:
    return "dynamic" if name == "classifier" else "int8"


def _mixed(name: str) -> Mode:
    """Float islands: one inverted residual, one transformer layer, one projection; two dynamic layers."""
    islands = ("layer.1.layer.1", "layer.2.transformer.layer.1", "layer.3.conv_projection")
    if any(island in name for island in islands):
        return "float"
    return "dynamic" if name.endswith(("qkv_proj.value", "layer.4.conv_1x1")) else "int8"


def _session(model: onnx.ModelProto, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact on CPUs without VNNI too
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(model: onnx.ModelProto, feed: Array) -> Array:
    session = _session(model)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in feed])


def _feed(case: Case) -> Array:
    return _pixels(case.size) if case.io == "image" else _values(case.size).numpy()


def _centred(scores: Array, case: Case) -> Array:
    logits = np.log(scores.astype(np.float64)) if case.io == "image" else scores.astype(np.float64)
    return logits - logits.mean(-1, keepdims=True)


def _snr(reference: Array, other: Array) -> float:
    """dB"""
    return float(10 * np.log10(np.square(reference).sum() / (np.square(reference - other).sum() + 1e-30)))


# ---- against the float model ----


@pytest.mark.parametrize(
    ("case", "mode", "gained", "least"),
    [
        (Case(), _all("float"), False, 80),
        (Case("tensor"), _all("float"), False, 80),
        (Case(), _recipe, False, 5),
        (Case("tensor"), _recipe, False, 5),
        (Case(), _recipe, True, 5),
        (Case("tensor"), _recipe, True, 5),
        (Case(), _mixed, False, 5),
        (Case("tensor"), _mixed, True, 5),
        (Case(), _all("int8"), False, 5),
        (Case("tensor"), _all("int8"), True, 5),
        (Case(), _all("dynamic"), False, 5),
        (Case("tensor", dynamic_batch=True, opset=13), _recipe, True, 5),
        pytest.param(Case(size=96), _recipe, False, 5, marks=pytest.mark.heavy),
        pytest.param(Case("tensor", size=96, opset=13), _mixed, True, 5, marks=pytest.mark.heavy),
        (Case(zero_biases=True), _recipe, False, 11),
    ],
)
def test_scores_stay_near_the_float_ones(case: Case, mode: Modes, gained: bool, least: float) -> None:
    model = _float_model(case)
    operators = {node.op_type for node in model.graph.node}
    assert ("Resize" in operators, "MatMul" in operators) == (case.size == 96, case.zero_biases)
    quantised = quantise_onnx(model, _plan(case, mode, gained), SCALE)
    reference, got = (_centred(_run(m, _feed(case)), case) for m in (model, quantised))
    assert _snr(reference, got) > least


# ---- the same numbers in ONNX's reference evaluator: what is fused computes what is written ----


@pytest.mark.parametrize(
    ("case", "gained"), [(Case("image", size=64, opset=19), True), (Case("tensor", size=64, opset=20), False)]
)
def test_onnx_runtime_agrees_with_the_reference_evaluator(case: Case, gained: bool) -> None:
    """Which knows DequantizeLinear from opset 19 on."""
    model = quantise_onnx(_float_model(case), _plan(case, _recipe, gained), SCALE)
    feed = _feed(case)[:2]
    reference = np.concatenate([ReferenceEvaluator(model).run(None, {case.names[0]: one[None]})[0] for one in feed])
    assert _snr(_centred(reference, case), _centred(_run(model, feed), case)) > 30


@pytest.mark.parametrize("io", ["image", "tensor"])
def test_the_stem_in_plain_integers(io: str) -> None:
    """torch's float64 convolution of the integers, which is exact, against ONNX Runtime's QLinearConv."""
    case = Case(io)
    plan = _plan(case, _recipe)
    model, stem = quantise_onnx(_float_model(case), plan, SCALE), plan.layers[0]
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    (rounded,) = [node.output[0] for node in model.graph.node if conv.output[0] in node.input]
    model.graph.output.append(onnx.helper.make_tensor_value_info(rounded, onnx.TensorProto.UINT8, None))
    got = _session(model).run([rounded], {case.names[0]: _feed(case)[:1]})[0]

    assert stem.input is not None and stem.output is not None
    values = _feed(case)[:1]
    scale, zero_point = (SCALE, 0) if io == "image" else (stem.input.scale, stem.input.zero_point + 128)
    steps = values.transpose(0, 3, 1, 2) if io == "image" else np.clip(np.rint(values / scale) + zero_point, 0, 255)
    products = torch.nn.functional.conv2d(
        torch.from_numpy(steps.astype(np.float64) - zero_point),
        torch.from_numpy(stem.quantised_weight.astype(np.float64)),
        stride=2,
        padding=1,
    ).numpy()
    exact = products * (scale * stem.weight_scale)[:, None, None] + stem.bias[:, None, None]
    expected = np.clip(np.rint(exact / stem.output.scale) + stem.output.zero_point + 128, 0, 255)
    difference = np.abs(got.astype(np.int64) - expected)
    assert difference.max() <= 1 and difference.mean() < 1e-3
    assert got.dtype == np.uint8 and len(np.unique(got)) > 100


# ---- what the file holds ----


@pytest.mark.parametrize(
    ("case", "gained", "expected"),
    [
        (Case(), False, {"QLinearConv": 28, "QGemm": 54, "QuickGelu": 25, "QLinearAdd": 1, "Transpose": 1}),
        (Case("tensor"), False, {"QLinearConv": 28, "QGemm": 54, "QuickGelu": 25, "QLinearAdd": 1, "Transpose": 2}),
        (Case(), True, {"QLinearConv": 34, "QGemm": 54, "QuickGelu": 19, "QLinearSigmoid": 6, "QLinearAdd": 1}),
        (Case("tensor", dynamic_batch=True, opset=13), False, {"QLinearConv": 28, "QGemm": 54, "QuickGelu": 25}),
        (Case(zero_biases=True), False, {"QLinearConv": 28, "QGemm": 54, "QuickGelu": 25, "QLinearAdd": 1}),
    ],
)
def test_onnx_runtime_fuses_every_layer(case: Case, gained: bool, expected: dict[str, int], tmp_path: Path) -> None:
    model = quantise_onnx(_float_model(case), _plan(case, _recipe, gained), SCALE)
    _session(model, tmp_path / "optimised.onnx")
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert {kind: operators[kind] for kind in expected} == expected
    assert (operators["MatMulIntegerToFloat"], operators["InstanceNormalization"]) == (1, 21)
    assert not {"Conv", "Gemm", "MatMul", "Sigmoid"} & set(operators)


def test_every_layer_puts_out_integers_but_the_classifier() -> None:
    """An NPU leaves a layer with a float32 output to the CPU, unless all its weights have one scale."""
    model = quantise_onnx(_float_model(Case()), _plan(Case(), _recipe, True), SCALE)
    readers = {name: node.op_type for node in model.graph.node for name in node.input}
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    writers = {node.output[0]: node for node in model.graph.node}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert Counter(readers[node.output[0]] for node in layers) == {"QuantizeLinear": 82 + 6, "Mul": 1}
    scales = {node.op_type: len(values[writers[node.input[1]].input[1]].dims) for node in layers}
    assert scales == {"Conv": 1, "Gemm": 1, "MatMul": 0}


@pytest.mark.parametrize("case", [Case(), Case("tensor", dynamic_batch=True, opset=13)])
def test_the_contract_stays_and_the_file_shrinks(case: Case) -> None:
    model = _float_model(case)
    before = model.SerializeToString(deterministic=True)
    plan = _plan(case, _recipe, True)
    quantised = quantise_onnx(model, plan, SCALE)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(quantised, full_check=True)
    after = quantised.SerializeToString(deterministic=True)
    assert after == quantise_onnx(model, plan, SCALE).SerializeToString(deterministic=True)
    assert len(after) < 0.38 * len(before)
    for part in ("input", "output", "name"):
        assert getattr(quantised.graph, part) == getattr(model.graph, part)
    assert quantised.metadata_props == model.metadata_props and quantised.opset_import == model.opset_import
    read = {name for node in quantised.graph.node for name in node.input}
    assert {tensor.name for tensor in quantised.graph.initializer} <= read
    assert {node.output[0] for node in quantised.graph.node if node.op_type == "Constant"} <= read
    floats = [
        t.name for t in quantised.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 512
    ]
    assert floats == []


def test_an_input_range_counts_only_where_the_input_is_float() -> None:
    """Elsewhere the range of whoever computed it holds, that of a residual addition for one."""
    model, plan = _float_model(Case("tensor")), _plan(Case("tensor"), _recipe)
    needed = ("conv_stem", "query", "key", "value", "out_proj", "conv1", "conv_projection", "classifier")
    layers = [layer if layer.name.endswith(needed) else replace(layer, input=None) for layer in plan.layers]
    assert sum(layer.input is None for layer in layers) == 83 - 1 - 9 * 5 - 3 - 1
    assert quantise_onnx(model, Plan(tuple(layers)), SCALE) == quantise_onnx(model, plan, SCALE)


def test_the_gate_of_an_equalised_layer_has_its_own_range() -> None:
    plan = _plan(Case(), _recipe, gained=True)
    model = quantise_onnx(_float_model(Case()), plan, SCALE)
    writers = {node.output[0]: node for node in model.graph.node}
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    gates = [writers[node.input[0]] for node in model.graph.node if node.op_type == "Sigmoid"]
    scales = [float(values[gate.input[1]]) for gate in gates if gate.op_type == "DequantizeLinear"]
    assert scales == [layer.gained.scale for layer in plan.layers if layer.gained is not None] and len(scales) == 6


# ---- what is refused ----


def _without_a_layer(plan: Plan) -> Plan:
    return Plan(plan.layers[:-1])


def _wrong_shape(plan: Plan) -> Plan:
    first = plan.layers[0]
    return Plan((replace(first, weight=first.weight[..., :1]), *plan.layers[1:]))


def _silu_too_many(plan: Plan) -> Plan:
    classifier = replace(plan.layers[-1], mode="int8", activated=Range(0, 1))
    return Plan((*plan.layers[:-1], classifier))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (_without_a_layer, "^the graph holds 83 layers, the network 82.$"),
        (_wrong_shape, r"^layer \S*conv_stem has weights \[16, 3, 3, 1\], the graph \[16, 3, 3, 3\].$"),
        (_silu_too_many, r"^0 Sigmoid nodes read \S+, the network has 1.$"),
    ],
)
def test_another_networks_plan_is_refused(change: Callable[[Plan], Plan], wrong: str) -> None:
    case = Case()
    with pytest.raises(ConversionError, match=wrong):
        quantise_onnx(_float_model(case), change(_plan(case, _recipe)), SCALE)
