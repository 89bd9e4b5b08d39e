"""Image sizes at which patches do not tile every map: the arithmetic is that of the code the names come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mvit2.checkpoint.load import load_checkpoint
from mvit2.errors import UsageError
from mvit2.export.convert.contract import PixelContract
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.to_onnx import simplify, to_onnx
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import load
from mvit2.image.preprocess import to_pixel_values
from mvit2.network.mobilevitv2_config import ModelConfig

SIZES = (96, 160, 224, 288)
KINDS = ("ForImageClassification", "ForSemanticSegmentation")
TINY = {"width_multiplier": 0.25, "base_attn_unit_dims": [16] * 3, "n_attn_blocks": [1, 1, 1], "aspp_out_channels": 16}


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A network of transformers with lively weights and statistics, and its folder."""
    torch.manual_seed(3)
    labels = {i: f"thing {i}" for i in range(5)}
    config = transformers.MobileViTV2Config(**TINY, image_size=224, id2label=labels, output_stride=32)
    model: Any = getattr(transformers, f"MobileViTV2{request.param}")(config).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if name.endswith("_var") else torch.randn(value.shape) * 0.3)
    folder = tmp_path_factory.mktemp("hf") / "net"
    model.save_pretrained(folder)
    return folder, model


def relative(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the reference's range."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape and expected.std() > 1e-3
    return float(np.abs(found - expected).max() / (expected.max() - expected.min()))


@pytest.mark.parametrize("size", [*SIZES, 128, (96, 160)])
@torch.no_grad()
def test_equal_to_transformers(saved: tuple[Path, Any], size: Any) -> None:
    folder, reference = saved
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.rand(2, 3, height, width)
    expected = reference(x).logits
    opened = load_checkpoint(str(folder))
    assert opened.config.patch_rule == "transformers"
    assert relative(opened.model(x), expected) < 1e-5
    for of_size in (None, (height, width)):
        form = export_form(opened.model, single_image=False, image_size=of_size)
        assert relative(form(x), expected) < 1e-5
    other = load_checkpoint(str(folder), arithmetic="ml-cvnets")
    if other.config.tiles((height, width)):
        assert relative(other.model(x), expected) < 1e-5
    elif "Classification" in type(reference).__name__:
        assert relative(other.model(x), expected) > 1e-3  # else the rule could not be seen


@pytest.mark.exports
@pytest.mark.parametrize("size", [96, 224])
@torch.no_grad()
def test_equal_through_onnx(saved: tuple[Path, Any], size: int, tmp_path: Path) -> None:
    import onnxruntime

    folder, reference = saved
    opened = load_checkpoint(str(folder))
    spec = replace(opened.preprocess, image_size=(size, size), resize_shortest=None)
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    expected = reference(torch.from_numpy(to_pixel_values(pixels, spec))).logits
    form = export_form(opened.model, single_image=True, image_size=(size, size))
    contract = PixelContract(form, spec, lambda logits: logits).eval()
    names = ("image", "logits")
    graph = simplify(to_onnx(contract, torch.from_numpy(pixels), names=names, opset=18, dynamic_batch=False), {})
    (found,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"image": pixels})
    assert relative(found, expected) < 1e-4


@pytest.mark.parametrize(
    ("size", "arithmetic", "rule", "warned"),
    [
        ((224, 224), None, "transformers", True),
        ((224, 224), "ml-cvnets", "ml-cvnets", True),
        ((256, 256), None, "transformers", False),
        ((256, 96), None, "transformers", True),
    ],
)
def test_what_differs_is_said(size: tuple[int, int], arithmetic: str | None, rule: str, warned: bool) -> None:
    request = ExportRequest(weights="demo", variant="0.5", image_size=size, arithmetic=arithmetic)
    opened = load(request)
    assert opened.config.patch_rule == rule
    notes = [note for note in opened.warnings if "patches do not tile" in note]
    assert len(notes) == warned
    if warned:
        other = "ml-cvnets" if rule == "transformers" else "transformers"
        assert f"--arithmetic {other}." in notes[0] and f"{size[0]}x{size[1]} px" in notes[0]


def test_a_stretched_map_cannot_carry_masks() -> None:
    stretched, dropped = ModelConfig(patch_rule="ml-cvnets"), ModelConfig(patch_rule="transformers")
    assert dropped.map_size((224, 224)) == (7, 7)
    with pytest.raises(UsageError, match="do not tile"):
        stretched.map_size((224, 224))


@pytest.mark.parametrize("word", ["transformer", "timm", ""])
def test_another_arithmetic(word: str) -> None:
    with pytest.raises(UsageError, match="unknown --arithmetic"):
        ExportRequest(arithmetic=word)
