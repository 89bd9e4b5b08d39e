"""The segmentation network against transformers, its dilations against timm; its loss; it trains."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvit2.checkpoint.tensor_names import to_hf_names
from mvit2.checkpoint.tensors import load_weights
from mvit2.errors import UsageError
from mvit2.network.deeplabv3 import MobileViTV2Segmenter
from mvit2.network.initialise import initialise
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig

TOLERANCE = 1e-5  # of the range of the expected values; what float32 leaves is below 4e-6
NAMES = {str(index): f"class {index}" for index in range(7)}
SMALL = {"width_multiplier": 0.5, "aspp_out_channels": 96, "n_attn_blocks": [1, 2, 1], "id2label": NAMES}


def assert_varied(logits: Tensor) -> None:
    """Between pictures, classes and pixels; two networks that say nothing would be equal, too."""
    spread = logits.max() - logits.min()
    for axes in (0, 1, (2, 3)):
        assert logits.std(axes).mean() > 0.01 * spread, axes


# ---- transformers ----


@pytest.mark.parametrize("size", [pytest.param((512, 512), marks=pytest.mark.heavy), (256, 256), (256, 384)], ids=str)
@pytest.mark.parametrize("stride", [32, 16, 8])
@torch.no_grad()
def test_equals_transformers(oracles: ModuleType, stride: int, size: tuple[int, int]) -> None:
    ours, theirs = oracles.hugging_face_segmenter({**SMALL, "output_stride": stride})
    x = oracles.pictures(2, size)
    seen, expected = ours(x), theirs(x).logits
    assert seen.shape == (2, 7, size[0] // stride, size[1] // stride)
    assert tuple(seen.shape[2:]) == ours.config.map_size(size)
    assert_varied(expected)
    assert oracles.gap(seen, expected) < TOLERANCE


@pytest.mark.heavy
@pytest.mark.parametrize(("stride", "rates", "size"), [(16, [6, 12, 18], (512, 512)), (8, [12, 24, 36], (256, 384))])
@torch.no_grad()
def test_the_published_shape_equals_transformers(
    oracles: ModuleType, stride: int, rates: list[int], size: tuple[int, int]
) -> None:
    """Width 1.0 as Apple trained it on PASCAL VOC and on ADE20K."""
    fields = {"output_stride": stride, "atrous_rates": rates, "id2label": oracles.named(21)}
    ours, theirs = oracles.hugging_face_segmenter(fields)
    x = oracles.pictures(1, size)
    expected = theirs(x).logits
    assert expected.std((2, 3)).mean() > 0.01 * expected.std()
    assert oracles.gap(ours(x), expected) < TOLERANCE


FIELDS: list[tuple[str, Any]] = [
    ("aspp_out_channels", 8),
    ("aspp_out_channels", 200),
    ("atrous_rates", [1, 2, 3]),
    ("atrous_rates", [30, 1, 9]),
    ("output_stride", 8),
    ("output_stride", 16),
    ("hidden_act", "gelu"),  # of the backbone alone: the head has ReLU
    ("layer_norm_eps", 0.1),
    ("patch_size", 4),
    ("conv_kernel_size", 5),
    ("num_channels", 4),
    ("id2label", {"0": "only"}),
]


@pytest.mark.parametrize(("field", "value"), FIELDS, ids=str)
@torch.no_grad()
def test_fields_equal_transformers(oracles: ModuleType, field: str, value: Any) -> None:
    """In float64, where nothing but another formula can make a difference."""
    ours, theirs = oracles.hugging_face_segmenter({**SMALL, field: value})
    x = oracles.pictures(2, 128, ours.config.num_channels).double()
    expected = theirs.double()(x).logits
    assert oracles.gap(ours.double()(x), expected) < 1e-9


@pytest.mark.parametrize(("field", "value"), [("atrous_rates", [1, 2, 3]), ("output_stride", 8), ("output_stride", 16)])
@torch.no_grad()
def test_fields_that_leave_the_tensors_alone_change_the_numbers(oracles: ModuleType, field: str, value: Any) -> None:
    plain, _ = oracles.hugging_face_segmenter(SMALL)
    changed, _ = oracles.hugging_face_segmenter({**SMALL, field: value})
    changed.load_state_dict(plain.state_dict())
    x = oracles.pictures(2, 256)
    seen, before = changed(x), plain(x)
    seen = nn.functional.interpolate(seen, before.shape[2:], mode="bilinear", align_corners=False)
    assert oracles.gap(seen, before) > 1e-3


# ---- sizes ----


@pytest.mark.parametrize(
    ("stride", "size"),
    [(8, (144, 208)), (16, (96, 160)), (32, (64, 192)), (32, (121, 64)), (16, (123, 128)), (8, (140, 128))],
    ids=str,
)
@torch.no_grad()
def test_sizes_that_patches_tile_equal_transformers(oracles: ModuleType, stride: int, size: tuple[int, int]) -> None:
    """At output stride 8, multiples of 16 are enough; and an edge that is rounded up to a multiple is as good."""
    ours, theirs = oracles.hugging_face_segmenter({**SMALL, "output_stride": stride})
    x = oracles.pictures(2, size)
    seen = ours(x)
    assert tuple(seen.shape[2:]) == ours.config.map_size(size)
    assert oracles.gap(seen, theirs(x).logits) < TOLERANCE


@pytest.mark.parametrize(
    ("stride", "patch", "size", "maps", "accepted"),
    [
        (32, 2, (224, 224), "28x28, 14x14, 7x7", "multiples of 64, such as 256x256"),
        (32, 2, (256, 288), "32x36, 16x18, 8x9", "multiples of 64, such as 256x256"),
        (16, 2, (512, 528), "64x66, 32x33, 32x33", "multiples of 32, such as 512x512"),
        (8, 2, (520, 512), "65x64, 65x64, 65x64", "multiples of 16, such as 512x512"),
        (16, 4, (512, 480), "64x60, 32x30, 32x30", "multiples of 64, such as 512x512"),
        (32, 2, (1, 1), "1x1, 1x1, 1x1", "multiples of 64, such as 64x64"),
    ],
)
def test_sizes_that_the_reference_would_stretch_are_refused(
    stride: int, patch: int, size: tuple[int, int], maps: str, accepted: str
) -> None:
    config = ModelConfig(width_multiplier=0.5, patch_size=patch, output_stride=stride, labels=("a", "b"))
    for ask in (config.map_size, lambda size: MobileViTV2Segmenter(config)(torch.zeros(1, 3, *size))):
        with pytest.raises(UsageError) as caught:
            ask(size)
        expected = f"image size {size[0]}x{size[1]} (height x width) gives the transformers maps of {maps}, which"
        assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)
        assert str(caught.value).endswith(f"accepted at output stride {stride}: {accepted}.")


# ---- dilation_rule ----


@pytest.mark.parametrize("stride", [16, 8])
@torch.no_grad()
def test_the_rule_of_ml_cvnets_is_that_of_timm(oracles: ModuleType, stride: int) -> None:
    """timm ported Apple's dilated networks; its real one runs here (with a classifier: it has no DeepLabV3)."""
    theirs = oracles.timm_network("0.5", output_stride=stride)
    labels = tuple(oracles.named(40).values())
    config = ModelConfig(width_multiplier=0.5, output_stride=stride, dilation_rule="ml-cvnets", labels=labels)
    ours = MobileViTV2Classifier(config).eval()
    other = MobileViTV2Classifier(replace(config, dilation_rule="transformers")).eval()
    tensors = to_hf_names(theirs.state_dict(), "timm")
    load_weights(ours, tensors, "timm")
    load_weights(other, tensors, "timm")
    x = oracles.pictures(2, 256)
    expected = theirs(x)
    oracles.assert_varied(expected)
    assert oracles.gap(ours(x), expected) < TOLERANCE
    assert oracles.gap(other(x), expected) > 1e-3


@pytest.mark.parametrize(
    ("rule", "stride", "expected"),  # of layers 4 and 5: stride and dilation on the way down, dilation of conv_kxk
    [
        ("transformers", 32, [(2, 1, 1), (2, 1, 1)]),
        ("transformers", 16, [(2, 1, 1), (1, 1, 1)]),
        ("transformers", 8, [(1, 1, 1), (1, 2, 1)]),
        ("ml-cvnets", 32, [(2, 1, 1), (2, 1, 1)]),
        ("ml-cvnets", 16, [(2, 1, 1), (1, 1, 2)]),
        ("ml-cvnets", 8, [(1, 1, 2), (1, 2, 4)]),
    ],
)
def test_dilations(rule: str, stride: int, expected: list[tuple[int, int, int]]) -> None:
    """Those of transformers 5.23 and of ml-cvnets 0c0f798 (MobileViTv2._make_mit_layer, MobileViTBlockv2)."""
    model = MobileViTV2Segmenter(ModelConfig(width_multiplier=0.5, output_stride=stride, dilation_rule=rule))
    seen = []
    for layer in model.mobilevitv2.encoder.layer[3:]:
        down, local = layer.downsampling_layer.conv_3x3.convolution, layer.conv_kxk.convolution
        seen.append((down.stride[0], down.dilation[0], local.dilation[0]))
    assert seen == expected


# ---- training ----


def labels_for(size: tuple[int, int], ignored: int, classes: int = 7) -> Tensor:
    """int64 (2, *size): every class, and ``ignored`` in a fifth of the pixels."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(classes, (2, *size), generator=generator)
    return labels.masked_fill(torch.rand((2, *size), generator=generator) < 0.2, ignored)


@pytest.mark.parametrize("ignored", [255, 0, -1])
@pytest.mark.parametrize("size", [(128, 192), (97, 130), (8, 12), (5, 5)], ids=str)
@torch.no_grad()
def test_the_loss_equals_transformers(oracles: ModuleType, size: tuple[int, int], ignored: int) -> None:
    """Whatever the size of the labels; pixels marked with the configuration's index do not count."""
    fields = {**SMALL, "output_stride": 16, "semantic_loss_ignore_index": ignored}
    ours, theirs = oracles.hugging_face_segmenter(fields)
    x, labels = oracles.pictures(2, (128, 192)), labels_for(size, ignored)
    seen = ours.loss(ours(x), labels)
    assert float(seen) == pytest.approx(float(theirs(x, labels=labels).loss), rel=1e-6)
    assert float(seen) != pytest.approx(float(ours.loss(ours(x), labels.masked_fill(labels == ignored, 3))), rel=1e-4)


def test_a_training_step_equals_transformers(oracles: ModuleType) -> None:
    """In training mode from the same seed: batch statistics, both dropouts, loss and every gradient."""
    fields = {**SMALL, "output_stride": 16, "aspp_dropout_prob": 0.3, "classifier_dropout_prob": 0.2}
    ours, theirs = oracles.hugging_face_segmenter(fields)
    x, labels = oracles.pictures(2, 128).double(), labels_for((128, 128), 255)
    torch.manual_seed(0)
    seen = (network := ours.double().train()).loss(network(x), labels)
    torch.manual_seed(0)
    expected = theirs.double().train()(x, labels=labels).loss
    torch.manual_seed(1)
    assert abs((ours.loss(ours(x), labels) - expected).item()) > 1e-3, "no dropout acted"
    assert seen.item() == pytest.approx(expected.item(), rel=1e-10)
    seen.backward()
    expected.backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        other = gradients[name]
        assert p.grad is not None and other is not None
        assert float((p.grad - other).abs().max()) <= 1e-8 * float(other.abs().max()) + 1e-14, name


def test_one_class_has_no_loss(oracles: ModuleType) -> None:
    model = MobileViTV2Segmenter(ModelConfig(width_multiplier=0.5, labels=("only",)))
    with pytest.raises(UsageError, match=r"^a loss needs at least 2 classes, this network has 1"):
        model.loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    _, theirs = oracles.hugging_face_segmenter({**SMALL, "id2label": {"0": "only"}})
    with pytest.raises(ValueError, match="number of labels should be greater than one"):
        theirs(torch.zeros(1, 3, 64, 64), labels=torch.zeros(1, 64, 64, dtype=torch.long))


TINY = ModelConfig(width_multiplier=0.5, output_stride=16, aspp_out_channels=32, labels=tuple("abc"))


def new(seed: int = 0) -> MobileViTV2Segmenter:
    model = MobileViTV2Segmenter(TINY)
    initialise(model, seed)
    return model


def test_training_lowers_the_loss_and_reaches_every_parameter(oracles: ModuleType) -> None:
    model, x = new().train(), oracles.pictures(4, 64)
    labels = (x.mean(1) * 3).long().clamp(0, 2)  # dark, grey, light
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model.loss(model(x), labels)
        loss.backward()
        gradients = {name: torch.zeros(1) if p.grad is None else p.grad for name, p in model.named_parameters()}
        assert [name for name, grad in gradients.items() if not 0 < grad.abs().sum() < torch.inf] == []
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@torch.no_grad()
def test_initialised_logits_tell_pictures_pixels_and_classes_apart(oracles: ModuleType) -> None:
    model, again, other = new(5).eval(), new(5), new(6)
    assert_varied(model(oracles.pictures(4, 128)))
    states = [torch.cat([t.flatten().float() for t in m.state_dict().values()]) for m in (model, again, other)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
