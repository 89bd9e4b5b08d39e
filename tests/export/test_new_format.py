"""A further format is a row, a converter and an engine: nothing else has to know it, not even that it is a folder."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mvit2.bundle import manifest as manifests
from mvit2.bundle.manifest import read_manifest
from mvit2.errors import BundleError, CheckFailed, MissingEngineError
from mvit2.export import formats
from mvit2.export.convert.conversion import Conversion, Made
from mvit2.export.formats import FORMATS, Format
from mvit2.export.pipeline import export
from mvit2.export.request import ExportRequest
from mvit2.runtime import check_bundle
from mvit2.runtime.engines import table
from mvit2.runtime.engines.onnx_runtime import OnnxRuntimeBackend

INSIDE = "Data/weights.bin"  # the model, in the folder


class Opens(OnnxRuntimeBackend):
    def __init__(self, model: Path, *arguments: Any, **options: Any) -> None:
        super().__init__(model / INSIDE, *arguments, **options)


def _convert(job: Conversion) -> Made:
    """From torch's network, as Core ML and ExecuTorch are."""
    from mvit2.export.convert.to_onnx import to_onnx

    assert not job.sources and list(job.files) == ["float16"]
    inside = job.files["float16"] / INSIDE
    inside.parent.mkdir(parents=True)
    model = to_onnx(job.network, job.example, names=job.names, opset=job.opset)
    inside.write_bytes(model.SerializeToString())
    (inside.parents[1] / "Manifest.json").write_text("{}")
    return Made()


ROW = Format(
    name="folder",
    title="Folder",
    suffix=".mlfolder",
    engine="onnxruntime",
    made_from=None,
    converts=("float16",),
    precisions=(),
    libraries=("onnx",),
    convert=_convert,
    inspect=lambda folder: FORMATS["onnx"].inspected(folder / INSIDE),
    in_all=False,
)


@pytest.fixture
def with_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (*FORMATS.values(), ROW)
    by_name = MappingProxyType({row.name: row for row in rows})
    monkeypatch.setattr(formats, "_ROWS", rows)
    for module in [m for name, m in sys.modules.items() if name.startswith("mvit2.export.") and hasattr(m, "FORMATS")]:
        monkeypatch.setattr(module, "FORMATS", by_name)
    monkeypatch.setattr(table, "ENGINES", {**table.ENGINES, ROW.suffix: Opens})
    suffixes = {**manifests.SUFFIXES, ROW.engine: (*manifests.SUFFIXES[ROW.engine], ROW.suffix)}
    monkeypatch.setattr(manifests, "SUFFIXES", suffixes)


def _request(output: Path, **options: Any) -> ExportRequest:
    return ExportRequest("untrained", variant="0.5", image_size=64, formats="folder", output=output, **options)


@pytest.mark.exports
def test_a_row_is_enough(with_row: None, tmp_path: Path) -> None:
    result = export(_request(tmp_path, report=False))
    (artifact,) = read_manifest(result.bundle).artifacts
    assert (artifact.file.path, artifact.precision) == ("model_float16.mlfolder", "float16")
    assert [file.path for file in artifact.files] == [
        f"{artifact.file.path}/{INSIDE}",
        f"{artifact.file.path}/Manifest.json",
    ]
    assert artifact.parity is not None and artifact.parity.passed
    assert [stage.stage for stage in result.manifest.parity][2:] == ["model_float16.mlfolder"]  # no ONNX on the way
    assert result.manifest.options == ("--image-size", "64x64", "--format", "folder", "--quantize", "none")
    assert check_bundle(result.bundle).passed
    (result.bundle / artifact.file.path / "Manifest.json").write_text("[]")
    with pytest.raises(BundleError, match="was changed"):
        check_bundle(result.bundle)


@pytest.mark.exports
@pytest.mark.parametrize(
    ("row", "error", "said"),
    [
        (
            replace(ROW, gates=(lambda graph: f"has rank {graph.max_rank}",)),
            CheckFailed,
            "mlfolder has rank 4. No bundle",
        ),
        (replace(ROW, libraries=("no_such",), extra="ort"), MissingEngineError, "no_such is not installed"),
    ],
)
def test_what_a_row_refuses(
    row: Format, error: type[Exception], said: str, with_row: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_ROWS", (*FORMATS.values(), row))
    with pytest.raises(error, match=said):
        export(_request(tmp_path, report=False))
    assert list(tmp_path.iterdir()) == []
