"""Record preprocess.json from transformers' own image processor; the command is stored in it.

The pictures are synthetic arrays from seeded generators: what a JPEG decodes to depends on the decoder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL

COMMAND = "python tests/golden/record_preprocess.py"
TARGET = Path(__file__).with_name("preprocess.json")

SIZES = [  # (height, width)
    (300, 451),
    (451, 300),
    (512, 512),
    (257, 255),
    (333, 1000),
    (144, 144),
    (100, 140),
    (61, 67),
    (1, 1),
    (1, 50),
    (90, 1),
    (2, 3),
    (1200, 801),
]


def spec(shortest: int, height: int, width: int, resample: int, flip: bool) -> dict[str, Any]:
    return {
        "do_resize": True,
        "size": {"shortest_edge": shortest},
        "resample": resample,
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_flip_channel_order": flip,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "hub": spec(288, 256, 256, 2, True),
    "trained": spec(288, 256, 256, 3, False),
    "small": spec(144, 128, 128, 2, True),
    "small-bicubic": spec(144, 128, 128, 3, True),
    "no-margin": spec(128, 128, 128, 3, False),
    "padding": spec(96, 128, 128, 2, False),
    "odd": spec(145, 128, 127, 3, False),
    "rectangle": spec(160, 96, 192, 2, True),
    "no-resize": {**spec(1, 128, 128, 2, True), "do_resize": False},
    "exact": {**spec(1, 128, 128, 3, False), "size": {"height": 140, "width": 150}},
    "exact-no-crop": {**spec(1, 1, 1, 2, True), "size": {"height": 64, "width": 96}, "do_center_crop": False},
}


def picture(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth colour with noise on top, ``[height, width, 3]``; the seed is the size."""
    noise = np.random.default_rng([height, width]).integers(0, 128, (height, width, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack([rows * 127 // height, columns * 127 // width, (rows + columns) % 128], axis=2)
    return (noise + ramp).astype(np.uint8)


def transformed(config: dict[str, Any], image: object, **switches: bool) -> np.ndarray[Any, Any]:
    """``[3, height, width]`` from transformers, for a PIL image or an array ``[height, width, 3]``."""
    # Not at the top: the pictures and configurations above are also read where transformers is not installed.
    from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

    processor = MobileViTImageProcessorPil(**config)
    # Said aloud, because from a picture of height 3 or 1 the processor guesses "channels first".
    pixels: np.ndarray[Any, Any] = processor(image, input_data_format="channels_last", **switches)["pixel_values"][0]
    return pixels


def transformed_pixels(config: dict[str, Any], image: object) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The same before rescaling and channel order: uint8 RGB ``[height, width, 3]``."""
    pixels = transformed(config, image, do_rescale=False, do_flip_channel_order=False)
    assert pixels.dtype == np.uint8
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def case(name: str, height: int, width: int) -> dict[str, Any]:
    pixels = transformed_pixels(CONFIGS[name], picture(height, width))
    return {
        "config": name,
        "picture": [height, width],
        "shape": list(pixels.shape),
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "centre": pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist(),
        "corner": pixels[0, 0].tolist(),
    }


def main() -> None:
    import transformers

    cases = [case(name, height, width) for name in CONFIGS for height, width in SIZES]
    seen = {"numpy": np.__version__, "pillow": PIL.__version__, "transformers": transformers.__version__}
    head = {"command": COMMAND, "versions": seen, "configs": CONFIGS}
    lines = ",\n".join(f"    {json.dumps(one)}" for one in cases)
    text = json.dumps(head, indent=2)[:-2] + f',\n  "cases": [\n{lines}\n  ]\n}}\n'
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
