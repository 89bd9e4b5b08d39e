"""TFLite metadata: what is written, that it is read, and that MediaPipe runs the files unchanged."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

from mvit2.bundle.manifest import read_labels, read_manifest
from mvit2.errors import BundleError, CheckpointError, ConversionError, Mvit2Error
from mvit2.export.convert import tflite_metadata_schema as schema
from mvit2.export.convert.tflite_metadata import ModelCard, read_metadata, write_with_metadata
from mvit2.export.describe import describe_model
from mvit2.image.preprocess import preprocess
from mvit2.runtime import open_bundle
from mvit2.runtime.tasks.classify.prediction import top_k
from mvit2.tflite_file import prune, read_tflite, write_tflite

Mediapipe = Callable[..., str]

SCRIPT = Path(__file__).parents[2] / "support/in_mediapipe.py"
FLOAT = ("model_float32.tflite", "model_float16.tflite")
QUANTISED = ("model_int8.tflite", "model_dynamic.tflite", "model_full_int8.tflite")
LABELS = {
    "commas": tuple(f'crane, kind {i}, "grey"' for i in range(20)),
    "not ASCII": tuple(f"Kranich Nº {i} 鶴 🐈‍⬛" for i in range(20)),
    "duplicates": ("crane",) * 20,
}


def card_of(bundle: Path, **changes: Any) -> ModelCard:
    m = read_manifest(bundle)
    card = ModelCard(m.name, m.variant, m.weights, m.preprocess, m.io, read_labels(bundle, m))
    return replace(card, **changes)


@pytest.fixture(scope="session")
def float_file(demo_bundle: Path) -> Path:
    return demo_bundle / FLOAT[0]


# ---- what is written ----


@pytest.mark.parametrize("name", [*FLOAT, *(pytest.param(name, marks=pytest.mark.exports) for name in QUANTISED)])
def test_every_file_of_a_bundle_has_it(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue("demo_bundle" if name in FLOAT else "int8_bundle")
    metadata, files = read_metadata(bundle / name)
    manifest = read_manifest(bundle)
    (graph,) = metadata["subgraph_metadata"]
    (entry,), (scores,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    said = [metadata[key] for key in ("name", "version", "min_parser_version")]
    assert said == [manifest.name, manifest.weights.sha256[:16], "1.0.0"]
    assert all(metadata[key] for key in ("description", "author", "license"))
    assert entry["content"]["content_properties"] == {"color_space": 1, "default_size": {"width": 128, "height": 128}}
    assert (entry["name"], "process_units" in entry) == ("image", False)
    assert (scores["name"], scores["associated_files"]) == ("scores", [{"name": "labels.txt", "type": 2}])
    assert files == {"labels.txt": read_labels(bundle, manifest)}
    buffers = [e.name for e in read_tflite(bundle / name).metadata]
    assert buffers.count(b"TFLITE_METADATA") == 1


def test_the_labels_are_a_stored_zip(float_file: Path) -> None:
    with zipfile.ZipFile(float_file) as archive:
        assert archive.testzip() is None
        (info,) = archive.infolist()
        assert archive.read(info) == (float_file.parent / "labels.txt").read_bytes()
    assert (info.compress_type, info.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))


def test_written_again_it_is_the_same_file(demo_bundle: Path, tmp_path: Path) -> None:
    """Also over older metadata, and after what the quantisers do: nothing is doubled, nothing lost."""
    file = demo_bundle / FLOAT[0]
    write_with_metadata(read_tflite(file), tmp_path / "same", card_of(demo_bundle))
    write_with_metadata(read_tflite(file), tmp_path / "other", card_of(demo_bundle, name="other"))
    write_with_metadata(read_tflite(tmp_path / "other"), tmp_path / "back", card_of(demo_bundle))
    pruned = read_tflite(file)
    prune(pruned)
    write_with_metadata(pruned, tmp_path / "pruned", card_of(demo_bundle))
    assert (tmp_path / "same").read_bytes() == file.read_bytes() == (tmp_path / "back").read_bytes()
    assert read_metadata(tmp_path / "pruned") == read_metadata(file)


def test_it_costs_no_more_than_its_text(float_file: Path, tmp_path: Path) -> None:
    model = read_tflite(float_file)
    model.metadata = [m for m in model.metadata if m.name != b"TFLITE_METADATA"]
    prune(model)
    write_tflite(model, tmp_path / "bare")
    assert float_file.stat().st_size - (tmp_path / "bare").stat().st_size < 2048


def test_a_bare_network_is_no_image(demo_bundle: Path, tmp_path: Path) -> None:
    write_with_metadata(
        read_tflite(demo_bundle / FLOAT[0]), tmp_path / "bare.tflite", card_of(demo_bundle, io="tensor")
    )
    (graph,) = read_metadata(tmp_path / "bare.tflite")[0]["subgraph_metadata"]
    (entry,) = graph["input_tensor_metadata"]
    assert entry["content"] == {"content_properties_type": schema.FEATURE, "content_properties": {}}
    assert entry["process_units"] == [{"options_type": 1, "options": {"mean": [0.0], "std": [255.0]}}]
    assert entry["stats"] == {"max": [1.0], "min": [0.0]}
    assert "BGR" in entry["description"]


def test_21000_labels(demo_bundle: Path, tmp_path: Path) -> None:
    labels = tuple(f"{LABELS['not ASCII'][i % 20]}, {i}" for i in range(21_000))
    model, file = read_tflite(demo_bundle / FLOAT[0]), tmp_path / "many.tflite"
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].shape = np.array([1, 21_000], np.int32)
    write_with_metadata(model, file, card_of(demo_bundle, labels=labels))
    assert read_metadata(file)[1] == {"labels.txt": labels}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"labels": ("a", "b\nc")}, CheckpointError, r"class 1 is called 'b\\nc', accepted: one line of text"),
        ({"labels": ("a\u2028b",)}, CheckpointError, r"class 0 is called 'a\\u2028b'"),
        ({"labels": ("a", "")}, CheckpointError, r"class 1 is called ''"),
        ({"labels": ("a\0b",)}, CheckpointError, r"class 0 is called 'a\\x00b'"),
        ({"labels": ("\ud800",)}, CheckpointError, r"class 0 is called '\\ud800'.*--labels FILE"),
        ({"labels": ("a", "b")}, ConversionError, r"model\.tflite has 20 classes, its card 2 labels"),
        ({"display_names": {"de": ("a",)}}, ConversionError, r"1 display names for the locale 'de'.*20 labels"),
        ({"display_names": {"../de": ("a",) * 20}}, ConversionError, r"locale '\.\./de'; accepted: .*pt-BR"),
    ],
)
def test_refused(
    changes: dict[str, Any], error: type[Mvit2Error], said: str, demo_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        write_with_metadata(
            read_tflite(demo_bundle / FLOAT[0]), tmp_path / "model.tflite", card_of(demo_bundle, **changes)
        )
    assert list(tmp_path.iterdir()) == []


# ---- what is read ----


def test_info_shows_it(float_file: Path) -> None:
    tables, content = describe_model(float_file)
    rows = dict(tables[0][2])
    assert rows["name"] == content["metadata"]["name"] == "mobilevitv2-0.5-demo20"
    assert rows["labels.txt"].startswith("20 lines: goldfish, king penguin")


def test_a_file_without_metadata_is_none_the_worse(float_file: Path, tmp_path: Path) -> None:
    model = read_tflite(float_file)
    model.metadata = None
    write_tflite(model, tmp_path / "bare.tflite")
    assert read_metadata(tmp_path / "bare.tflite") == ({}, {})
    assert describe_model(tmp_path / "bare.tflite")[1]["metadata"] == {}


def _bomb(_: bytes) -> bytes:
    """5000 tensors that are one and the same, with a long name."""
    builder = flatbuffers.Builder()
    name = builder.CreateString("n" * 10_000)
    for slots, length in ((7, 5000), (4, 1)):  # TensorMetadata, SubGraphMetadata; vectors of them
        builder.StartObject(slots)
        builder.PrependUOffsetTRelativeSlot(0 if slots == 7 else 2, name, 0)
        table = builder.EndObject()
        builder.StartVector(4, length, 4)
        for _ in range(length):
            builder.PrependUOffsetTRelative(table)
        name = builder.EndVector()
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(3, name, 0)
    builder.Finish(builder.EndObject(), b"M001")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda good: b"", "identifier is b''"),
        (lambda good: good[:4] + b"M002" + good[8:], "identifier is b'M002', accepted: b'M001'"),
        (lambda good: b"\xff\xff\xff\x7f" + good[4:], "damaged"),
        (lambda good: good[: len(good) // 2], "damaged"),
        (lambda good: good.replace(b"mobilevitv2-0.5", b"\xff" * 15), "damaged"),
        (_bomb, "refers to more than it holds"),
    ],
)
def test_damaged_metadata(content: Any, said: str, float_file: Path, tmp_path: Path) -> None:
    model = read_tflite(float_file)
    (entry,) = (e for e in model.metadata if e.name == b"TFLITE_METADATA")
    buffer = model.buffers[entry.buffer]
    buffer.data = np.frombuffer(content(bytes(buffer.data)), np.uint8)
    write_tflite(model, tmp_path / "damaged.tflite")
    with pytest.raises(BundleError, match=rf"damaged\.tflite: its metadata cannot be read: .*{said}"):
        read_metadata(tmp_path / "damaged.tflite")


def test_every_cut_and_every_flipped_byte_is_read_or_refused(float_file: Path) -> None:
    good = schema.encode(read_metadata(float_file)[0])
    assert schema.decode(good) == read_metadata(float_file)[0]
    flipped = (good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :] for i in range(len(good)))
    for data in (*(good[:i] for i in range(len(good))), *flipped):
        try:
            schema.decode(data)
        except ValueError as error:
            assert "\n" not in str(error)


# ---- MediaPipe, the client that we did not write ----


def _in_mediapipe(mediapipe: Mediapipe, pixels: np.ndarray, jobs: list[dict[str, str]], folder: Path) -> list[Any]:
    np.save(folder / "pixels.npy", pixels)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    answers: list[Any] = json.loads(mediapipe(SCRIPT, "classify", folder / "pixels.npy", folder / "jobs.json"))
    return answers


@pytest.fixture(scope="module")
def pixels(demo_bundle: Path, photos: Path) -> np.ndarray:
    """Of the model's size already: then nobody resizes."""
    spec = read_manifest(demo_bundle).preprocess
    return np.stack([preprocess(photo, spec) for photo in sorted(photos.glob("*.jpg"))])


@pytest.mark.parametrize("fixture", ["demo_bundle", "int8_bundle"])
def test_mediapipe_answers_as_we_do(
    fixture: str, pixels: np.ndarray, request: pytest.FixtureRequest, mediapipe: Mediapipe, tmp_path: Path
) -> None:
    bundle: Path = request.getfixturevalue(fixture)
    files = FLOAT if fixture == "demo_bundle" else QUANTISED
    jobs = [{"model": str(bundle / file), "mode": mode, "locale": ""} for file in files for mode in ("IMAGE", "VIDEO")]
    for job, theirs in zip(jobs, _in_mediapipe(mediapipe, pixels, jobs, tmp_path), strict=True):
        classifier = open_bundle(bundle, Path(job["model"]).name)
        for scores, answer in zip(classifier.scores(pixels), theirs, strict=True):
            ours = top_k(scores, classifier.labels, 5)
            assert [category["category_name"] for category in answer] == [p.label for p in ours], job
            np.testing.assert_allclose([c["score"] for c in answer], [p.score for p in ours], rtol=1e-6, atol=1e-7)


def test_mediapipe_reads_any_label_and_its_translation(
    int8_bundle: Path, pixels: np.ndarray, mediapipe: Mediapipe, tmp_path: Path
) -> None:
    jobs = []
    for name, labels in LABELS.items():
        card = card_of(int8_bundle, labels=labels, display_names={"de": LABELS["commas"], "pt-BR": LABELS["not ASCII"]})
        write_with_metadata(read_tflite(int8_bundle / QUANTISED[0]), tmp_path / f"{name}.tflite", card)
        jobs += [
            {"model": str(tmp_path / f"{name}.tflite"), "mode": "IMAGE", "locale": lang} for lang in ("", "de", "pt-BR")
        ]
    shown = {"": [None] * 20, "de": LABELS["commas"], "pt-BR": LABELS["not ASCII"]}
    for job, theirs in zip(jobs, _in_mediapipe(mediapipe, pixels, jobs, tmp_path), strict=True):
        labels, names = LABELS[Path(job["model"]).stem], shown[job["locale"]]
        found = [(c["category_name"], c["display_name"]) for answer in theirs for c in answer]
        assert found == [(labels[c["index"]], names[c["index"]]) for answer in theirs for c in answer], job


def test_mediapipes_own_schema_reads_the_same(float_file: Path, mediapipe: Mediapipe) -> None:
    code = (
        "import json, sys\n"
        "from mediapipe.tasks.metadata import metadata_schema_py_generated as s\n"
        "from ai_edge_litert import schema_py_generated as t\n"
        "model = t.ModelT.InitFromPackedBuf(open(sys.argv[1], 'rb').read(), 0)\n"
        "entry, = [e for e in model.metadata if e.name == b'TFLITE_METADATA']\n"
        "data = bytes(model.buffers[entry.buffer].data)\n"
        "assert s.ModelMetadata.ModelMetadataBufferHasIdentifier(data, 0)\n"
        "def plain(x):\n"
        "    if hasattr(x, '__dict__'): return {k: plain(v) for k, v in vars(x).items() if v is not None}\n"
        "    if isinstance(x, bytes): return x.decode()\n"
        "    return [plain(v) for v in x] if isinstance(x, list) else x\n"
        "print(json.dumps(plain(s.ModelMetadataT.InitFromPackedBuf(data, 0))))"
    )
    assert json.loads(mediapipe("-c", code, float_file)) == _as_in_mediapipe(read_metadata(float_file)[0])


def _as_in_mediapipe(value: Any) -> Any:
    """subgraph_metadata -> subgraphMetadata"""
    if isinstance(value, dict):
        return {re.sub("_(.)", lambda m: m[1].upper(), key): _as_in_mediapipe(v) for key, v in value.items()}
    return [_as_in_mediapipe(v) for v in value] if isinstance(value, list) else value
