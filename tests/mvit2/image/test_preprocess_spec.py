"""Which recipes a checkpoint may ask for, and how the others are refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mvit2.errors import CheckpointError, UsageError
from mvit2.image.preprocess_spec import PreprocessSpec

GOLDEN = Path(__file__).parents[2] / "golden" / "preprocess.json"
CONFIGS = json.loads(GOLDEN.read_text(encoding="utf-8"))["configs"]
SPEC = PreprocessSpec((32, 32), 36)

HUB = CONFIGS["hub"]
HONOURED = [
    ({}, PreprocessSpec((256, 256), 288, channel_order="BGR")),
    ({"resample": 3}, PreprocessSpec((256, 256), 288, resample="bicubic", channel_order="BGR")),
    ({"do_flip_channel_order": False}, PreprocessSpec((256, 256), 288)),
    ({"do_flip_channel_order": None}, PreprocessSpec((256, 256), 288)),
    ({"do_rescale": False}, PreprocessSpec((256, 256), 288, channel_order="BGR", scale=1.0)),
    ({"rescale_factor": 0.5}, PreprocessSpec((256, 256), 288, channel_order="BGR", scale=0.5)),
    ({"rescale_factor": 1}, PreprocessSpec((256, 256), 288, channel_order="BGR", scale=1.0)),
    ({"size": 300}, PreprocessSpec((256, 256), 300, channel_order="BGR")),
    ({"size": 300, "default_to_square": False}, PreprocessSpec((256, 256), 300, channel_order="BGR")),
    (
        {"size": 300, "default_to_square": True},
        PreprocessSpec((256, 256), None, (300, 300), channel_order="BGR"),
    ),
    ({"size": [300, 320]}, PreprocessSpec((256, 256), None, (300, 320), channel_order="BGR")),
    (
        {"size": {"height": 300, "width": 320}},
        PreprocessSpec((256, 256), None, (300, 320), channel_order="BGR"),
    ),
    (
        {"size": {"height": 96, "width": 64}, "do_center_crop": False},
        PreprocessSpec((96, 64), None, (96, 64), channel_order="BGR"),
    ),
    ({"do_resize": False}, PreprocessSpec((256, 256), None, channel_order="BGR")),
    (
        {"do_resize": False, "size": None, "resample": None},
        PreprocessSpec((256, 256), None, channel_order="BGR"),
    ),
    ({"crop_size": 224}, PreprocessSpec((224, 224), 288, channel_order="BGR")),
    ({"crop_size": {"height": 192, "width": 320}}, PreprocessSpec((192, 320), 288, channel_order="BGR")),
]
UNCHANGED: list[dict[str, Any]] = [
    {"do_normalize": None, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    {"do_normalize": True, "image_mean": [0.0, 0.0, 0.0], "image_std": [1, 1, 1]},
    {"do_reduce_labels": False},
    {"do_reduce_labels": True},
    {"do_pad": False, "pad_size": {"height": 1, "width": 1}},
    {"image_processor_type": "MobileViTImageProcessor"},
    {"image_processor_type": "MobileViTImageProcessorFast"},
    {"feature_extractor_type": "MobileViTFeatureExtractor"},
    {"data_format": "channels_first", "input_data_format": None, "return_tensors": None, "device": "cpu"},
    {"_valid_processor_keys": ["images"], "processor_class": None, "disable_grouping": True},
    {"do_convert_rgb": True},
    {"a_key_of_tomorrow": None},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"do_normalize": True}, "image_mean = None cannot be used; accepted: three finite numbers"),
    (
        {"do_normalize": True, "image_mean": [0, 0, 0], "image_std": [0.5, 0, 0.5]},
        "image_std = [0.5, 0.0, 0.5] cannot be used; accepted: numbers above 0",
    ),
    ({"resample": 0}, "resample = 0 cannot be used; accepted: 2 (bilinear), 3 (bicubic)"),
    ({"resample": None}, "resample = None cannot be used"),
    ({"resample": True}, "resample = True cannot be used"),
    (
        {"size": None},
        "size = None cannot be used; accepted: {shortest_edge}, {height, width}, or a whole number",
    ),
    (
        {"size": {"shortest_edge": 288, "longest_edge": 300}},
        "size = {'shortest_edge': 288, 'longest_edge': 300}",
    ),
    ({"size": {"shortest_edge": 0}}, "size = {'shortest_edge': 0} cannot be used"),
    ({"size": 288.0}, "size = 288.0 cannot be used"),
    ({"size": "288"}, "size = '288' cannot be used"),
    ({"size": True}, "size = True cannot be used"),
    ({"crop_size": None}, "crop_size = None cannot be used; accepted: {height, width}, or a whole number"),
    ({"crop_size": {"height": 256}}, "crop_size = {'height': 256} cannot be used"),
    ({"crop_size": [256, -1]}, "crop_size = [256, -1] cannot be used"),
    ({"crop_size": 10**9}, "crop_size = 1000000000 cannot be used"),
    ({"do_center_crop": False}, "do_center_crop = False cannot be used; accepted: true, or false with size"),
    ({"do_center_crop": False, "do_resize": False}, "do_center_crop = False cannot be used"),
    ({"do_resize": "yes"}, "do_resize = 'yes' cannot be used; accepted: true, false"),
    ({"rescale_factor": 0}, "rescale_factor = 0 cannot be used; accepted: a number above 0"),
    ({"rescale_factor": float("nan")}, "rescale_factor = nan cannot be used"),
    ({"rescale_factor": 10**400}, "rescale_factor = 1000"),
    ({"rescale_factor": "1/255"}, "rescale_factor = '1/255' cannot be used"),
    ({"do_pad": True}, "do_pad = True cannot be used; accepted: False"),
    ({"do_normalize": True, "image_mean": [0, "a", 0], "image_std": [1, 1, 1]}, "image_mean = [0, 'a', 0] cannot be"),
    (
        {"data_format": "channels_last"},
        "data_format = 'channels_last' cannot be used; accepted: channels_first",
    ),
    (
        {"image_processor_type": "ViTImageProcessor"},
        "image_processor_type = 'ViTImageProcessor' cannot be used; accepted: MobileViTImageProcessor",
    ),
    ({"crop_pct": 0.875}, "crop_pct = 0.875 cannot be used; accepted: no such key"),
]


@pytest.mark.parametrize(("change", "expected"), HONOURED, ids=[str(row[0]) for row in HONOURED])
def test_from_hf_honours(change: dict[str, Any], expected: PreprocessSpec) -> None:
    assert PreprocessSpec.from_hf({**HUB, **change}, "preprocessor_config.json") == expected


@pytest.mark.parametrize("change", UNCHANGED, ids=[next(iter(row)) + str(n) for n, row in enumerate(UNCHANGED)])
def test_from_hf_accepts_what_changes_no_pixel(change: dict[str, Any]) -> None:
    assert PreprocessSpec.from_hf({**HUB, **change}, "x") == PreprocessSpec.from_hf(HUB, "x")


@pytest.mark.parametrize(("change", "wrong"), REFUSED, ids=[str(row[0])[:60] for row in REFUSED])
def test_from_hf_refuses(change: dict[str, Any], wrong: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        PreprocessSpec.from_hf({**HUB, **change}, "dir/preprocessor_config.json")
    message = str(caught.value)
    assert message.startswith(f"dir/preprocessor_config.json: {wrong}") and "\n" not in message
    assert "accepted: " in message and message.endswith("correct that file")


def test_from_hf_reads_the_files_of_2022() -> None:
    old = {
        "crop_size": 256,
        "do_center_crop": True,
        "do_flip_channel_order": True,
        "do_resize": True,
        "feature_extractor_type": "MobileViTFeatureExtractor",
        "resample": 2,
        "size": 288,
    }
    assert PreprocessSpec.from_hf(old, "x") == PreprocessSpec.from_hf(HUB, "x")


def test_from_hf_reads_what_transformers_saves() -> None:
    from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

    for name, config in CONFIGS.items():
        saved = json.loads(MobileViTImageProcessorPil(**config).to_json_string())
        assert PreprocessSpec.from_hf(saved, name) == PreprocessSpec.from_hf(config, name)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"image_size": (0, 32)}, "image_size = (0, 32) cannot be used; accepted: (height, width)"),
        ({"image_size": [32, 32]}, "image_size = [32, 32]"),
        ({"image_size": (32, 32, 3)}, "image_size = (32, 32, 3)"),
        ({"resize_shortest": 0}, "resize_shortest = 0"),
        ({"resize_shortest": 36.0}, "resize_shortest = 36.0"),
        ({"resize_exact": (36, 36)}, "resize_exact = (36, 36) cannot be used; accepted: None beside"),
        (
            {"resample": "bicubik"},
            "resample = 'bicubik' cannot be used; accepted: bilinear, bicubic. Did you mean",
        ),
        ({"channel_order": "rgb"}, "channel_order = 'rgb' cannot be used; accepted: RGB, BGR"),
        ({"scale": float("inf")}, "scale = inf"),
        ({"scale": 0.0}, "scale = 0.0"),
        ({"scale": 1}, "scale = 1 "),
    ],
)
def test_an_impossible_spec_is_refused(values: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        replace(SPEC, **values)
    assert str(caught.value).startswith(wrong)


def test_a_spec_survives_json() -> None:
    for name, config in CONFIGS.items():
        spec = PreprocessSpec.from_hf(config, name)
        read = json.loads(json.dumps(asdict(spec)))
        assert PreprocessSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()}) == spec


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        (PreprocessSpec((256, 256), 288), (320, 320), PreprocessSpec((320, 320), 360)),
        (PreprocessSpec((256, 256), 288), (256, 256), PreprocessSpec((256, 256), 288)),
        (PreprocessSpec((256, 256), 288), (192, 320), PreprocessSpec((192, 320), 360)),
        (PreprocessSpec((256, 256), 256), (320, 192), PreprocessSpec((320, 192), 320)),
        (PreprocessSpec((256, 256), 288), (100, 100), PreprocessSpec((100, 100), 112)),  # 112.5, half to even
        (
            PreprocessSpec((256, 256), None, (288, 300)),
            (128, 512),
            PreprocessSpec((128, 512), None, (144, 600)),
        ),
        (PreprocessSpec((256, 256), None), (64, 64), PreprocessSpec((64, 64), None)),
    ],
)
def test_with_image_size(spec: PreprocessSpec, size: tuple[int, int], expected: PreprocessSpec) -> None:
    assert spec.with_image_size(*size) == expected


def test_with_image_size_keeps_the_rest_and_refuses_an_empty_size() -> None:
    spec = PreprocessSpec((64, 64), 72, None, "bicubic", "BGR", 0.5)
    assert spec.with_image_size(32, 32) == replace(spec, image_size=(32, 32), resize_shortest=36)
    with pytest.raises(UsageError, match=r"image_size = \(0, 32\)"):
        spec.with_image_size(0, 32)
