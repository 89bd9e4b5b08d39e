"""The network in torch with int8 rounding put in: what a plan will do to it, seen before any file is written.

Every convolution and 1x1 layer becomes a ``Layer`` with ``Point``s where int8 stores a tensor. All can be switched, so
that the same object measures ranges, learns them by gradient and says how much each block loses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mvit2.image.preprocess import to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architecture import ChainRules
from mvit2.network.architectures import row_of, without_backbone
from mvit2.network.layers import ConvLayer, InvertedResidual, Pointwise
from mvit2.network.network import Network
from mvit2.quantize.plan import Mode, Range, weight_scales

from .fake_quant import Point, rounded

__all__ = ["Layer", "Simulation"]

_BATCH = 4  # more would leave the caches, and the allocator's pool for the largest maps
GATE = Range(-8.0, 8.0)  # of sigmoid's input where SiLU is computed apart: beyond, sigmoid is 0 or 1 to 8 bits


class Layer(nn.Module):
    """A convolution or 1x1 layer with its activation function; ``chain`` is the layer whose output alone it reads."""

    def __init__(
        self, name: str, layer: nn.Conv2d | nn.Linear, *, channels_last: bool, silu: bool = False, relu: bool = False
    ) -> None:
        super().__init__()
        self.name, self.channels_last, self.silu, self.relu = name, channels_last, silu, relu
        self.convolution = layer
        self.weight = (layer.weight if layer.weight.ndim == 4 else layer.weight[..., None, None]).detach()
        bias = torch.zeros(len(self.weight)) if layer.bias is None else layer.bias
        self.bias = bias.detach()
        self.mode: Mode = "float"
        self.chain: Layer | None = None
        self.gain: Tensor | None = None
        self.correction: Tensor | None = None  # of the bias, where the layer is quantised
        self.change: Callable[[Layer, Tensor], Tensor] | None = None  # what to do to its sums (bias_correction.py)
        self._kept: tuple[Tensor | None, Tensor] | None = None
        self.skip: Layer | None = None  # where its output is added to that of another layer
        self.takes_gain = False  # its output passes SiLU and is read by one layer alone, which can take a gain back
        self.input, self.output, self.activated, self.added = Point(), Point(), Point(), Point()

    def forward(self, x: Tensor) -> Tensor:
        self.input.active = self.reads_float
        x = self._linear(self.input(x))
        if self.change is not None:
            x = self.change(self, x)
        x = self._scaled(self.output, F.relu(x) if self.relu else x)
        if self.silu:
            x = self._scaled(self.activated, self._activate(x))
        return x

    @property
    def reads_float(self) -> bool:
        """Its input has to be quantised first."""
        return self.mode != "float" and (self.chain is None or not self.chain.writes_int8)

    @property
    def writes_int8(self) -> bool:
        return self.mode == "int8" and (self.skip is None or self.skip.writes_int8)

    @property
    def used_bias(self) -> Tensor:
        return self.bias if self.correction is None or self.mode == "float" else self.bias + self.correction

    @property
    def last(self) -> Point:
        """Of its result, as the next layer reads it."""
        return self.added if self.skip is not None else self.activated if self.silu else self.output

    def _linear(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mode == "float" else self._rounded()
        if self.channels_last:
            return F.linear(x, weight.flatten(1), self.used_bias)
        c = self.convolution
        assert isinstance(c, nn.Conv2d)
        return F.conv2d(x, weight, self.used_bias, c.stride, c.padding, c.dilation, c.groups)

    @property
    def _received_gain(self) -> Tensor | None:
        return self.chain.gain if self.chain is not None and self.chain.mode == "int8" else None

    @property
    def inverse_gain(self) -> Tensor | None:
        """The gain of the layer before, in the shape of the weights that undo it: of a depthwise layer's rows."""
        gain = self._received_gain
        if gain is None:
            return None
        depthwise = self.weight.shape[1] == 1 and len(gain) == len(self.weight)
        return gain.reshape((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))

    def _rounded(self) -> Tensor:
        """The weights as int8 keeps them; computed anew where a gain has come or gone."""
        gain = self._received_gain
        if self._kept is None or self._kept[0] is not gain:
            factor = torch.ones(1) if self.inverse_gain is None else self.inverse_gain
            weight = self.weight * factor
            scale = torch.from_numpy(weight_scales(weight.numpy()))[:, None, None, None]
            self._kept = gain, torch.clamp(torch.round(weight / scale), -127, 127) * scale / factor
        return self._kept[1]

    def _activate(self, x: Tensor) -> Tensor:
        if self.gain is None or self.mode != "int8":
            return F.silu(x)
        return x * torch.sigmoid(rounded(x, GATE))

    def _scaled(self, point: Point, x: Tensor) -> Tensor:
        """A point of this layer's output; with a gain, int8 stores x / gain."""
        point.active = self.mode == "int8"
        gain = None if self.gain is None else self.gain[None, :, None, None]
        stored: Tensor = point(x) if gain is None else point(x / gain) * gain
        return stored


class _Residual(nn.Module):
    """An inverted residual whose sum is a point."""

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.expand_1x1, self.conv_3x3, self.reduce_1x1 = block.expand_1x1, block.conv_3x3, block.reduce_1x1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        last = self.reduce_1x1
        assert isinstance(last, Layer)
        last.added.active = last.writes_int8
        total: Tensor = last.added(x + y)
        return total


class Simulation:
    """``model``'s export form with its ``layers`` in the order in which they are computed.

    Args:
        form: as export/convert/fold/export_form.py makes it, with an open batch; taken over.
        as_image: the artifact takes RGB pixels, and the stem is prepared for them; else the bare network's input.
    """

    def __init__(self, form: Network, spec: PreprocessSpec, *, as_image: bool) -> None:
        self.spec, self.as_image = spec, as_image
        self.network = form.requires_grad_(False).eval()
        stem = form.backbone.conv_stem.convolution
        if as_image and spec.channel_order == "BGR":
            stem.weight = nn.Parameter(stem.weight.flip(1), requires_grad=False)
        if as_image and spec.normalises:
            stem.weight = nn.Parameter(stem.weight / _of_channels(spec.std), requires_grad=False)
        self.layers = list(_instrument(self.network, ""))
        self._chain()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _chain(self) -> None:
        rules = row_of(self.network.config).chains
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            kind = layer.name.rsplit(".", 1)[-1]
            floats_before = kind in rules.after_float or rules.inside in layer.name
            layer.chain = before if not floats_before or re.search(rules.chained, layer.name) else None
        self._chain_pyramid(rules)
        by_name = {layer.name: layer for layer in self.layers}
        for path, module in self.network.backbone.named_modules():
            if isinstance(module, _Residual):
                by_name[f"{path}.reduce_1x1"].skip = by_name[f"{path}.expand_1x1"].chain
        readers = Counter(layer.chain for layer in self.layers)
        added = {layer.skip for layer in self.layers}
        for layer in self.layers:
            layer.takes_gain = layer.silu and not layer.channels_last and readers[layer] == 1 and layer not in added

    def _chain_pyramid(self, rules: ChainRules) -> None:
        """Of a segmentation head: convolutions that read the same map, and whose outputs become one."""
        around = [layer for layer in self.layers if layer.name.startswith(rules.joined)]
        (*_, last) = (layer for layer in self.layers if layer.name.endswith(rules.joint))
        for layer in around:
            layer.chain, layer.output = last, around[0].output

    def points(self) -> list[Point]:
        """Those that the present modes use, in order; one that several layers share is there once."""
        found = []
        for layer in self.layers:
            found += [layer.input] if layer.reads_float else []
            found += [layer.output] if layer.mode == "int8" else []
            found += [layer.activated] if layer.mode == "int8" and layer.silu else []
            found += [layer.added] if layer.skip is not None and layer.writes_int8 else []
        return list(dict.fromkeys(found))

    def set_ranges(self, points: Sequence[Point], ranges: Sequence[Range]) -> None:
        """Set ranges; layers whose float predecessor would leave the quantising to them follow it."""
        for point, covered in zip(points, ranges, strict=True):
            point.set_range(covered)
        for layer in self.layers:
            if layer.chain is not None and layer.chain.gain is None and not layer.reads_float:
                layer.input.set_range(layer.chain.last.range)

    def set_modes(self, mode_of: Callable[[str], Mode]) -> None:
        for layer in self.layers:
            layer.mode = mode_of(layer.name)

    @contextmanager
    def in_float(self) -> Iterator[None]:
        """Every layer in float; afterwards as before."""
        modes = {layer.name: layer.mode for layer in self.layers}
        self.set_modes(lambda name: "float")
        try:
            yield
        finally:
            self.set_modes(lambda name: modes[name])

    def inputs(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 RGB [N, H, W, 3] -> what the network sees, float32 (N, 3, H, W)."""
        if not self.as_image:
            return torch.from_numpy(to_pixel_values(pixels, self.spec))
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2) * self.spec.scale
        return values - _of_channels(self.spec.mean) if self.spec.normalises else values

    def run(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 RGB [N, H, W, 3] -> logits (N, classes), of a segmentation network (N, h, w, classes)."""
        logits: Tensor = self.network(self.inputs(pixels))
        return logits.movedim(1, -1)

    @torch.no_grad()
    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``run``, for any number of images."""
        parts = [self.run(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        return np.asarray(torch.cat(parts).numpy())


def _of_channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _instrument(module: nn.Module, path: str) -> Iterator[Layer]:
    """Replace layers in place; yields them in order."""
    for name, child in list(module.named_children()):
        where = without_backbone(f"{path}.{name}".removeprefix("."))
        new: nn.Module | None = _layer(child, where, module)
        if not isinstance(new, Layer):
            yield from _instrument(child, where)
            if isinstance(child, InvertedResidual) and child.use_residual:
                new = _Residual(child)
        else:
            yield new
        if new is not None:
            setattr(module, name, new)
    if isinstance(getattr(module, "activation", None), nn.SiLU):
        module.activation = nn.Identity()  # it is in the layer before it now


def _layer(child: nn.Module, name: str, parent: nn.Module) -> Layer | None:
    if isinstance(child, ConvLayer):
        silu, relu = (isinstance(child.activation, kind) for kind in (nn.SiLU, nn.ReLU))
        return Layer(name, child.convolution, channels_last=False, silu=silu, relu=relu)
    silu = _stands_before_silu(child, parent)
    if isinstance(child, Pointwise):
        return Layer(name, child.convolution, channels_last=True, silu=silu, relu=name.endswith("qkv_proj.value"))
    return Layer(name, child, channels_last=True, silu=silu) if isinstance(child, nn.Linear) else None


def _stands_before_silu(child: nn.Module, parent: nn.Module) -> bool:
    """Whether the module after ``child`` is a SiLU: it is then computed of what ``child`` returns."""
    children = [*parent.children()]
    after = children[children.index(child) + 1 :]
    return bool(after) and isinstance(after[0], nn.SiLU)
