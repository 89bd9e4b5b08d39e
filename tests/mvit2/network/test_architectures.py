"""A family of networks is a row: a second one, made up here, is found, located, loaded and named without other code."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mvit2.bundle.manifest import read_manifest, write_manifest
from mvit2.checkpoint.load import load_checkpoint
from mvit2.checkpoint.locate import locate
from mvit2.checkpoint.tensor_names import architecture_of, to_hf_names
from mvit2.errors import CheckpointError, UsageError
from mvit2.export.apps.templates import content
from mvit2.export.convert.block_costs import network_blocks
from mvit2.export.convert.fold import export_form
from mvit2.export.report.gather import Report
from mvit2.export.report.html import page
from mvit2.export.request import ExportRequest
from mvit2.export.resolve import bundle_name
from mvit2.network import architectures
from mvit2.network.architecture import Naming, Published
from mvit2.network.architectures import (
    ARCHITECTURES,
    MOBILEVITV2,
    find_variant,
    hub_id,
    published_identity,
)
from mvit2.network.blocks import block_of
from mvit2.network.mobilevitv2 import MobileViTV2, MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig, Variant
from mvit2.tasks import CLASSIFY, SEGMENT

OLD = Path(__file__).parents[2] / "golden" / "bundles" / "schema_3"
TINY = {"base_attn_unit_dims": (16,) * 3, "n_attn_blocks": (1, 1, 1)}


@dataclass(frozen=True)
class TinyConfig(ModelConfig):
    """Another configuration, with other names for its variants."""

    architecture = "tiny"

    @property
    def variant_name(self) -> str:
        return "xx-small"

    @classmethod
    def from_hf(cls, config: Any, source: str) -> ModelConfig:
        known = MOBILEVITV2.config.from_hf({**config, "model_type": "mobilevitv2"}, source)
        return cls(**vars(known))


class TinyClassifier(MobileViTV2Classifier):
    """Its backbone has another name, and so have its tensors."""

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        pooled = self.backbone(pixel_values).pooler_output
        assert pooled is not None
        logits: torch.Tensor = self.classifier(self.dropout(pooled))
        return logits


ROW = replace(
    MOBILEVITV2,
    name="tiny",
    title="TinyNet",
    variant_noun="size",
    config=TinyConfig,
    variants=MappingProxyType({"xx-small": Variant("xx-small", 1, 0.1, 50.0)}),
    aliases=MappingProxyType({"xxs": "xx-small"}),
    configure=lambda variant: TinyConfig(width_multiplier=0.125, **TINY),
    builders=MappingProxyType({CLASSIFY.name: TinyClassifier}),
    published=MappingProxyType({CLASSIFY.name: Published("someone/tiny-{}", ("xx-small",), "birds-64")}),
    namings=MappingProxyType(
        {
            "huggingface": Naming(("tiny.conv_stem.convolution.weight",)),
            "timm": Naming(
                ("stem.conv.weight",),
                ((r"^stem\.", "tiny.conv_stem."), (r"\.conv\.", ".convolution.")),
                mark=r"\.attn\.qkv\.",
                splits=((r"\.attn\.qkv\.", (".query.", ".key.", ".value.")),),
            ),
        }
    ),
    file_name=r"tiny[-_](xx-small|xxs)[-_.]?",
)


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with one row more; modules that hold it by name see the same mapping."""
    rows = MappingProxyType({MOBILEVITV2.name: MOBILEVITV2, ROW.name: ROW})
    for module in _holders():
        monkeypatch.setattr(module, "ARCHITECTURES", rows)


def _holders() -> list[Any]:
    from mvit2.checkpoint import locate as locating
    from mvit2.checkpoint import tensor_names
    from mvit2.network import blocks

    return [architectures, blocks, locating, tensor_names]


def test_there_is_a_row_for_each_and_its_name_is_its_key() -> None:
    for name, row in ARCHITECTURES.items():
        assert row.name == name == row.config.architecture
        assert row.config in (type(row.configure(v)) for v in row.variants.values())
        assert set(row.builders) == set(row.published)
        assert all(row.configure(variant).variant_name == variant.name for variant in row.variants.values())


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("spelled", ["xx-small", "XXS", " xxs ", "someone/tiny-xx-small", "tiny_xxs"])
def test_its_variants_are_found(spelled: str) -> None:
    assert find_variant(spelled).name == "xx-small"
    assert find_variant("1").name == "1.0"
    assert ExportRequest(variant=spelled).variant == "xx-small"


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(
    ("name", "near"), [("xx-smal", "Did you mean 'xx-small'?"), ("0.6", "did you mean 0.5 or 0.75?")]
)
def test_near_misses(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_variant(name)
    assert near in str(caught.value) and "2.0, xx-small" in str(caught.value)


@pytest.mark.usefixtures("second")
def test_its_hub_ids() -> None:
    assert hub_id(CLASSIFY, "xx-small") == "someone/tiny-xx-small"
    assert (hub_id(SEGMENT, "xx-small"), hub_id(SEGMENT)) == (None, "apple/mobilevitv2-1.0-voc-deeplabv3")
    assert published_identity("someone/tiny-xx-small") == "birds-64"
    assert published_identity("somebody/tiny-xx-small") is None
    assert published_identity("apple/mobilevitv2-1.0-imagenet1k-256") is None


@pytest.mark.usefixtures("second")
def test_a_checkpoint_of_it_becomes_a_named_bundle(tmp_path: Path) -> None:
    untrained = load_checkpoint("untrained", "xxs")
    folder = tmp_path / "tiny-xx-small-birds"
    folder.mkdir()
    save_file(untrained.model.state_dict(), folder / "model.safetensors")
    said = {"model_type": "tiny", "width_multiplier": 0.125, "num_labels": 1000}
    (folder / "config.json").write_text(json.dumps(said | {k: list(v) for k, v in TINY.items()}))
    assert locate(str(folder)).name == "birds"
    found = load_checkpoint(str(folder))
    assert found.architecture is ROW and found.sha256 == untrained.sha256
    assert bundle_name(ExportRequest(), found) == "tiny-xx-small-birds"
    with pytest.raises(CheckpointError, match=r"holds size xx-small, --variant says 1\.0"):
        load_checkpoint(str(folder), "1.0")


@pytest.mark.usefixtures("second")
def test_its_backbone_blocks_and_export_form() -> None:
    model = load_checkpoint("untrained", "xx-small").model
    assert isinstance(model.backbone, MobileViTV2) and "tiny.conv_stem.convolution.weight" in model.state_dict()
    assert block_of("tiny.encoder.layer.4.conv_kxk.convolution") == "encoder.layer.4.conv_kxk"
    names = [block.name for block in network_blocks(model, (64, 64))]
    assert names[0] == "conv_stem" and names[-1] == "classifier"
    pixels = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(export_form(model, single_image=True)(pixels), model(pixels), atol=1e-4)


@pytest.mark.usefixtures("second")
def test_a_mark_tells_which_of_two_with_the_same_stem_it_is() -> None:
    stem = {"stem.conv.weight": torch.zeros(1)}
    assert architecture_of(stem, "x") == (MOBILEVITV2, "timm")
    joint = {**stem, "blocks.0.attn.qkv.weight": torch.arange(12.0).reshape(6, 2)}
    assert architecture_of(joint, "x") == (ROW, "timm")
    apart = to_hf_names(joint, "timm", ROW)
    assert list(apart) == [
        "tiny.conv_stem.convolution.weight",
        *(f"blocks.0.{n}.weight" for n in ("query", "key", "value")),
    ]
    assert apart["blocks.0.key.weight"].tolist() == [[4.0, 5.0], [6.0, 7.0]]


@pytest.mark.usefixtures("second")
def test_what_is_neither_is_refused_by_both_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a MobileViTV2 or TinyNet classifier or segmenter"):
        architecture_of({"conv.weight": torch.zeros(1)}, "x")
    with pytest.raises(CheckpointError, match="model_type is 'resnet', expected 'mobilevitv2' or 'tiny'"):
        architectures.read_config({"model_type": "resnet"}, "config.json")


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("mobilevitv2", "separable self-attention over patches"),
        ("mobilevit", "self-attention between patches; its output is (patches, positions in a patch, channels)"),
        ("of-tomorrow", "self-attention"),
    ],
)
def test_the_drawing_says_what_a_transformer_layer_is(architecture: str, said: str) -> None:
    manifest = replace(read_manifest(OLD), architecture=architecture)
    report = Report(manifest, (), (), None, None, (), (), (), {})
    assert f"transformer layer: {said}</li>" in page(report)


@pytest.mark.usefixtures("second")
def test_what_is_said_of_it(tmp_path: Path) -> None:
    manifest = replace(read_manifest(OLD), architecture="tiny", variant="xx-small")
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert content(manifest, manifest.artifacts, ())["network_title"] == "TinyNet of size xx-small"
