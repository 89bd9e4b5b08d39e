"""Both engines behind one face: the same facts, the same scores, the same refusals."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mvit2.bundle.manifest import TensorFacts
from mvit2.errors import BundleError, UsageError
from mvit2.runtime.engines.litert import LiteRTBackend
from mvit2.runtime.engines.onnx_runtime import OnnxRuntimeBackend
from mvit2.runtime.engines.table import open_any, open_model

Array = np.ndarray[Any, Any]
FILES = {"model_float32.onnx": OnnxRuntimeBackend, "model_float32.tflite": LiteRTBackend}
SUFFIXES = (".onnx", ".tflite")


@pytest.fixture(scope="module")
def images(demo_bundle: Path) -> list[Array]:
    """The golden inputs, as a batch of one each."""
    files = sorted((demo_bundle / "golden").glob("*.rgb"))
    return [np.fromfile(file, np.uint8).reshape(1, 128, 128, 3) for file in files]


@pytest.fixture(scope="module", params=FILES)
def model(request: pytest.FixtureRequest, demo_bundle: Path) -> Path:
    return demo_bundle / str(request.param)


# ---- scores ----


def test_both_engines_agree_whatever_the_threads(demo_bundle: Path, images: list[Array]) -> None:
    """An error of 1e-4 of each probability is what the bundle promises of either engine, so twice that between them."""
    opened = [open_model(demo_bundle / file, threads) for file in FILES for threads in (None, 1, 2)]
    assert len(images) == 8
    for image in images:
        first, *others = [backend.run(image) for backend in opened]
        assert first.sum() == pytest.approx(1, abs=1e-5)
        for scores in others:
            np.testing.assert_allclose(scores, first, rtol=2e-4, atol=0)


def test_float16_weights_stay_close(demo_bundle: Path, images: list[Array]) -> None:
    whole, half = (open_model(demo_bundle / f"model_{precision}.tflite") for precision in ("float32", "float16"))
    for image in images:
        np.testing.assert_allclose(half.run(image), whole.run(image), rtol=2e-2, atol=0)
    assert any(np.any(half.run(image) != whole.run(image)) for image in images), "is it float16 at all?"


def test_facts(model: Path) -> None:
    backend = open_model(model)
    assert type(backend) is FILES[model.name]
    assert backend.engine == ("onnxruntime" if model.suffix == ".onnx" else "litert")
    scale = (float(np.float32(1 / 255)), 0) if model.suffix == ".tflite" else (None, None)
    assert backend.input == TensorFacts("image", "uint8", (1, 128, 128, 3), *scale)
    assert backend.output == TensorFacts("scores", "float32", (1, 20))
    assert {type(edge) for edge in backend.input.shape} == {int}


def test_facts_of_an_open_batch(tmp_path: Path) -> None:
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value("x", kind, ["batch", 3])], [value("y", kind, ["batch", 3])])
    onnx.save(_model(graph), tmp_path / "m.onnx")
    backend = open_model(tmp_path / "m.onnx")
    assert (backend.input.shape, backend.output.shape) == ((None, 3), (None, 3))
    assert backend.run(np.full((5, 3), -1, np.float32)).tolist() == [[0.0] * 3] * 5


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


def test_a_later_run_leaves_earlier_results_alone(model: Path, images: list[Array]) -> None:
    backend = open_model(model)
    first = backend.run(images[0])
    kept = first.copy()
    second = backend.run(images[1])
    assert np.array_equal(first, kept) and not np.array_equal(first, second)
    assert not np.shares_memory(first, second)
    first[:] = -1  # the caller's to change
    assert np.array_equal(backend.run(images[0]), kept)


def test_a_run_leaves_its_input_alone_and_takes_any_layout(model: Path, images: list[Array]) -> None:
    backend, image = open_model(model), images[0].copy()
    expected = backend.run(image)
    assert np.array_equal(image, images[0])
    mirrored = np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1]  # equal, but not contiguous
    image.flags.writeable = False
    assert np.array_equal(backend.run(mirrored), expected)
    assert np.array_equal(backend.run(image), expected)


def test_two_models_at_once(demo_bundle: Path, images: list[Array]) -> None:
    """Each keeps its own state, also two of the same file."""
    opened = [open_model(demo_bundle / file) for file in (*FILES, *FILES)]
    alone = [backend.run(image) for backend, image in zip(opened, images, strict=False)]
    again = [backend.run(image) for backend, image in reversed(list(zip(opened, images, strict=False)))]
    assert all(np.array_equal(a, b) for a, b in zip(alone, reversed(again), strict=True))


def test_python_threads_may_share_a_model(model: Path, images: list[Array]) -> None:
    """Unguarded, LiteRT's interpreter gives one thread the answer to another's picture, or raises."""
    backend = open_model(model, 1)
    expected = [backend.run(image) for image in images]
    jobs = list(range(len(images))) * 25
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: backend.run(images[i]), jobs))
    assert all(np.array_equal(expected[i], scores) for i, scores in zip(jobs, found, strict=True))


# ---- refusals ----


def _refusal(model: Path, threads: int | None = None, kind: type[Exception] = BundleError) -> str:
    with pytest.raises(kind) as caught:
        open_model(model, threads)
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 600
    return text


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\0", b"garbage", bytes(10_000), random.Random(0).randbytes(10_000)])
def test_garbage_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    model = tmp_path / f"model{suffix}"
    model.write_bytes(content)
    assert f"{model}: " in _refusal(model) and "cannot open it (" in _refusal(model)


def test_a_truncated_model_is_refused(model: Path, tmp_path: Path) -> None:
    content = model.read_bytes()
    end = content.rfind(b"PK\x03\x04")  # of the model: behind it lie labels as a zip, which no engine reads
    whole = end if end > 0 else len(content)
    for size in (8, 1000, whole // 2, whole - 20):
        (tmp_path / model.name).write_bytes(content[:size])
        assert "cannot open it" in _refusal(tmp_path / model.name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_model_of_the_other_engine_is_refused(suffix: str, demo_bundle: Path, tmp_path: Path) -> None:
    other = next(s for s in SUFFIXES if s != suffix)
    (tmp_path / f"m{suffix}").write_bytes((demo_bundle / f"model_float32{other}").read_bytes())
    assert "cannot open it" in _refusal(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_model_or_a_folder_is_refused(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("absent", "folder"):
        assert "cannot open it" in _refusal(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("inputs", [["x"], ["x", "x2"]])
@pytest.mark.parametrize("outputs", [["y"], ["y", "y2"]])
def test_one_input_and_one_output(inputs: list[str], outputs: list[str], tmp_path: Path) -> None:
    def values(names: list[str]) -> list[onnx.ValueInfoProto]:
        return [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in names]

    nodes = [onnx.helper.make_node("Sum", inputs, [name]) for name in outputs]
    onnx.save(_model(onnx.helper.make_graph(nodes, "g", values(inputs), values(outputs))), tmp_path / "m.onnx")
    any_model = open_any(tmp_path / "m.onnx")
    assert [facts.name for facts in any_model.inputs] == inputs
    assert [facts.name for facts in any_model.outputs] == outputs
    sums = any_model.run_all([np.array([2.0**i], np.float32) for i in range(len(inputs))])
    assert [array.tolist() for array in sums] == [[2.0 ** len(inputs) - 1]] * len(outputs)
    if len(inputs) == len(outputs) == 1:
        assert open_model(tmp_path / "m.onnx").run(np.ones(1, np.float32)) == [1]
    else:
        counts = f"has {len(inputs)} input(s) and {len(outputs)} output(s), accepted is one of each"
        assert counts in _refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["model.pt", "model", "model.ONNX", "model.tflite.zip", ".onnx"])
def test_an_unknown_suffix_is_refused(name: str, tmp_path: Path) -> None:
    assert "unknown kind of model file, accepted: .onnx, .ort, .tflite" in _refusal(tmp_path / name, kind=UsageError)


@pytest.mark.parametrize("threads", [0, -1, 129, 2**31, 10**20])
def test_impossible_threads_are_refused(threads: int, model: Path) -> None:
    assert _refusal(model, threads, UsageError) == f"threads is {threads}, accepted: 1 to 128."


# ---- what only a process of its own can show ----

_OPEN = """
import sys
from pathlib import Path
{before}
from mvit2.errors import MissingEngineError
from mvit2.runtime.engines.table import open_model
try:
    backend = open_model(Path(sys.argv[1]))
    print(backend.engine)
except MissingEngineError as error:
    print(error, error.library, error.extra, sep="|")
"""


def _open(model: Path, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _OPEN.format(before=before), str(model)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options)


@pytest.mark.parametrize(
    ("file", "module", "library", "extra"),
    [
        ("model_float32.onnx", "onnxruntime", "onnxruntime", "ort"),
        ("model_float32.tflite", "ai_edge_litert", "ai-edge-litert", "litert"),
    ],
)
def test_a_missing_engine(file: str, module: str, library: str, extra: str, demo_bundle: Path) -> None:
    said = _open(demo_bundle / file, f"sys.modules[{module!r}] = None").stdout.strip()
    message = f"{library} is not installed; install it with: pip install 'mvit2[{extra}]'"
    assert said == f"{message}|{library}|{extra}"
    other = next(f for f in FILES if f != file)
    assert _open(demo_bundle / other, f"sys.modules[{module!r}] = None").stdout.strip() == FILES[other].engine


def test_engines_say_nothing(model: Path) -> None:
    """LiteRT greets on stderr, past Python, when XNNPACK is first used; what follows is still heard."""
    process = _open(model, "import atexit, os; atexit.register(os.write, 2, b'heard')", stderr=subprocess.PIPE)
    assert process.stderr == "heard"


def test_engines_say_nothing_after_a_file_that_cannot_be_opened(model: Path, tmp_path: Path) -> None:
    """Opening that one ends before XNNPACK is reached, and with it the greeting that is hidden once."""
    (tmp_path / "broken.tflite").write_bytes(b"no model" * 100)
    before = f"""
from contextlib import suppress
from mvit2.errors import BundleError
from mvit2.runtime.engines.table import open_model
with suppress(BundleError):
    open_model(Path({str(tmp_path / "broken.tflite")!r}))
"""
    process = _open(model, before, stderr=subprocess.PIPE)
    assert (process.stdout.strip(), process.stderr) == (FILES[model.name].engine, "")


def test_a_program_without_stderr(model: Path) -> None:
    assert _open(model, "import os; os.close(2)").stdout.strip() == FILES[model.name].engine


def _out_of_range(file: Path) -> Path:
    """An ONNX model that opens, and then gathers a row that its table does not have."""
    given = onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [1])
    found = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])
    table = onnx.numpy_helper.from_array(np.zeros((5, 2), np.float32), "table")
    gather = onnx.helper.make_node("Gather", ["table", "i"], ["y"])
    onnx.save(_model(onnx.helper.make_graph([gather], "g", [given], [found], [table])), file)
    return file


def test_a_model_that_fails_while_it_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = open_any(_out_of_range(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(model.run(np.array([4], np.int64)), [[0, 0]])
    with pytest.raises(BundleError, match=r"m\.onnx does not run \(ONNX Runtime: .*out of .*; check or"):
        model.run(np.array([10**6], np.int64))
    assert capfd.readouterr() == ("", "")  # the engine has no line of its own


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_pixels_that_a_model_does_not_take(suffix: str, demo_bundle: Path) -> None:
    model = open_any(demo_bundle / f"model_float32{suffix}", 1)
    with pytest.raises(BundleError, match=rf"model_float32\{suffix} does not run \("):
        model.run(np.zeros((1, 7, 7, 3), np.float64))
