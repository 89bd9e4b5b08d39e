"""Classify pictures with MediaPipe Tasks: python in_mediapipe.py PIXELS.npy JOBS.json prints what it says, as JSON.

A process of its own, because MediaPipe reports its use to Google: tests/test_metadata.py starts it without a network.
PIXELS is uint8 [N, H, W, 3]; JOBS is a list of {"model": file, "mode": "IMAGE" or "VIDEO", "locale": "de" or ""}.
"""

import json
import sys
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions, RunningMode


def classify(pixels: np.ndarray, model: str, mode: str, locale: str) -> list[list[dict[str, object]]]:
    chosen = {"display_names_locale": locale} if locale else {}
    base, running = BaseOptions(model_asset_path=model), RunningMode[mode]
    options = ImageClassifierOptions(base_options=base, running_mode=running, max_results=5, **chosen)
    answers = []
    with ImageClassifier.create_from_options(options) as classifier:
        for number, picture in enumerate(pixels):
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)
            at = [] if mode == "IMAGE" else [33 * number]  # milliseconds
            result = (classifier.classify if mode == "IMAGE" else classifier.classify_for_video)(image, *at)
            answers.append([vars(category) for category in result.classifications[0].categories])
    return answers


if __name__ == "__main__":
    pixels = np.load(sys.argv[1])
    print(json.dumps([classify(pixels, **job) for job in json.loads(Path(sys.argv[2]).read_text())]))
