"""What an app's author writes in four lines, against transformers' network with the same weights."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mvit2
from mvit2.bundle.manifest import MANIFEST
from mvit2.errors import BundleError, ImageError, UsageError
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.runtime import Classifier, Prediction, open_bundle

Array = np.ndarray[Any, Any]
ARTIFACTS = ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"]


@pytest.fixture(scope="module", params=ARTIFACTS)
def classifier(request: pytest.FixtureRequest, demo_bundle: Path) -> Classifier:
    return open_bundle(demo_bundle, str(request.param))


@pytest.fixture(scope="module")
def pictures(photos: Path) -> list[Path]:
    return sorted(photos.glob("*.jpg"))


@pytest.fixture(scope="module")
def expected(pictures: list[Path], demo_bundle: Path) -> Array:
    """transformers' probabilities of the photographs, float64 [5, 20]; only the pixels are ours (see test_image)."""
    import torch
    from transformers import MobileViTV2ForImageClassification

    checkpoint = Path(mvit2.__file__).parent / "checkpoints" / "0.5"  # stored as float16
    network = MobileViTV2ForImageClassification.from_pretrained(checkpoint, dtype=torch.float32)
    spec = open_bundle(demo_bundle).manifest.preprocess
    pixels = np.stack([preprocess(picture, spec) for picture in pictures])
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(to_pixel_values(pixels, spec))).logits
    probabilities: Array = logits.double().softmax(-1).numpy()
    return probabilities


# ---- right ----


def test_scores_equal_transformers(classifier: Classifier, pictures: list[Path], expected: Array) -> None:
    pixels = np.stack([preprocess(picture, classifier.manifest.preprocess) for picture in pictures])
    scores = classifier.scores(pixels)
    tolerance = {"float32": 1e-4, "float16": 2e-2}[classifier.artifact.precision]
    assert (scores.dtype, scores.shape) == (np.float32, (5, 20))
    np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=0)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
    assert len(set(expected.argmax(-1))) > 1, "the photographs must not look alike"


def test_predictions_equal_transformers(classifier: Classifier, pictures: list[Path], expected: Array) -> None:
    config = json.loads((Path(mvit2.__file__).parent / "checkpoints/0.5/config.json").read_text())
    assert list(classifier.labels) == [config["id2label"][str(i)] for i in range(20)]
    tolerance = {"float32": 1e-4, "float16": 2e-2}[classifier.artifact.precision]
    for picture, row in zip(pictures, expected, strict=True):
        found = classifier.predict(picture, top_k=3)
        assert [p.index for p in found] == np.argsort(-row, kind="stable")[:3].tolist()
        for prediction in found:
            assert prediction.label == config["id2label"][str(prediction.index)]
            assert prediction.score == pytest.approx(row[prediction.index], rel=tolerance)


def test_all_classes_in_order(classifier: Classifier, pictures: list[Path]) -> None:
    for k, count in ((1, 1), (5, 5), (20, 20), (99, 20)):
        found = classifier.predict(pictures[0], top_k=k)
        assert len(found) == count
        assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert sum(p.score for p in found) == pytest.approx(1, abs=1e-5)
    assert sorted(p.index for p in found) == list(range(20))
    assert {type(value) for p in found for value in (p.label, p.score, p.index)} == {str, float, int}
    assert len(classifier.predict(pictures[0])) == 5


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


FORMS: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "path": Path,
    "bytes": Path.read_bytes,
    "PIL": Image.open,
    "array": lambda path: np.asarray(Image.open(path).convert("RGB")),
    "PNG": lambda path: _encoded(Image.open(path).convert("RGB")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture(form: str, classifier: Classifier, pictures: list[Path]) -> None:
    assert classifier.predict(FORMS[form](pictures[0])) == classifier.predict(pictures[0])


def test_many_pictures_are_each_as_alone(classifier: Classifier, pictures: list[Path]) -> None:
    alone = [classifier.predict(picture, top_k=2) for picture in pictures]
    assert classifier.predict(pictures, top_k=2) == alone
    assert classifier.predict(tuple(pictures), top_k=2) == alone
    assert classifier.predict([FORMS["array"](pictures[1]), str(pictures[0])], top_k=2) == [alone[1], alone[0]]
    assert classifier.predict(pictures[:1], top_k=2) == alone[:1]
    assert classifier.predict([]) == []
    assert isinstance(alone[0][0], Prediction)


def test_python_threads_may_share_a_classifier(classifier: Classifier, pictures: list[Path]) -> None:
    alone = {picture: classifier.predict(picture) for picture in pictures}
    jobs = pictures * 6
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(classifier.predict, jobs)) == [alone[picture] for picture in jobs]


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_threads_do_not_change_the_answer(
    threads: int | None, classifier: Classifier, demo_bundle: Path, pictures: list[Path]
) -> None:
    other = open_bundle(demo_bundle, classifier.artifact.file.path, threads=threads).predict(pictures[0])
    for a, b in zip(other, classifier.predict(pictures[0]), strict=True):
        assert (a.label, a.score) == (b.label, pytest.approx(b.score, rel=1e-4))


# ---- which artifact ----


def test_the_first_artifact_is_the_default(demo_bundle: Path) -> None:
    assert open_bundle(demo_bundle).artifact.file.path == ARTIFACTS[0]
    assert open_bundle(str(demo_bundle)).manifest.name == demo_bundle.name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("model_float32.onx", "Did you mean 'model_float32.onnx'"),
        ("MODEL_FLOAT16.TFLITE", "Did you mean 'model_float16.tflite'"),
        ("banana\n", r"no artifact 'banana\n'. It holds"),
        ("", "no artifact ''. It holds"),
        ("labels.txt", "no artifact 'labels.txt'."),
        ("../model_float32.onnx", "no artifact '../model_float32.onnx'."),
    ],
)
def test_an_unknown_artifact(name: str, near: str, demo_bundle: Path) -> None:
    with pytest.raises(BundleError) as caught:
        open_bundle(demo_bundle, name)
    assert near in str(caught.value) and f"It holds: {', '.join(ARTIFACTS)}." in str(caught.value)
    assert "\n" not in str(caught.value)


_README = """
import sys
{before}
from mvit2.runtime import open_bundle
from mvit2.errors import MissingEngineError
try:
    classifier = open_bundle(sys.argv[1], artifact=sys.argv[3] if len(sys.argv) > 3 else None)
    print(classifier.artifact.file.path)
    for prediction in classifier.predict(sys.argv[2], top_k=3):
        print(f"{{prediction.label}}\t{{prediction.score:.3f}}")
except MissingEngineError as error:
    print(error)
"""


def _user(demo_bundle: Path, photo: Path, *artifact: str, hidden: tuple[str, ...] = ()) -> list[str]:
    """The lines that a program of a user prints, where the ``hidden`` engines are not installed."""
    script = _README.format(before=f"sys.modules.update(dict.fromkeys({hidden}))")
    command = [sys.executable, "-W", "error", "-c", script, str(demo_bundle), str(photo), *artifact]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("hidden", "default"),
    [((), ARTIFACTS[0]), (("ai_edge_litert",), ARTIFACTS[0]), (("onnxruntime",), ARTIFACTS[1])],
)
def test_the_default_is_the_first_that_can_run(
    hidden: tuple[str, ...], default: str, demo_bundle: Path, photos: Path
) -> None:
    used, *lines = _user(demo_bundle, photos / "coffee.jpg", hidden=hidden)
    assert used == default
    best = open_bundle(demo_bundle).predict(photos / "coffee.jpg", top_k=3)
    assert lines == [f"{p.label}\t{p.score:.3f}" for p in best]


@pytest.mark.parametrize(
    ("hidden", "artifact", "extra"),
    [
        (("ai_edge_litert", "onnxruntime"), (), "ort"),
        (("ai_edge_litert",), (ARTIFACTS[1],), "litert"),
        (("onnxruntime",), (ARTIFACTS[0],), "ort"),
    ],
)
def test_without_its_engine(hidden: Any, artifact: Any, extra: str, demo_bundle: Path, photos: Path) -> None:
    (said,) = _user(demo_bundle, photos / "coffee.jpg", *artifact, hidden=hidden)
    assert said.endswith(f"is not installed; install it with: pip install 'mvit2[{extra}]'")


# ---- refusals ----


@pytest.mark.parametrize(
    "shape", [(128, 128, 3), (1, 128, 128), (1, 3, 128, 128), (1, 64, 128, 3), (1, 128, 128, 4), (0, 128, 128, 3), ()]
)
def test_other_pixels_are_refused(shape: tuple[int, ...], classifier: Classifier) -> None:
    with pytest.raises(ImageError, match=r"accepted: uint8 \[N, 128, 128, 3\], N >= 1") as caught:
        classifier.scores(np.zeros(shape, np.uint8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int64, np.bool_])
def test_other_types_of_pixels_are_refused(dtype: Any, classifier: Classifier) -> None:
    with pytest.raises(ImageError, match=f"pixels are {np.dtype(dtype).name}"):
        classifier.scores(np.zeros((1, 128, 128, 3), dtype))


def test_what_predict_refuses(classifier: Classifier, pictures: list[Path], tmp_path: Path) -> None:
    for k in (0, -1):
        with pytest.raises(UsageError, match=rf"top_k is {k}, accepted: a whole number from 1 on"):
            classifier.predict(pictures[0], top_k=k)
    for source in (tmp_path / "absent.jpg", b"", np.zeros((2, 2, 2, 2), np.uint8), None):
        with pytest.raises(ImageError):
            classifier.predict(source)


def _edited(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    edit(content)
    (bundle / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (lambda m: m.update(artifacts=[]), "lists no model file"),
        (lambda m: m.update(files=[]), "lists no labels.txt"),
        (lambda m: m.update(classes=21), "has 20 lines, the network 21 classes"),
        (lambda m: m.update(io="tensor"), "the manifest says ('float32', (3, 128, 128), 'float32', (20,))"),
        (
            lambda m: m["preprocess"].update(image_size=[128, 64]),
            "the manifest says ('uint8', (128, 64, 3), 'float32', (20,))",
        ),
        (
            lambda m: m["preprocess"].update(resample="bicubic"),
            "was made for resample bilinear: one of them was edited",
        ),
        (lambda m: m["preprocess"].update(channel_order="RGB"), "was made for channel_order BGR"),
        (lambda m: m["artifacts"][0]["file"].update(sha256="0" * 64), "was changed"),
        (lambda m: m["artifacts"][0]["file"].update(path="model.onnx"), "is missing"),
    ],
)
def test_a_manifest_that_does_not_fit_its_files(
    edit: Callable[[dict[str, Any]], None], wrong: str, demo_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))
    _edited(bundle, edit)
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("artifact", ["model_float32.onnx", "model_float32.tflite", "model_float16.tflite"])
def test_preprocessing_that_was_edited_is_refused(artifact: str, demo_bundle: Path, tmp_path: Path) -> None:
    """It is in the manifest and in every model file; edited in one of them, the answers would be wrong."""
    bundle = Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))
    _edited(bundle, lambda manifest: manifest["preprocess"].update(resize_shortest=200))
    with pytest.raises(BundleError, match=rf"shortest.*200.*{artifact} was made for .*shortest.*144"):
        open_bundle(bundle, artifact)
