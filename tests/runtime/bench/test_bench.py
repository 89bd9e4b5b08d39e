"""``mvit2 bench``: which models, compared with which, what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mvit2.bundle.manifest import read_manifest
from mvit2.errors import BundleError
from mvit2.image.preprocess import preprocess
from mvit2.runtime import open_bundle
from mvit2.runtime.bench.models import PHOTO, Subject, find_subjects, prepare
from mvit2.runtime.engines.random_inputs import random_inputs
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.machine import usable_cores

Run = Callable[..., CompletedProcess[str]]
FLOATS = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]
SHORT = ("--runs", "3", "--warmup", "1")


def identity(file: Path, **inputs: tuple[int, list[int | str]]) -> Path:
    """An ONNX file that hands its inputs through: name -> (type, shape)."""
    ins = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    outs = [helper.make_tensor_value_info(f"{name}_out", kind, shape) for name, (kind, shape) in inputs.items()]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    model = helper.make_model(helper.make_graph(nodes, "g", ins, outs), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, file)
    return file


# ---- any model ----


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT, "float32"),
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.UINT8, "uint8"),
        (TensorProto.INT8, "int8"),
        (TensorProto.INT32, "int32"),
        (TensorProto.INT64, "int64"),
        (TensorProto.BOOL, "bool"),
    ],
)
def test_a_model_is_given_what_it_takes(kind: int, dtype: str, tmp_path: Path) -> None:
    model = open_any(identity(tmp_path / "m.onnx", a=(kind, ["batch", 64]), b=(TensorProto.FLOAT, [3])), threads=1)
    inputs = random_inputs(model)
    assert [(array.dtype.name, array.shape) for array in inputs] == [(dtype, (1, 64)), ("float32", (3,))]
    assert model.open_inputs == ("a",)
    assert len(np.unique(inputs[0])) > 1  # a model might be fast on zeros
    for given, returned in zip(inputs, model.run_all(inputs), strict=True):
        np.testing.assert_array_equal(given, returned)


def test_words_are_no_input(tmp_path: Path) -> None:
    file = identity(tmp_path / "words.onnx", a=(TensorProto.STRING, [1]))
    with pytest.raises(BundleError, match=r"words\.onnx: input 'a' is string, accepted: floats, integers, booleans"):
        prepare(Subject("words.onnx", file), open_any(file, 1))


@pytest.mark.parametrize("artifact", FLOATS)
def test_what_is_timed_is_what_the_bundle_answers(artifact: str, demo_bundle: Path) -> None:
    """The subject's steps, one by one, give the classifier's labels and scores."""
    (subject,) = find_subjects([demo_bundle], artifacts=[artifact])
    assert subject.pipeline is not None
    model = open_any(subject.file, 1)
    answer = subject.pipeline.after(model.run_all(subject.pipeline.before()))
    assert answer == open_bundle(demo_bundle, artifact, threads=1).predict(PHOTO)
    manifest = read_manifest(demo_bundle)
    np.testing.assert_array_equal(prepare(subject, model)[0][0], preprocess(PHOTO, manifest.preprocess))


# ---- which models, and compared with which ----


def test_names_and_references(int8_bundle: Path, demo_bundle: Path, tmp_path: Path) -> None:
    peer = Path(shutil.copy(demo_bundle / "model_float32.tflite", tmp_path / "peer.tflite"))
    found = {s.name: s.reference for s in find_subjects([demo_bundle], [peer, peer])}
    assert found == {
        "model_float32.onnx": "model_float32.onnx",
        "model_float32.tflite": "model_float32.tflite",
        "model_float16.tflite": "model_float32.tflite",
        "peer.tflite": "model_float32.tflite",
        "peer.tflite (2)": "model_float32.tflite",
    }
    int8 = {s.name: s.reference for s in find_subjects([int8_bundle], artifacts=["model_int8.tflite"])}
    assert int8 == {"model_int8.tflite": None}
    stranger = find_subjects([demo_bundle], [peer], ["model_float32.onnx"])[-1]
    assert stranger.reference == "model_float32.onnx"  # for want of LiteRT's


def test_two_bundles_are_told_apart(demo_bundle: Path, tmp_path: Path) -> None:
    """Also where they are equal: each artifact has its own bundle's reference."""
    first, second = (Path(shutil.copytree(demo_bundle, tmp_path / name)) for name in ("first", "second"))
    found = {s.name: s.reference for s in find_subjects([first, second], artifacts=FLOATS[1:])}
    assert found == {
        f"{bundle}/{file}": f"{bundle}/model_float32.tflite" for bundle in ("first", "second") for file in FLOATS[1:]
    }


# ---- the command ----


def written(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def measured(demo_bundle: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What --json prints for the bundle and a stranger with two inputs, one of them open, with 1 and 2 threads."""
    folder = tmp_path_factory.mktemp("bench")
    shapes: list[list[int | str]] = [["n", 3], [2]]
    peer = identity(folder / "peer.onnx", a=(TensorProto.FLOAT, shapes[0]), b=(TensorProto.INT64, shapes[1]))
    done = run("bench", demo_bundle, "--against", peer, "--threads", "1,2", "--duration", "0.01", "--json")
    assert done.returncode == 0, done.stderr
    assert "WARNING  peer.onnx: open dimensions of a became 1." in done.stderr
    return written(folder / "bench.json", done.stdout)


@pytest.mark.timing
def test_json_holds_everything(measured: Path) -> None:
    content = json.loads(measured.read_text())
    assert set(content) == {"machine", "bounds", "trials", "changes", "warnings"}
    assert content["machine"]["cores"] == usable_cores()
    assert set(content["machine"]["versions"]) == {"python", "mvit2", "onnxruntime", "litert", "numpy"}
    assert [trial["threads"] for trial in content["trials"]] == [1, 2]
    for trial in content["trials"]:
        assert [m["model"] for m in trial["results"]] == [*FLOATS, "peer.onnx"]
        assert [m["reference"] for m in trial["results"]] == [FLOATS[0], FLOATS[1], FLOATS[1], FLOATS[0]]
        assert 1 <= trial["tries"] <= 3
        for m in trial["results"]:
            times = m["inference"]
            assert m["turns"] == 12  # two each time that the models are opened: --duration was over before
            assert 0 < times["min"] <= times["median"] <= times["p90"] <= times["p99"]
            assert m["images_per_second"] == pytest.approx(1e3 / times["median"])
            assert (m["ratio"] == 1) if m["reference"] == m["model"] else (m["ratio"] > 0)
            ours = m["model"] in FLOATS
            assert all((m[step] is not None) == ours for step in ("preprocessing", "postprocessing", "end_to_end"))
            assert not ours or m["end_to_end"]["min"] > m["preprocessing"]["min"] > 0
            assert m["alone"]["load_ms"] > 0


def edited(measured: Path, file: Path, factor: float, **changed: Any) -> Path:
    """As if everything had taken ``factor`` of its time, and of its ratio."""
    content = json.loads(measured.read_text())
    for trial in content["trials"]:
        for m in trial["results"]:
            m["inference"]["median"] *= factor
            m["ratio"] *= factor
            m.update(changed)
    return written(file, json.dumps(content))


@pytest.mark.timing  # beside another worker all of its three tries are noisy
@pytest.mark.parametrize(
    ("factor", "options", "named"),
    [
        (1e4, [], None),
        (1e-4, [], ["model_float16.tflite", "ratio to float32"]),
        (1e-4, ["--max-regression", "1e12"], None),
        (1e-4, ["--absolute"], ["model_float32.tflite with 1 thread(s): median", "model_float16.tflite"]),
    ],
)
def test_a_baseline_decides(
    factor: float,
    options: list[str],
    named: list[str] | None,
    measured: Path,
    demo_bundle: Path,
    run: Run,
    tmp_path: Path,
) -> None:
    before = edited(measured, tmp_path / "before.json", factor)
    chosen = [word for file in FLOATS[1:] for word in ("--artifact", file)]
    done = run("bench", demo_bundle, *chosen, *SHORT, "--baseline", before, *options, "--json")
    content = json.loads(done.stdout)  # one object, whatever the end
    assert done.returncode == (0 if named is None else 1), done.stderr
    assert [change["model"] for change in content["changes"]] == FLOATS[1:]
    assert [m["model"] for m in content["trials"][0]["results"]] == FLOATS[1:]
    assert ("error" in content) == (named is not None)
    if named is not None:
        error = done.stderr.splitlines()[-1]
        assert error == f"error: {content['error']}" and [word for word in named if word not in error] == []


def test_tables_for_people(demo_bundle: Path, run: Run) -> None:
    done = run("bench", demo_bundle, *SHORT)
    assert done.returncode == 0
    first, second = done.stdout.split("a photograph end to end")
    columns = ("model", "threads", "min", "median", "p90", "p99", "std", "ratio", "images/s", "peak memory", "load")
    assert [column for column in columns if column not in first] == []
    assert [file for file in FLOATS for table in (first, second) if f"\n{file} " not in table] == []
    assert "preprocessing" in second and "postprocessing" in second
    assert done.stdout.splitlines()[-1].startswith(f"next: mvit2 bench {demo_bundle} --json > before.json")


@pytest.mark.parametrize(("artifact", "operator"), [("model_float32.onnx", "Gemm"), ("model_float16.tflite", "-")])
def test_the_profile_for_people(artifact: str, operator: str, demo_bundle: Path, run: Run) -> None:
    done = run("bench", demo_bundle, "--runs", "2", "--profile", artifact)
    assert done.returncode == 0, done.stderr
    (row,) = [
        line.split() for line in done.stdout.splitlines() if line.startswith("encoder.layer.3.transformer.layer.3")
    ]
    assert operator in row and row[4].endswith("%")
    assert "GMAC/s in a plain matrix product" in done.stdout


def test_the_peak_for_people(demo_bundle: Path, run: Run) -> None:
    done = run("bench", demo_bundle, "--runs", "2", "--warmup", "0", "--peak", "--artifact", "model_float32.tflite")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\nmodel_float32.tflite +1 +\d+ +\d+%", done.stdout)
    assert "product_float32.tflite" in done.stdout and "product_float32.onnx" not in done.stdout


@pytest.mark.timing
def test_a_noisy_machine_is_not_believed(demo_bundle: Path, run: Run) -> None:
    cores = usable_cores()
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * cores)]
    try:
        words = ("bench", demo_bundle, "--artifact", "model_float32.tflite", "--threads", cores, "--duration", "0.1")
        done = run(*words, "--strict", "--json")
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    content = json.loads(done.stdout)
    assert done.returncode == 1
    assert content["trials"][0]["tries"] == 3
    assert "the machine was too noisy: with" in content["error"]
    assert "WARNING  too noisy to believe, also after 3 tries" in done.stderr


ERRORS = [
    ("bench", 2, ["Missing argument 'BUNDLE...'. See --help."]),
    ("bench {b} --threads 0", 2, ["--threads is '0', accepted: different numbers of 1 to 128 such as 1,2,4."]),
    ("bench {b} --threads 1,,2", 2, ["--threads is '1,,2'"]),
    ("bench {b} --threads 1,1", 2, ["--threads is '1,1'"]),
    ("bench {b} --threads two", 2, ["--threads is 'two'"]),
    ("bench {b} --threads 129", 2, ["--threads is '129'"]),
    ("bench {b} --runs 0", 2, ["--runs is 0, accepted: 1 or more."]),
    ("bench {b} --runs few", 2, ["'--runs': 'few' is not a whole number."]),
    ("bench {b} --duration nan", 2, ["--duration is nan, accepted: seconds above 0."]),
    ("bench {b} --max-regression -1", 2, ["--max-regression is -1.0, accepted: percent, 0 or more."]),
    ("bench {w}/none", 1, ["none does not exist", "Make a bundle with: mvit2-export"]),
    ("bench {w}/changed", 1, ["model_float32.onnx was changed", "Export or copy the bundle again."]),
    (
        "bench {b} --artifact model_flaot16.tflite",
        1,
        ["no artifact 'model_flaot16.tflite'. Did you mean 'model_float16"],
    ),
    ("bench {b} --against {w}/none.onnx", 1, ["none.onnx does not exist or is no file; check the path."]),
    (
        "bench {b} --against {w}/words.txt",
        2,
        ["words.txt: unknown kind of model file, accepted: .onnx, .ort, .tflite."],
    ),
    ("bench {b} --against {w}/broken.onnx", 1, ["broken.onnx: ONNX Runtime cannot open it"]),
    ("bench {b} --against {w}/broken.tflite", 1, ["broken.tflite: LiteRT cannot open it"]),
    ("bench {b} --against {w}/words.onnx", 1, ["words.onnx: input 'a' is string, accepted: floats"]),
    ("bench {b} --against {w}/range.onnx", 1, ["range.onnx does not run (", "on random inputs; take another model."]),
    ("bench {b} --baseline {w}/none.json", 2, ["none.json cannot be read (No such file", "Make one with: mvit2 bench"]),
    ("bench {b} --baseline {w}/words.txt", 2, ["words.txt is no bench in JSON", "Make one with: mvit2 bench"]),
    ("bench {b} --baseline {w}/other.json", 2, ["no model in common", "it holds m with 1 thread(s), this run model_"]),
    ("bench {b} --profile {b}/model_float32.tflite", 1, ["only a bundle says where", "profile the .onnx"]),
    (
        "bench {b} --profile model_float32.onx",
        1,
        ["no artifact and no model file", "Did you mean 'model_float32.onnx'"],
    ),
    ("bench {b} --profile {b}/model_float32.onnx --baseline {w}/other.json", 2, ["leave out --baseline."]),
]


@pytest.fixture(scope="module")
def world(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    (Path(shutil.copytree(demo_bundle, folder / "changed")) / "model_float32.onnx").write_bytes(b"another")
    for name in ("broken.onnx", "broken.tflite", "words.txt"):
        (folder / name).write_bytes(b"no model" * 100)
    identity(folder / "words.onnx", a=(TensorProto.STRING, [1]))
    identity(folder / "range.onnx", a=(TensorProto.FLOAT, ["n"]))
    model = onnx.load(folder / "range.onnx")
    model.graph.node.insert(0, helper.make_node("Reshape", ["a", "three"], ["b"]))
    model.graph.node[1].input[0] = "b"
    model.graph.initializer.append(helper.make_tensor("three", TensorProto.INT64, [1], [3]))
    onnx.save(model, folder / "range.onnx")
    result = {"model": "m", "threads": 1, "reference": "f", "ratio": 0.5, "inference": {"median": 2.0}}
    written(folder / "other.json", json.dumps({"trials": [{"results": [result]}]}))
    return folder


@pytest.mark.parametrize(("row", "code", "words"), ERRORS, ids=[row[0] for row in ERRORS])
def test_one_line(
    row: str, code: int, words: list[str], refused: Callable[..., str], world: Path, demo_bundle: Path
) -> None:
    refused(code, words, *row.format(b=demo_bundle, w=world).split())


# ---- what is installed, what is loaded ----


def python(script: str, *words: object) -> CompletedProcess[str]:
    """``script`` before the command; what the process has loaded is the last line of stdout."""
    lines = [
        *("import sys", script, "from mvit2.__main__ import main", "try:", "    main()"),
        *("finally:", "    print('LOADED', *{name.partition('.')[0] for name in sys.modules if sys.modules[name]})"),
    ]
    command = [sys.executable, "-c", "\n".join(lines), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("hidden", "code", "left"),
    [
        (["onnxruntime"], 0, FLOATS[1:]),
        (["ai_edge_litert"], 0, FLOATS[:1]),
        (["onnxruntime", "ai_edge_litert"], 1, []),
    ],
)
def test_an_engine_that_is_missing(hidden: list[str], code: int, left: list[str], demo_bundle: Path) -> None:
    done = python(f"sys.modules.update(dict.fromkeys({hidden}))", "bench", demo_bundle, *SHORT, "--quiet", "--json")
    assert done.returncode == code
    content = json.loads(done.stdout.partition("LOADED")[0])
    if left:
        assert [m["model"] for m in content["trials"][0]["results"]] == left
        assert [file for file in FLOATS if f"{file} was left out: " in done.stderr] == sorted(
            set(FLOATS) - set(left), key=FLOATS.index
        )
    else:
        assert "is not installed; install it with: pip install 'mvit2[" in content["error"]


@pytest.mark.parametrize(
    ("words", "never"),
    [
        (["bench", "--help"], {"numpy", "PIL", "onnxruntime", "ai_edge_litert", "torch", "onnx"}),
        (["bench", "{b}", "--threads", "0"], {"numpy", "PIL", "onnxruntime", "ai_edge_litert", "torch", "onnx"}),
        (["bench", "{b}", *SHORT], {"torch", "tensorflow", "onnx", "transformers", "psutil"}),
    ],
    ids=["help", "refused", "bench"],
)
def test_what_is_loaded(words: list[str], never: set[str], demo_bundle: Path) -> None:
    loaded = set(python("", *(word.format(b=demo_bundle) for word in words)).stdout.rpartition("LOADED ")[2].split())
    assert {"typer", "mvit2"} <= loaded
    assert loaded & never == set()
