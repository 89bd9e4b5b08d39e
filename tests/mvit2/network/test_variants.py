"""The seven published widths (every field of a configuration: test_config.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MobileViTV2Config, MobileViTV2ForImageClassification

from mvit2.errors import UsageError
from mvit2.network.architectures import MOBILEVIT, family_of, find_variant, hub_id, published_identity
from mvit2.network.mobilevit_config import SIZES
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import VARIANTS, ModelConfig, make_divisible
from mvit2.tasks import CLASSIFY, SEGMENT, Task

WIDTHS = "0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0"
ALL_NAMES = f"{WIDTHS}, xx-small, x-small, small"


# ---- the seven widths ----


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_parameters_and_operations(variant: Any) -> None:
    with torch.device("meta"):
        ours = MobileViTV2Classifier(ModelConfig(width_multiplier=variant.width_multiplier)).eval()
        fields = {"width_multiplier": variant.width_multiplier, "num_labels": 1000}
        theirs = MobileViTV2ForImageClassification(MobileViTV2Config(**fields))
        with FlopCounterMode(display=False) as counter:
            ours(torch.empty(1, 3, 256, 256))
    assert [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)] == [variant.parameters] * 2
    convolutions = counter.get_total_flops() / 2e9
    assert 0.96 * variant.gmac < convolutions < variant.gmac  # the published figure counts the norms, too


def test_the_published_table() -> None:
    counts = [1_370_593, 2_866_009, 4_901_841, 7_478_089, 10_594_753, 14_251_833, 18_449_329]
    assert [variant.parameters for variant in VARIANTS.values()] == counts
    assert [variant.top1 for variant in VARIANTS.values()] == [70.18, 75.56, 78.09, 79.65, 80.38, 80.84, 81.17]
    assert ", ".join(VARIANTS) == WIDTHS == ", ".join(variant.name for variant in VARIANTS.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1", "1.0"),
        ("1.0", "1.0"),
        ("1.00", "1.0"),
        (".5", "0.5"),
        ("2", "2.0"),
        ("1.750", "1.75"),
        ("050", "0.5"),
        ("mobilevitv2_175", "1.75"),
        ("apple/mobilevitv2-1.0-imagenet1k-256", "1.0"),
        ("timm/mobilevitv2_125.cvnets_in1k", "1.25"),
    ],
)
def test_find_variant(name: str, expected: str) -> None:
    assert find_variant(name) is VARIANTS[expected]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", "small"),
        ("S", "small"),
        ("xs", "x-small"),
        ("xxs", "xx-small"),
        ("apple/mobilevit-small", "small"),
        ("apple/mobilevit-xx-small", "xx-small"),
        ("apple/deeplabv3-mobilevit-x-small", "x-small"),
        ("mobilevit_xs", "x-small"),
        ("timm/mobilevit_s.cvnets_in1k", "small"),
    ],
)
def test_find_a_size_of_the_first_version(name: str, expected: str) -> None:
    assert find_variant(name) is SIZES[expected] and family_of(name) is MOBILEVIT


@pytest.mark.parametrize(
    ("task", "variant", "published", "identity"),
    [
        (CLASSIFY, "small", "apple/mobilevit-small", "imagenet1k-256"),
        (CLASSIFY, "xxs", "apple/mobilevit-xx-small", "imagenet1k-256"),
        (SEGMENT, "xs", "apple/deeplabv3-mobilevit-x-small", "voc-deeplabv3"),
        (CLASSIFY, "1.0", "apple/mobilevitv2-1.0-imagenet1k-256", None),
    ],
)
def test_what_was_published(task: Task, variant: str, published: str, identity: str | None) -> None:
    """The first version's ids say no more than the size, so a bundle's name gets from the table what they leave out."""
    assert hub_id(task, variant) == published and published_identity(published) == identity


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1.1", f"unknown variant '1.1': did you mean 1.0 or 1.25? Choose one of {ALL_NAMES}."),
        ("0.6", f"unknown variant '0.6': did you mean 0.5 or 0.75? Choose one of {ALL_NAMES}."),
        ("0.1", f"unknown variant '0.1': did you mean 0.5? Choose one of {ALL_NAMES}."),
        ("3", f"unknown variant '3': did you mean 2.0? Choose one of {ALL_NAMES}."),
        ("xl", f"unknown variant 'xl'; choose one of {ALL_NAMES}."),
        ("", f"unknown variant ''; choose one of {ALL_NAMES}."),
        ("nan", f"unknown variant 'nan'; choose one of {ALL_NAMES}."),
    ],
)
def test_unknown_variants(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_variant(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("divisor", [8, 16])
def test_make_divisible(divisor: int) -> None:
    from transformers.models.mobilevitv2.modeling_mobilevitv2 import make_divisible as theirs

    for tenth in range(1, 3000):
        ours = make_divisible(tenth / 10, divisor)
        assert ours == theirs(tenth / 10, divisor) and ours % divisor == 0
