"""What a checkpoint that brings no preprocessing is given."""

from __future__ import annotations

from typing import Any

import pytest

from mvit2.errors import UsageError
from mvit2.image import default_preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architectures import ARCHITECTURES, MOBILEVITV2

UNKNOWN: Any = "tim"


@pytest.mark.parametrize(
    ("size", "layout", "expected"),
    [
        ((256, 256), "huggingface", PreprocessSpec((256, 256), 288, channel_order="BGR")),
        ((384, 384), "huggingface", PreprocessSpec((384, 384), 416, channel_order="BGR")),
        ((256, 256), "timm", PreprocessSpec((256, 256), 288, resample="bicubic")),
        ((256, 256), "cvnets", PreprocessSpec((256, 256), 288, resample="bicubic")),
        ((128, 128), "timm", PreprocessSpec((128, 128), 144, resample="bicubic")),
        ((384, 384), "timm", PreprocessSpec((384, 384), 384, resample="bicubic")),
        ((192, 320), "cvnets", PreprocessSpec((192, 320), 360, resample="bicubic")),
    ],
)
def test_of_mobilevitv2(size: Any, layout: Any, expected: PreprocessSpec) -> None:
    assert MOBILEVITV2.default_preprocess(size, layout) == expected


@pytest.mark.parametrize(
    ("size", "layout", "expected"),
    [
        ((256, 256), "huggingface", PreprocessSpec((256, 256), 288, channel_order="BGR")),
        ((512, 512), "huggingface", PreprocessSpec((512, 512), 544, channel_order="BGR")),
        ((256, 256), "cvnets", PreprocessSpec((256, 256), 288, channel_order="BGR")),
        ((256, 256), "timm", PreprocessSpec((256, 256), 284, resample="bicubic")),
    ],
)
def test_of_mobilevit(size: Any, layout: Any, expected: PreprocessSpec) -> None:
    assert default_preprocess.MOBILEVIT[layout].at(size) == expected


def test_every_family_has_one_for_each_naming() -> None:
    for row in ARCHITECTURES.values():
        assert set(row.recipes) == set(row.namings)


def test_the_unknown_is_refused() -> None:
    with pytest.raises(UsageError, match=r"layout = 'tim' cannot be used; accepted: .*Did you mean 'timm'"):
        MOBILEVITV2.default_preprocess((256, 256), UNKNOWN)
    with pytest.raises(UsageError, match=r"image_size = \(0, 0\)"):
        MOBILEVITV2.default_preprocess((0, 0), "timm")
