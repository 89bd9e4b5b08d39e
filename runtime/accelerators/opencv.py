"""OpenCV's dnn, which many desktop and robotics programs have: it opens the ONNX file and answers, on this CPU."""

from __future__ import annotations

import time

import numpy as np

from mvit2.bundle.manifest import Artifact

from .accelerator import Job, Run, one_line, stack

__all__ = ["missing", "run", "takes"]


def takes(artifact: Artifact) -> str | None:
    if not artifact.file.path.endswith(".onnx"):
        return "OpenCV opens .onnx files"
    return None if artifact.precision == "float32" else "OpenCV is given the float32 file"


def missing() -> str | None:
    from importlib.util import find_spec

    return None if find_spec("cv2") else "opencv-python is not installed; install it with: pip install 'mvit2[opencv]'"


def run(job: Job) -> Run:
    import cv2

    chip = "OpenCV's dnn on this CPU"
    start = time.perf_counter()
    try:
        network = cv2.dnn.readNetFromONNX(str(job.file))
        compiled = time.perf_counter() - start
        answers, taken = [], []
        for image in job.inputs:
            start = time.perf_counter()
            network.setInput(image[None])
            answers.append(np.array(network.forward()))
            taken.append(time.perf_counter() - start)
    except cv2.error as error:
        return Run(chip, "float32", failure=f"OpenCV does not run the file: {one_line(error)}")
    return Run(
        chip,
        "float32",
        operators=job.operators,
        placed=job.operators,
        outputs=stack(answers),
        compile_seconds=compiled,
        inference_seconds=min(taken),
    )
