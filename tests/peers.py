"""Ours beside what a user would otherwise export, in one interleaved run: make peers, or python tests/peers.py --help.

Every peer starts from the same network with random weights (latency does not depend on them) and takes the same pixels
in the form that its tool gives it. A peer that a tool cannot make is a row that says why.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from oracles import timm_mobilevit  # beside this file

from mvit2.runtime.anymodel import open_any, random_inputs
from mvit2.runtime.latency import interleaved, paired_ratio

EDGE = 256
LIMIT_MINUTES = 5  # for one export of one tool
Maker = Callable[[str, Path], Path]


def transformers_model(width: str) -> torch.nn.Module:
    from transformers import MobileViTV2Config, MobileViTV2ForImageClassification

    config = MobileViTV2Config(width_multiplier=float(width), image_size=EDGE, num_labels=1000)
    return MobileViTV2ForImageClassification(config).eval()


class Logits(torch.nn.Module):
    """transformers' answer as a tensor."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values).logits


def example() -> torch.Tensor:
    return torch.rand(1, 3, EDGE, EDGE)


def transformers_onnx(width: str, folder: Path) -> Path:
    file = folder / "transformers.onnx"
    torch.onnx.export(Logits(transformers_model(width)), (example(),), str(file), dynamo=True, external_data=False)
    return file


def timm_onnx(width: str, folder: Path) -> Path:
    mobilevit = timm_mobilevit()
    from timm.layers import set_exportable

    file, name = folder / "timm.onnx", f"mobilevitv2_{round(100 * float(width)):03}"
    with set_exportable(True):
        model = vars(mobilevit)[name](pretrained=False).eval()
    torch.onnx.export(model, (example(),), str(file), dynamo=False, opset_version=18)
    return file


def onnxruntime_int8(width: str, folder: Path) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = 4

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return {"pixel_values": example().numpy()} if self.left >= 0 else None

    file = folder / "onnxruntime_int8.onnx"
    quantize_static(folder / "transformers.onnx", file, Noise(), quant_format=QuantFormat.QDQ, per_channel=True)
    return file


def onnx2tf_tflite(source: str, width: str, folder: Path) -> Path:
    """onnx2tf downloads pictures for a check of its own unless a file of this name and shape is there."""
    import onnx2tf

    out = folder / f"{source}_onnx2tf"
    np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", np.zeros((20, 128, 128, 3), np.float32))
    with chdir(folder):
        onnx2tf.convert(str(folder / f"{source}.onnx"), output_folder_path=str(out), non_verbose=True)
    return next(out.glob("*_float32.tflite"))


def litert_torch_tflite(width: str, folder: Path) -> Path:
    import litert_torch

    file = folder / "litert_torch.tflite"
    litert_torch.convert(Logits(transformers_model(width)), (example(),)).export(str(file))
    return file


MAKERS: dict[str, Maker] = {  # in this order: some start from the file of another
    "transformers, dynamo -> ONNX Runtime": transformers_onnx,
    "timm, legacy exporter -> ONNX Runtime": timm_onnx,
    "transformers, ONNX Runtime's own int8": onnxruntime_int8,
    "transformers -> onnx2tf -> LiteRT": partial(onnx2tf_tflite, "transformers"),
    "timm -> onnx2tf -> LiteRT": partial(onnx2tf_tflite, "timm"),
    "transformers -> litert-torch -> LiteRT": litert_torch_tflite,
}
OURS = ("model_float32.onnx", "model_float32.tflite", "model_int8.onnx", "model_int8.tflite")


def ours(width: str, folder: Path) -> Path:
    options = ("--weights", "untrained", "--image-size", str(EDGE), "--quantize", "int8", "--learning-steps", "0")
    command = [sys.executable, "-m", "mvit2", "export", "--variant", width, *options, "--force", "--quiet"]
    subprocess.run([*command, "--output", str(folder)], check=True, stderr=subprocess.DEVNULL)
    return next(folder.glob("mobilevitv2-*"))


def made(width: str, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of ours and of the peers, and why those that are missing could not be made."""
    bundle = ours(width, folder)
    files, failed = {f"mvit2 {name}": bundle / name for name in OURS}, {}
    for name in MAKERS:
        result = made_apart(name, width, folder)
        if isinstance(result, Path):
            files[name] = result
        else:
            failed[name] = result
    return files, failed


def made_apart(name: str, width: str, folder: Path) -> Path | str:
    """In a process of its own, for some tools talk much and some do not end: the file, or why there is none."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=make_one, args=(name, width, folder, theirs))
    process.start()
    theirs.close()
    try:
        ready = ours.poll(60 * LIMIT_MINUTES)
        return ours.recv() if ready else f"its tool did not end in {LIMIT_MINUTES} minutes"
    except EOFError:
        return "its tool's process died"
    finally:
        process.kill()
        process.join()


def make_one(name: str, width: str, folder: Path, answer: Connection) -> None:
    log = os.open(folder / "peers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        answer.send(MAKERS[name](width, folder))
    except (Exception, SystemExit) as error:  # onnx2tf exits; whatever a tool raises is what its user would see
        answer.send(" ".join(f"{type(error).__name__}: {error}".split())[:160])


def measured(width: str, files: dict[str, Path], threads: int, runs: int) -> dict[str, np.ndarray]:
    torch.set_num_threads(threads)
    work: dict[str, Callable[[], object]] = {}
    for name, file in files.items():
        model = open_any(file, threads)
        work[name] = partial(model.run, random_inputs(model))
    eager, pixels = transformers_model(width), example()

    def run_eager() -> None:
        with torch.inference_mode():
            eager(pixels)

    return interleaved({**work, "transformers, torch eager": run_eager}, runs=runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", nargs="+", default=["0.5", "1.0"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' tools have many
    for width in options.widths:
        with tempfile.TemporaryDirectory(prefix="mvit2-peers-") as scratch:
            files, failed = made(width, Path(scratch))
            for threads in options.threads:
                seconds = measured(width, files, threads, options.runs)
                reference = seconds["mvit2 model_float32.tflite"]
                print(f"\nwidth {width}, {EDGE} px, {threads} thread(s); time / mvit2 model_float32.tflite")
                for name, values in sorted(seconds.items(), key=lambda item: float(np.median(item[1]))):
                    print(f"{name:42} {paired_ratio(values, reference):5.2f} {1000 * np.median(values):8.2f} ms")
            for name, reason in failed.items():
                print(f"{name:42} cannot be made: {reason}")


if __name__ == "__main__":
    main()
