"""Run our files with MediaPipe Tasks, in a process without a network (conftest.py, the fixture ``mediapipe``).

``in_mediapipe.py classify PIXELS.npy JOBS.json`` prints what it says, as JSON; JOBS is a list of {"model": file,
"mode": "IMAGE" or "VIDEO", "locale": "de" or ""}. ``in_mediapipe.py segment PIXELS.npy MODEL MASKS.npz`` writes
"confidences", float32 [N, H, W, classes], and "categories", uint8 [N, H, W]. PIXELS is uint8 [N, H, W, 3].
"""

import json
import sys
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import (
    ImageClassifier,
    ImageClassifierOptions,
    ImageSegmenter,
    ImageSegmenterOptions,
    RunningMode,
)


def as_image(picture: np.ndarray) -> mp.Image:
    return mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)


def classify(pixels: np.ndarray, model: str, mode: str, locale: str) -> list[list[dict[str, object]]]:
    chosen = {"display_names_locale": locale} if locale else {}
    base, running = BaseOptions(model_asset_path=model), RunningMode[mode]
    options = ImageClassifierOptions(base_options=base, running_mode=running, max_results=5, **chosen)
    answers = []
    with ImageClassifier.create_from_options(options) as classifier:
        for number, picture in enumerate(pixels):
            at = [] if mode == "IMAGE" else [33 * number]  # milliseconds
            result = (classifier.classify if mode == "IMAGE" else classifier.classify_for_video)(as_image(picture), *at)
            answers.append([vars(category) for category in result.classifications[0].categories])
    return answers


def segment(pixels: np.ndarray, model: str) -> dict[str, np.ndarray]:
    base = BaseOptions(model_asset_path=model)
    options = ImageSegmenterOptions(base_options=base, output_confidence_masks=True, output_category_mask=True)
    with ImageSegmenter.create_from_options(options) as segmenter:
        results = [segmenter.segment(as_image(picture)) for picture in pixels]
        masks = [[np.atleast_3d(mask.numpy_view()) for mask in result.confidence_masks] for result in results]
        return {
            "confidences": np.stack([np.concatenate(of_picture, -1) for of_picture in masks]),
            "categories": np.stack([np.squeeze(result.category_mask.numpy_view()) for result in results]),
        }


if __name__ == "__main__":
    task, pixels = sys.argv[1], np.load(sys.argv[2])
    if task == "segment":
        np.savez(sys.argv[4], **segment(pixels, sys.argv[3]))
    else:
        print(json.dumps([classify(pixels, **job) for job in json.loads(Path(sys.argv[3]).read_text())]))
