"""Ours beside what a user would otherwise export, in one interleaved run: make peers, or python -m tests.peers --help.

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
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from mvit2.network.architectures import family_of, find_variant
from mvit2.runtime.engines.random_inputs import random_inputs
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.timing import interleaved, paired_ratio

from .support.oracles import timm_mobilevit

PHOTOS = Path(__file__).parents[1] / "mvit2" / "photos"
LIMIT_MINUTES = 5  # for one export of one tool


@dataclass(frozen=True)
class Subject:
    """The network that everybody exports; segmentation as published for PASCAL VOC: output stride 16."""

    variant: str
    task: str
    edge: int  # of its images, in pixels

    def model(self) -> torch.nn.Module:
        """transformers'."""
        import transformers

        family, config = theirs(self.variant)
        config.image_size = self.edge
        if self.task == "segment":
            config.num_labels, config.output_stride = 21, 16
            return getattr(transformers, f"{family}ForSemanticSegmentation")(config).eval()
        config.num_labels = 1000
        return getattr(transformers, f"{family}ForImageClassification")(config).eval()

    def example(self) -> torch.Tensor:
        return torch.rand(1, 3, self.edge, self.edge)


def theirs(variant: str) -> tuple[str, object]:
    """How transformers' classes of a variant's family begin, and its configuration there."""
    import transformers

    if family_of(variant).name == "mobilevitv2":
        return "MobileViTV2", transformers.MobileViTV2Config(width_multiplier=float(variant))
    ours = family_of(variant).configure(find_variant(variant))
    fields = ("hidden_sizes", "neck_hidden_sizes", "expand_ratio")
    return "MobileViT", transformers.MobileViTConfig(**{name: getattr(ours, name) for name in fields})


Maker = Callable[[Subject, Path], Path]


class Logits(torch.nn.Module):
    """transformers' answer as a tensor."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values).logits


def transformers_onnx(subject: Subject, folder: Path) -> Path:
    file = folder / "transformers.onnx"
    torch.onnx.export(Logits(subject.model()), (subject.example(),), str(file), dynamo=True, external_data=False)
    return file


def timm_onnx(subject: Subject, folder: Path) -> Path:
    if subject.task != "classify":
        raise ValueError("timm has classifiers only")
    mobilevit = timm_mobilevit()
    from timm.layers import set_exportable

    file, name = folder / "timm.onnx", timm_name(subject.variant)
    with set_exportable(True):
        model = vars(mobilevit)[name](pretrained=False).eval()
    torch.onnx.export(model, (subject.example(),), str(file), dynamo=False, opset_version=18)
    return file


def timm_name(variant: str) -> str:
    if family_of(variant).name == "mobilevitv2":
        return f"mobilevitv2_{round(100 * float(variant)):03}"
    return "mobilevit_" + {"xx-small": "xxs", "x-small": "xs", "small": "s"}[variant]


def onnxruntime_int8(subject: Subject, folder: Path) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = 4

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return {"pixel_values": subject.example().numpy()} if self.left >= 0 else None

    file = folder / "onnxruntime_int8.onnx"
    quantize_static(folder / "transformers.onnx", file, Noise(), quant_format=QuantFormat.QDQ, per_channel=True)
    return file


def onnx2tf_tflite(source: str, kind: str, subject: Subject, folder: Path) -> Path:
    """``kind`` is the end of the file that is wanted.

    onnx2tf downloads pictures for a check of its own unless a file of this name and shape is there.
    """
    import onnx2tf

    out, wants_int8 = folder / f"{source}_{kind}_onnx2tf", "quant" in kind
    noise = folder / "noise.npy"
    np.save(noise, np.random.default_rng(0).random((4, subject.edge, subject.edge, 3), np.float32))
    calibration = [["pixel_values", str(noise), [[[[0.0] * 3]]], [[[[1.0] * 3]]]]] if wants_int8 else None
    np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", np.zeros((20, 128, 128, 3), np.float32))
    with chdir(folder):
        onnx2tf.convert(
            str(folder / f"{source}.onnx"),
            output_folder_path=str(out),
            non_verbose=True,
            output_integer_quantized_tflite=wants_int8,
            custom_input_op_name_np_data_path=calibration,
        )
    return next(out.glob(f"*_{kind}.tflite"))


def litert_torch_tflite(subject: Subject, folder: Path) -> Path:
    import litert_torch

    file = folder / "litert_torch.tflite"
    litert_torch.convert(Logits(subject.model()), (subject.example(),)).export(str(file))
    return file


MAKERS: dict[str, Maker] = {  # in this order: some start from the file of another
    "transformers, dynamo -> ONNX Runtime": transformers_onnx,
    "timm, legacy exporter -> ONNX Runtime": timm_onnx,
    "transformers, ONNX Runtime's own int8": onnxruntime_int8,
    "transformers -> onnx2tf -> LiteRT": partial(onnx2tf_tflite, "transformers", "float32"),
    "transformers -> onnx2tf's int8 -> LiteRT": partial(onnx2tf_tflite, "transformers", "integer_quant"),
    "timm -> onnx2tf -> LiteRT": partial(onnx2tf_tflite, "timm", "float32"),
    "transformers -> litert-torch -> LiteRT": litert_torch_tflite,
}
OURS = ("model_float32.onnx", "model_float32.tflite", "model_int8.onnx", "model_int8.tflite")


def ours(subject: Subject, folder: Path) -> Path:
    """The bundle in ``folder``; five photographs are enough for ranges that no latency depends on."""
    what = ("--variant", subject.variant, "--weights", "untrained", "--task", subject.task)
    int8 = ("--quantize", "int8", "--learning-steps", "0", "--calibration", str(PHOTOS), "--calibration-samples", "5")
    how = ("--image-size", str(subject.edge), "--force", "--no-report", "--quiet", "--output", str(folder))
    command = [sys.executable, "-m", "mvit2", "export", *what, *int8, *how]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return next(folder.glob("mobilevit*-*"))


def made(subject: Subject, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of ours and of the peers, and why those that are missing could not be made."""
    bundle = ours(subject, folder)
    files, failed = {f"mvit2 {name}": bundle / name for name in OURS}, {}
    for name in MAKERS:
        result = made_apart(name, subject, folder)
        if isinstance(result, Path):
            files[name] = result
        else:
            failed[name] = result
    return files, failed


def made_apart(name: str, subject: Subject, folder: Path) -> Path | str:
    """In a process of its own, for some tools talk much and some do not end: the file, or why there is none."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=make_one, args=(name, subject, folder, theirs))
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


def make_one(name: str, subject: Subject, folder: Path, answer: Connection) -> None:
    log = os.open(folder / "peers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        answer.send(MAKERS[name](subject, folder))
    except (Exception, SystemExit) as error:  # onnx2tf exits; whatever a tool raises is what its user would see
        answer.send(" ".join(f"{type(error).__name__}: {error}".split())[:160])


def measured(subject: Subject, files: dict[str, Path], threads: int, runs: int) -> dict[str, np.ndarray]:
    torch.set_num_threads(threads)
    work: dict[str, Callable[[], object]] = {}
    for name, file in files.items():
        model = open_any(file, threads)
        work[name] = partial(model.run_all, random_inputs(model))
    eager, pixels = subject.model(), subject.example()

    def run_eager() -> None:
        with torch.inference_mode():
            eager(pixels)

    return interleaved({**work, "transformers, torch eager": run_eager}, runs=runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=("classify", "segment"), default="classify")
    parser.add_argument("--variants", "--widths", nargs="+", default=["0.5", "1.0"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' tools have many
    edge = {"classify": 256, "segment": 512}[options.task]
    for subject in (Subject(find_variant(name).name, options.task, edge) for name in options.variants):
        with tempfile.TemporaryDirectory(prefix="mvit2-peers-") as scratch:
            files, failed = made(subject, Path(scratch))
            for threads in options.threads:
                seconds = measured(subject, files, threads, options.runs)
                reference = seconds["mvit2 model_float32.tflite"]
                what = f"{subject.task}, {subject.variant}, {subject.edge} px"
                print(f"\n{what}, {threads} thread(s); time / mvit2 model_float32.tflite")
                for name, values in sorted(seconds.items(), key=lambda item: float(np.median(item[1]))):
                    print(f"{name:42} {paired_ratio(values, reference):5.2f} {1000 * np.median(values):8.2f} ms")
            for name, reason in failed.items():
                print(f"{name:42} cannot be made: {reason}")


if __name__ == "__main__":
    main()
