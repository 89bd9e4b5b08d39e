"""Every field of a Hugging Face configuration is honoured as transformers honours it, or refused by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from transformers import MobileViTConfig, MobileViTV2Config

import mvit2
from mvit2.errors import CheckpointError
from mvit2.network.initialise import initialise
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ACTIVATION_NAMES, ModelConfig

INF, NAN = float("inf"), float("nan")


# ---- fields that change the numbers: the same numbers as transformers ----

SMALL = {
    "width_multiplier": 0.5,
    "n_attn_blocks": [1, 2, 1],
    "base_attn_unit_dims": [80, 112, 144],  # odd multiples of 8 remain: a feed-forward layer rounds down to 16
    "id2label": {str(i): f"class {i}" for i in range(9)},
}
NUMERIC: dict[str, list[Any]] = {
    "num_channels": [1, 4],
    "patch_size": [1, 4],
    "expand_ratio": [1.0, 2.73],
    "hidden_act": list(ACTIVATION_NAMES),
    "conv_kernel_size": [1, 5],
    "output_stride": [8, 16],
    "layer_norm_eps": [0.1],
    "n_attn_blocks": [[1, 1, 1], [3, 1, 2]],
    "base_attn_unit_dims": [[64, 200, 144]],
    "width_multiplier": [0.3, 0.6, 2.3],
    "ffn_multiplier": [1, 3],
    "id2label": [{"0": "only"}, {"1": "b", "2": "c", "0": "a"}],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in NUMERIC.items() for value in values], ids=str
)
@torch.no_grad()
def test_numeric_fields_equal_transformers(oracles: ModuleType, field: str, value: Any) -> None:
    """In float64, where nothing but another formula can make a difference."""
    ours, theirs = oracles.hugging_face({**SMALL, field: value})
    x = oracles.pictures(2, 128, ours.config.num_channels).double()
    seen, expected = ours.double()(x), theirs.double()(x).logits
    if expected.shape[1] > 1:
        oracles.assert_varied(expected, share=1e-6)  # ten sigmoids in a row leave little of a picture
    assert oracles.gap(seen, expected) < 1e-9


@pytest.mark.parametrize(
    ("field", "value"),
    [("patch_size", 4), ("hidden_act", "gelu"), ("output_stride", 8), ("output_stride", 16), ("layer_norm_eps", 0.1)],
)
@torch.no_grad()
def test_fields_that_leave_the_shapes_alone_still_change_the_numbers(
    oracles: ModuleType, field: str, value: Any
) -> None:
    plain, _ = oracles.hugging_face(SMALL)
    changed, _ = oracles.hugging_face({**SMALL, field: value})
    changed.load_state_dict(plain.state_dict())
    x = oracles.pictures(2, 128)
    assert oracles.gap(changed(x), plain(x)) > 1e-3


# ---- fields that act in training ----


def zeroed(network: nn.Module, x: torch.Tensor, p: float) -> list[float]:
    """The share of zeros that each call of a Dropout(p) made, and that the others are scaled by 1 / (1 - p)."""
    shares: list[float] = []

    def look(module: nn.Dropout, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if module.p == p:
            kept = output != 0
            shares.append(1 - float(kept.double().mean()))
            assert torch.allclose(output[kept] * (1 - p), inputs[0][kept])

    hooks = [m.register_forward_hook(look) for m in network.modules() if isinstance(m, nn.Dropout)]
    network(x)
    for hook in hooks:
        hook.remove()
    return shares


@pytest.mark.parametrize(
    ("field", "calls", "in_transformers"),
    [("attn_dropout", 4, 4), ("ffn_dropout", 8, 8), ("classifier_dropout_prob", 1, 0)],
)
@torch.no_grad()
def test_dropouts(oracles: ModuleType, field: str, calls: int, in_transformers: int) -> None:
    """transformers has the classifier's dropout in its configuration and not in its network; ours applies it."""
    ours, theirs = oracles.hugging_face({**SMALL, field: 0.35})
    x = oracles.pictures(8, 128)
    torch.manual_seed(0)
    seen, expected = zeroed(ours.train(), x, 0.35), zeroed(theirs.train(), x, 0.35)
    assert (len(seen), len(expected)) == (calls, in_transformers)
    assert sum(seen) / calls == pytest.approx(0.35, abs=0.05)
    assert not torch.equal(ours(x), ours(x))
    assert torch.equal(ours.eval()(x), ours(x))


def test_initializer_range_is_the_spread_of_the_head() -> None:
    heads = []
    for spread in (0.02, 0.08):
        model = MobileViTV2Classifier(ModelConfig(width_multiplier=0.5, initializer_range=spread))
        initialise(model, 1)
        heads.append(model.classifier.weight.detach())
    assert torch.allclose(heads[1], 4 * heads[0], rtol=1e-5)


# ---- every field of transformers' class has its place here ----

KEPT: dict[str, tuple[Any, Any]] = {  # for other heads, for the picture's processing: given, kept as
    "image_size": (384, (384, 384)),
    "aspp_out_channels": (64, 64),
    "atrous_rates": ([1, 2, 3], (1, 2, 3)),
    "aspp_dropout_prob": (0.2, 0.2),
    "semantic_loss_ignore_index": (0, 0),
}
TRAINING = {"attn_dropout": 0.35, "ffn_dropout": 0.35, "classifier_dropout_prob": 0.35, "initializer_range": 0.08}
BOOKKEEPING: dict[str, Any] = {  # no number depends on them
    "transformers_version": "5.23.0",
    "architectures": ["MobileViTV2ForImageClassification"],
    "output_hidden_states": True,
    "return_dict": False,
    "dtype": "float16",
    "label2id": {"a": 0},
}
FIXED: dict[str, tuple[Any, Any]] = {  # accepted, refused
    "problem_type": ("single_label_classification", "ordinal"),
    "chunk_size_feed_forward": (0, 1),
    "is_encoder_decoder": (False, True),
}
OLDER: dict[str, Any] = {"torch_dtype": "float32", "_name_or_path": "x", "use_cache": True, "output_attentions": True}


def read(**changed: Any) -> ModelConfig:
    return ModelConfig.from_hf({"model_type": "mobilevitv2", **changed}, "config.json")


def test_no_field_of_transformers_is_forgotten() -> None:
    fields = {field.name for field in dataclasses.fields(MobileViTV2Config)}
    assert fields == {*NUMERIC, *TRAINING, *KEPT, *BOOKKEEPING, *FIXED}


@pytest.mark.parametrize("everything", [True, False])
def test_what_transformers_writes_is_accepted(everything: bool) -> None:
    written = json.loads(MobileViTV2Config(num_labels=3).to_json_string(use_diff=not everything))
    assert ("patch_size" in written, "problem_type" in written) == (True, everything)
    default = read(num_labels=3)
    assert ModelConfig.from_hf(written, "config.json") == default
    assert default == ModelConfig(labels=("LABEL_0", "LABEL_1", "LABEL_2"), patch_rule="transformers")


@pytest.mark.parametrize("field", KEPT)
def test_kept(field: str) -> None:
    given, expected = KEPT[field]
    assert getattr(read(**{field: given}), field) == expected != getattr(ModelConfig(), field)


@pytest.mark.parametrize(("field", "value"), {**BOOKKEEPING, **OLDER}.items())
def test_bookkeeping_changes_nothing(field: str, value: Any) -> None:
    assert read(**{field: value}) == read()


def test_classes() -> None:
    """Without names, transformers writes none for its default of two."""
    assert MobileViTV2Config().num_labels == 2 and "id2label" not in json.loads(MobileViTV2Config().to_json_string())
    assert read().labels == ("LABEL_0", "LABEL_1")
    assert read(num_labels=3).labels == tuple(MobileViTV2Config(num_labels=3).id2label.values())
    assert read(id2label={"1": "b", "0": "a"}, num_labels=2).labels == ("a", "b")
    assert ModelConfig().num_labels == 1000


def test_the_bundled_configuration() -> None:
    file = Path(mvit2.__file__).parent / "checkpoints/0.5/config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    config = ModelConfig.from_hf(content, str(file))
    assert (config.width_multiplier, config.image_size, config.num_labels) == (0.5, (128, 128), 20)
    assert config.labels == tuple(content["id2label"].values()) and config.labels[3] == "tabby"
    assert read(**content) == config


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"image_size": [256, 192]}, {"image_size": (256, 192)}),
        ({"patch_size": [4, 4]}, {"patch_size": 4}),
        ({"expand_ratio": 3, "width_multiplier": 1}, {"expand_ratio": 3.0, "width_multiplier": 1.0}),
    ],
)
def test_other_spellings(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(**given) == dataclasses.replace(read(), **expected)


# ---- refusals ----

REFUSED: list[tuple[str, Any]] = [
    *((field, value) for field, (_, value) in FIXED.items()),
    *(("num_channels", value) for value in (0, -3, 3.0, True, "3", None)),
    *(("image_size", value) for value in (0, -1, [256], [256, 0], [1, 2, 3], "256", True, 256.0)),
    *(("patch_size", value) for value in (0, [2, 4], [2], "2", [])),
    *(("expand_ratio", value) for value in (0, -1, NAN, INF, "2", None)),
    *(("hidden_act", value) for value in ("linear", "Swish", "", None, 3)),
    *(("conv_kernel_size", value) for value in (0, 2, -3, 3.0, [3, 3])),
    *(("output_stride", value) for value in (4, 64, 0, "32")),
    *((f, v) for f in ("classifier_dropout_prob", "attn_dropout", "ffn_dropout") for v in (-0.1, 1, NAN, INF, "0")),
    *(("initializer_range", value) for value in (-1, NAN, INF, None)),
    *(("layer_norm_eps", value) for value in (0, -1e-5, NAN, INF)),
    *(("n_attn_blocks", value) for value in ([2, 4], [2, 4, 0], [2, 4, 3.0], 2, [2, 4, 3, 1])),
    *(("base_attn_unit_dims", value) for value in ([128, 192], [0, 1, 2], ["a", "b", "c"])),
    *(("width_multiplier", value) for value in (0, -1, NAN, INF, "1.0", None, True)),
    *(("ffn_multiplier", value) for value in (0, 2.5, "2")),
    *(("aspp_out_channels", value) for value in (0, "512")),
    *(("atrous_rates", value) for value in (6, ["a"], None)),
    *(("aspp_dropout_prob", value) for value in (2, "x")),
    *(("semantic_loss_ignore_index", value) for value in (2.5, None)),
    *(("id2label", value) for value in ({}, ["a"], {"a": "b"}, {"0": "a", "2": "c"}, {"0": "a", "00": "b"})),
    *(("num_labels", value) for value in (0, -1, 2.0, "2")),
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=str)
def test_impossible_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"config.json: {field} ") and message.count("config.json") == 1
    assert "accepted: " in message and "\n" not in message


def test_every_field_has_an_impossible_value() -> None:
    refused = {field for field, _ in REFUSED}
    assert refused == {*NUMERIC, *TRAINING, *KEPT, *FIXED, "num_labels"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"width_mult": 1}, "field 'width_mult' is not one of a MobileViTV2 configuration. Did you mean 'width_mul"),
        ({"atrous_rate": [1]}, "field 'atrous_rate' is not one of a MobileViTV2 configuration."),
        ({"id2label": {"0": "a"}, "num_labels": 2}, "num_labels is 2, accepted: 1, as many as id2label names."),
        ({"quantization_config": {"bits": 8}}, "quantization_config is {'bits': 8}, accepted: None."),
        ({"model_type": "vit"}, "model_type is 'vit', expected 'mobilevitv2'."),
        ({"model_type": None}, "model_type is None, expected 'mobilevitv2'."),
        (json.loads(MobileViTConfig().to_json_string()), "model_type is 'mobilevit', expected 'mobilevitv2'."),
    ],
)
def test_other_configurations_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(**content)
    assert str(caught.value).startswith("config.json: ") and message in str(caught.value)
