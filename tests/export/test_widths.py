"""Every width as ONNX, small: the quick half of what test_pipeline.py says of all formats at their own size."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvit2.export.pipeline import export
from mvit2.export.request import ExportRequest
from mvit2.runtime import check_bundle

from ..support.widths import WIDTHS


@pytest.mark.parametrize("variant", WIDTHS)
def test_every_width_becomes_onnx(variant: str, tmp_path: Path) -> None:
    request = ExportRequest(
        weights="untrained", variant=variant, formats=("onnx",), image_size=(64, 64), output=tmp_path, report=False
    )
    result = export(request)
    (artifact,) = result.manifest.artifacts
    assert (artifact.file.path, artifact.input.shape) == ("model_float32.onnx", (1, 64, 64, 3))
    assert artifact.parity is not None and artifact.parity.passed
    assert check_bundle(result.bundle).passed
