"""MobileViT: every field of a Hugging Face configuration is honoured as transformers honours it, or refused by name."""

from __future__ import annotations

import dataclasses
import json
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from transformers import MobileViTConfig as TheirConfig
from transformers import MobileViTForImageClassification

from mvit2.errors import CheckpointError
from mvit2.network.architectures import find_variant, read_config
from mvit2.network.mobilevit import MobileViTClassifier
from mvit2.network.mobilevit_config import SIZES, MobileViTConfig

NAN = float("nan")
SMALL = {
    "hidden_sizes": [16, 24, 32],
    "neck_hidden_sizes": [16, 16, 24, 24, 32, 32, 48],
    "expand_ratio": 2.0,
    "id2label": {str(i): f"class {i}" for i in range(9)},
}
NUMERIC: dict[str, list[Any]] = {
    "num_channels": [1, 4],
    "patch_size": [1, 4],
    "hidden_sizes": [[32, 8, 20]],
    "neck_hidden_sizes": [[8, 12, 20, 28, 36, 44, 52]],
    "num_attention_heads": [1, 8],
    "mlp_ratio": [1.0, 2.7],
    "expand_ratio": [1.0, 2.73],
    "hidden_act": ["relu", "gelu"],
    "conv_kernel_size": [1, 5],
    "output_stride": [8, 16],
    "layer_norm_eps": [0.1],
    "qkv_bias": [False],
    "id2label": [{"0": "only"}, {"1": "b", "2": "c", "0": "a"}],
}
KEPT: dict[str, tuple[Any, Any]] = {  # for other heads, for the picture's processing: given, kept as
    "image_size": (384, (384, 384)),
    "aspp_out_channels": (64, 64),
    "atrous_rates": ([1, 2, 3], (1, 2, 3)),
    "aspp_dropout_prob": (0.2, 0.2),
    "semantic_loss_ignore_index": (0, 0),
}
TRAINING = {  # and how many calls there are of it; transformers has the classifier's in its network, too
    "hidden_dropout_prob": 18,
    "attention_probs_dropout_prob": 9,
    "classifier_dropout_prob": 1,
}
BOOKKEEPING = {
    *("transformers_version", "architectures", "output_hidden_states", "return_dict", "dtype", "label2id"),
    *("problem_type", "chunk_size_feed_forward", "is_encoder_decoder", "initializer_range"),
}


def read(**changed: Any) -> Any:
    return read_config({"model_type": "mobilevit", **changed}, "config.json")


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in NUMERIC.items() for value in values], ids=str
)
@torch.no_grad()
def test_numeric_fields_equal_transformers(oracles: ModuleType, field: str, value: Any) -> None:
    """In float64, where nothing but another formula can make a difference."""
    ours, theirs = oracles.hugging_face({**SMALL, field: value}, "mobilevit")
    x = oracles.pictures(2, 96, ours.config.num_channels).double()
    seen, expected = ours.double()(x), theirs.double()(x).logits
    assert oracles.gap(seen, expected) < 1e-9


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_attention_heads", 8), ("patch_size", 4), ("hidden_act", "gelu"), ("output_stride", 8)],
)
@torch.no_grad()
def test_fields_that_leave_the_shapes_alone_still_change_the_numbers(
    oracles: ModuleType, field: str, value: Any
) -> None:
    plain, _ = oracles.hugging_face(SMALL, "mobilevit")
    changed, _ = oracles.hugging_face({**SMALL, field: value}, "mobilevit")
    changed.load_state_dict(plain.state_dict())
    x = oracles.pictures(2, 96)
    assert oracles.gap(changed(x), plain(x)) > 1e-4


def zeros(network: nn.Module, x: torch.Tensor, p: float) -> list[float]:
    """The share of zeros that each call of a Dropout(p) made."""
    shares: list[float] = []

    def look(_: nn.Module, inputs: object, output: torch.Tensor) -> None:
        shares.append(float((output == 0).double().mean()))

    hooks = [m.register_forward_hook(look) for m in network.modules() if isinstance(m, nn.Dropout) and m.p == p]
    network(x)
    for hook in hooks:
        hook.remove()
    return shares


@pytest.mark.parametrize(("field", "calls"), TRAINING.items())
@torch.no_grad()
def test_dropouts(oracles: ModuleType, field: str, calls: int) -> None:
    for network in oracles.hugging_face({**SMALL, "hidden_dropout_prob": 0.0, field: 0.35}, "mobilevit"):
        shares = zeros(network.train(), oracles.pictures(4, 64), 0.35)
        assert len(shares) == calls
        assert sum(shares) / calls == pytest.approx(0.35, abs=0.1)


def test_no_field_of_transformers_is_forgotten() -> None:
    theirs = {field.name for field in dataclasses.fields(TheirConfig)}
    assert theirs == {*NUMERIC, *TRAINING, *KEPT, *BOOKKEEPING}


@pytest.mark.parametrize("everything", [True, False])
def test_what_transformers_writes_is_accepted(everything: bool) -> None:
    written = json.loads(TheirConfig(num_labels=3).to_json_string(use_diff=not everything))
    assert read_config(written, "config.json") == read(num_labels=3)
    assert read(num_labels=3) == MobileViTConfig(labels=("LABEL_0", "LABEL_1", "LABEL_2"))


@pytest.mark.parametrize("field", KEPT)
def test_kept(field: str) -> None:
    given, expected = KEPT[field]
    assert getattr(read(**{field: given}), field) == expected != getattr(MobileViTConfig(), field)


REFUSED: list[tuple[str, Any]] = [
    *(("hidden_sizes", value) for value in ([64, 80], [64, 80, 96, 112], [0, 80, 96], 64, [64, 80, 96.0], None)),
    *(("neck_hidden_sizes", value) for value in ([16] * 6, [16] * 8, [16] * 6 + [0], "16")),
    *(("num_attention_heads", value) for value in (0, 5, -4, 4.0, "4", True)),
    *(("mlp_ratio", value) for value in (0, -1, NAN, 0.001, "2")),
    *(("expand_ratio", value) for value in (0, NAN)),
    *(("hidden_act", value) for value in ("linear", None)),
    *((f, v) for f in TRAINING for v in (-0.1, 1, NAN, "0")),
    *(("qkv_bias", value) for value in (1, "true", None)),
    ("output_stride", 64),
    ("patch_size", [2, 4]),
    ("image_size", 0),
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=str)
def test_impossible_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"config.json: {field} ") and message.count("config.json") == 1
    assert "accepted: " in message and "\n" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"hidden_size": [1]}, "field 'hidden_size' is not one of a MobileViT configuration. Did you mean 'hidden_siz"),
        ({"neck_hidden_size": [1]}, "field 'neck_hidden_size' is not one of a MobileViT configuration."),
        ({"num_attention_heads": 5}, "num_attention_heads is 5, accepted: what divides every hidden size, [144, 192"),
    ],
)
def test_other_configurations_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(**content)
    assert str(caught.value).startswith(f"config.json: {message}")


# ---- the three sizes ----


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_parameters(size: Any) -> None:
    config = MobileViTConfig.of_size(size)
    assert config.variant_name == size.name
    said = {name: list(getattr(size, name)) for name in ("hidden_sizes", "neck_hidden_sizes")}
    with torch.device("meta"):
        ours = MobileViTClassifier(config)
        theirs = MobileViTForImageClassification(TheirConfig(**said, expand_ratio=size.expand_ratio, num_labels=1000))
    assert [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)] == [size.parameters] * 2
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in ours.state_dict().items()} == shapes and len(shapes) == 347


@pytest.mark.parametrize(
    ("name", "expected"),
    [("XXS", "xx-small"), ("xs", "x-small"), ("s", "small"), (" Small ", "small"), ("mobilevit_xs", "x-small")],
)
def test_names(name: str, expected: str) -> None:
    assert find_variant(name) is SIZES[expected]


def test_another_one_is_custom() -> None:
    assert read(hidden_sizes=[64, 80, 96], num_labels=5).variant_name == "custom"
