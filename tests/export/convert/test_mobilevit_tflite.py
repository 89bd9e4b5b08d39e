"""MobileViT through onnx2tf: the sizes at which a Transpose of equal sizes, one patch or an odd map could go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mvit2.export.convert.contract import PixelContract
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.to_onnx import simplify, to_onnx
from mvit2.export.convert.to_tflite import to_tflite
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.mobilevit_config import SIZES, MobileViTConfig
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.engines.litert import LiteRTBackend
from mvit2.runtime.tasks.compare import log_softmax

CONFIG = replace(MobileViTConfig.of_size(SIZES["xx-small"]), labels=tuple("abcdefg"))


@pytest.mark.exports
@pytest.mark.parametrize(
    ("size", "case"),
    [
        (128, "as many rows of patches as of positions in one: nh = p = 2 in layer 5"),
        pytest.param(64, "one patch in layer 5", marks=pytest.mark.heavy),
        pytest.param(224, "an odd map, which is resized", marks=pytest.mark.heavy),
        pytest.param(256, "as many patches as positions and heads: N = 16 in layer 5", marks=pytest.mark.heavy),
    ],
)
@torch.no_grad()
def test_converts_exactly(oracles: ModuleType, size: int, case: str, tmp_path: Path) -> None:
    network = oracles.seeded(CONFIG)
    form = PixelContract(export_form(network, single_image=True), PreprocessSpec((size, size), None)).eval()
    image = (oracles.pictures(1, size).permute(0, 2, 3, 1) * 255).byte()
    exported = to_onnx(form, image, names=("image", "scores"), opset=18)
    files = to_tflite(simplify(exported, {}), 1 / 255, tmp_path)
    expected = log_softmax(network(image.permute(0, 3, 1, 2).float() / 255).numpy())
    seen = np.log(LiteRTBackend(files["float32"]).run(image.numpy()))
    assert np.abs(seen - expected).max() < 1e-4, case
    facts = inspect_tflite(files["float32"])
    assert (facts.max_rank, facts.flex_or_custom, facts.xnnpack_partitions, facts.not_delegated) == (4, (), 1, ())
    assert not {"GATHER", "GATHER_ND", "STRIDED_SLICE", "SPLIT"} & set(facts.operators)
