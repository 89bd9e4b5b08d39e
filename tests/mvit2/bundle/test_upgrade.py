"""Bundles of every schema so far still open: those in tests/golden/bundles were written by the mvit2 of their time.

Their networks are stand-ins of a few nodes, everything else is what that mvit2 wrote.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvit2.bundle.manifest import MANIFEST, SCHEMA_VERSION, Manifest, read_labels, read_manifest, write_manifest
from mvit2.bundle.measurements import Accuracy
from mvit2.bundle.upgrade import OLDEST_VERSION, UPGRADES, upgraded
from mvit2.errors import BundleError
from mvit2.runtime import Classifier, check_bundle
from mvit2.runtime.web.served import bundle_files

BUNDLES = Path(__file__).parents[2] / "golden" / "bundles"
CLASSIFIERS = ("schema_1", "schema_2", "schema_3")
ALL = (*CLASSIFIERS, "schema_3_segment")
every = pytest.mark.parametrize("name", ALL)


def _content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BUNDLES / name / MANIFEST).read_text(encoding="utf-8"))
    return found


def test_there_is_a_bundle_and_a_step_for_every_older_schema() -> None:
    assert sorted(UPGRADES) == list(range(OLDEST_VERSION, SCHEMA_VERSION))
    assert {_content(name)["schema_version"] for name in ALL} == set(UPGRADES)


@every
def test_an_old_manifest_is_one_of_today(name: str, tmp_path: Path) -> None:
    manifest = read_manifest(BUNDLES / name)
    assert manifest.schema_version == SCHEMA_VERSION and manifest.proofs == ()
    for artifact in manifest.artifacts:
        assert artifact.outputs == (artifact.output,) and artifact.parts == (artifact.file,)
        assert artifact.unverified is None
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_no_figure_of_an_old_manifest_is_lost(name: str) -> None:
    manifest, old = read_manifest(BUNDLES / name), _content(name)
    (parity,), quantisation = manifest.parity, manifest.artifacts[1].quantisation
    assert quantisation is not None
    fidelity = quantisation.fidelity
    assert (parity.measure, parity.max_absolute, parity.max_relative) == ("probabilities", 1e-7, 1e-6)
    assert manifest.artifacts[0].parity == parity
    assert fidelity.accuracy == Accuracy(50, 39, 49)
    assert (fidelity.agreement, fidelity.snr_db) == (0.96, 21.5)
    assert [block.name for block in manifest.blocks] == [block["name"] for block in old.get("blocks", ())]
    assert (manifest.output_kind, manifest.colors) == ("scores", ())
    assert manifest.artifacts[0].output.name == old["artifacts"][0]["output"]["name"]


@every
def test_an_old_bundle_computes_what_it_did(name: str) -> None:
    report = check_bundle(BUNDLES / name)
    assert report.passed and not report.skipped and not report.unverified
    assert len(report.differences) == len(read_manifest(BUNDLES / name).artifacts)


@every
def test_golden_vectors_of_an_old_bundle_are_compared(name: str, tmp_path: Path, forge: Any) -> None:
    bundle = Path(shutil.copytree(BUNDLES / name, tmp_path / "bundle"))
    if (bundle / "golden" / "model_float32.onnx.f32").exists():
        forge.edit_numbers(bundle, "golden/model_float32.onnx.f32", "<f4", lambda scores: scores[::-1])
    else:
        forge.edit_json(bundle, "golden/golden.json", lambda g: g["cases"][0].update(probabilities=[0.25, 0.5, 0.25]))
    assert not check_bundle(bundle).passed


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_old_classifier_answers(name: str) -> None:
    picture = np.zeros((40, 50, 3), np.uint8)
    picture[..., 1] = 200
    best = Classifier.open(BUNDLES / name, "model_int8.onnx").predict(picture)[0]
    assert best.label == "green" and best.score > 0.9


@every
def test_the_page_is_given_a_manifest_of_today(name: str) -> None:
    served = bundle_files(BUNDLES / name)[f"/bundle/{MANIFEST}"]
    with served.open() as stream:
        content = stream.read()
    assert json.loads(content)["schema_version"] == SCHEMA_VERSION
    assert [list(one) for one in json.loads(content)["artifacts"][0]["outputs"]]


@pytest.mark.parametrize(
    ("name", "edit", "wrong"),
    [
        ("schema_1", lambda m: m.update(colour=1), "missing or unknown ['colour']"),
        ("schema_1", lambda m: m.update(artifacts=7), "manifest.artifacts is '7', expected a list"),
        ("schema_1", lambda m: m["artifacts"][0].pop("output"), "missing or unknown ['outputs']"),
        ("schema_1", lambda m: m["artifacts"][0].update(outputs=[]), "missing or unknown ['output']"),
        ("schema_2", lambda m: m["artifacts"][0].update(graph=None), "manifest.artifacts[0].graph is 'None'"),
        ("schema_2", lambda m: m.update(parity={}), "manifest.parity is '{}', expected a list"),
        ("schema_3", lambda m: m["parity"][0].update(max_absolute=1.0), "missing or unknown ['max_probability']"),
        ("schema_3", lambda m: m["parity"].append(3), "manifest.parity[1] is '3', expected an object"),
        ("schema_3_segment", lambda m: m.update(colors=[]), "the manifest has 0 colors, accepted: 3"),
    ],
)
def test_an_old_manifest_is_as_untrusted(name: str, edit: Any, wrong: str, tmp_path: Path) -> None:
    content = _content(name)
    edit(content)
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BundleError) as caught:
        read_manifest(tmp_path)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


@every
def test_whatever_an_old_manifest_holds_it_is_read_or_refused(name: str, tmp_path: Path) -> None:
    random_, junk = random.Random(name), (None, True, 7, 1.5, "x", [], {}, [[]], {"x": 1})
    read = 0
    for _ in range(300):
        content = _content(name)
        places = [
            content,
            *content["artifacts"],
            content["artifacts"][0]["graph"],
            *content["parity"],
            content["parity"],
        ]
        place = random_.choice(places)
        key = random_.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place[key] = copy.deepcopy(random_.choice(junk))
        if type(content["schema_version"]) is not int:
            continue
        (tmp_path / MANIFEST).write_text(json.dumps(content))
        try:
            read += isinstance(read_manifest(tmp_path), Manifest)
        except BundleError as error:
            assert str(error).isprintable() and len(str(error)) < 1000
    assert 0 < read < 200


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (lambda g: g.update(cases=[]), "0 cases, expected one or more of [64, 64, 3]"),
        (lambda g: g["cases"][0].update(pixels="manifest.json"), "'manifest.json' is missing"),
        (lambda g: g["cases"][0].update(probabilities=[1.0]), "other than 3 numbers of model_float32.onnx"),
        (lambda g: g["cases"][1]["quantised"].clear(), "'model_int8.onnx' is missing"),
        (lambda g: g["cases"][1].update(probabilities=[2.0, 0.0, 0.0]), "numbers of model_float32.onnx that are no"),
    ],
)
def test_golden_vectors_of_an_old_bundle_are_untrusted(edit: Any, wrong: str, tmp_path: Path, forge: Any) -> None:
    bundle = Path(shutil.copytree(BUNDLES / "schema_2", tmp_path / "bundle"))
    forge.edit_json(bundle, "golden/golden.json", edit)
    with pytest.raises(BundleError) as caught:
        check_bundle(bundle)
    assert wrong in str(caught.value)


def test_steps_leave_what_they_are_given() -> None:
    content = _content("schema_1")
    before = copy.deepcopy(content)
    upgraded(content)
    assert content == before


def test_labels_of_an_old_bundle() -> None:
    assert read_labels(BUNDLES / "schema_1", read_manifest(BUNDLES / "schema_1")) == ("red", "green", "blue")
