"""Ship or not yet: what speaks for a file and against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mvit2.bundle.manifest import Manifest, read_manifest
from mvit2.bundle.measurements import Calibration, Fidelity, Quantisation
from mvit2.export.report.classify import ClassifierRow
from mvit2.export.report.gather import Report
from mvit2.export.report.task import Accuracy
from mvit2.export.report.verdict import verdict
from mvit2.export.report.wording import highlights

from ...support.tree import ROOT

FLOAT, INT8 = "model_float32.onnx", "model_int8.onnx"
OURS = Calibration("folder", 0, tuple(f"{i:064x}" for i in range(256)), 64)
BUNDLED = Calibration("bundled photographs", 0, ("0" * 64,) * 5, 16)


@pytest.fixture
def manifest() -> Manifest:
    """As of a trained checkpoint of somebody's, with an int8 file that was compared on 16 images."""
    found = read_manifest(ROOT / "tests" / "golden" / "bundles" / "schema_3")
    float32, int8 = found.artifacts
    measured = Quantisation("learned", (), {}, Fidelity("held-out calibration pictures", 16, 0.875, 22.0, 0.1))
    weights = replace(found.weights, name="mine", origin="folder")
    artifacts = (float32, replace(int8, quantisation=measured))
    return replace(found, weights=weights, artifacts=artifacts, calibration=OURS, proofs=(), assumptions=())


def rows(images: int, before: int, after: int, agreement: float) -> Accuracy:
    return Accuracy(
        "labelled pictures",
        (
            ClassifierRow(FLOAT, "float32", images, before, images),
            ClassifierRow(INT8, "int8", images, after, images, agreement, 20.0),
        ),
    )


def report_of(manifest: Manifest, accuracy: Accuracy | None) -> Report:
    return Report(manifest, (), (), accuracy, None, (), (), (), {})


GOOD = rows(5000, 4000, 3990, 0.98)


@pytest.mark.parametrize(
    ("change", "accuracy", "ship", "said"),
    [
        ({}, GOOD, True, "+0.2 points lost against float32 (95 %:"),
        ({}, None, False, "its accuracy was not measured: mvit2 report BUNDLE --eval LABELLED"),
        ({}, rows(50, 40, 40, 0.9), False, "too few to exclude more than 2; evaluate on more"),
        ({}, rows(5000, 4000, 3500, 0.8), False, "+10.0 points lost"),
        ({"calibration": BUNDLED}, GOOD, False, "calibrated on 5 bundled photographs: export again with --calibration"),
        ({"calibration": OURS}, GOOD, True, "calibrated on 256 images of yours"),
        (
            {"assumptions": ("BGR, since nothing says it",)},
            GOOD,
            True,
            "assumed, not known: BGR, since nothing says",
        ),
        ({}, GOOD, True, "not run on any accelerator, only on the CPU: mvit2 check BUNDLE --on all --record"),
    ],
)
def test_verdict(change: dict[str, Any], accuracy: Accuracy | None, ship: bool, said: str, manifest: Manifest) -> None:
    found = verdict(report_of(replace(manifest, **change), accuracy))
    assert found is not None and found.artifact == INT8
    assert found.ship is ship and found.headline == (f"Ship {INT8}" if ship else f"Not yet: {INT8}")
    assert [reason.text for reason in found.reasons if said in reason.text], found.reasons


@pytest.mark.parametrize("name", ["demo20", "untrained"])
def test_weights_that_nobody_ships(name: str, manifest: Manifest) -> None:
    weights = replace(manifest.weights, name=name, origin="bundled")
    found = verdict(report_of(replace(manifest, weights=weights), GOOD))
    assert found is not None and not found.ship


@pytest.mark.parametrize(("accuracy", "shown"), [(None, "87.5%"), (GOOD, "98.0%"), (rows(8, 8, 8, 1.0), "87.5%")])
def test_the_larger_sample_counts(accuracy: Accuracy | None, shown: str, manifest: Manifest) -> None:
    found = {one.name: one.value for one in highlights(report_of(manifest, accuracy))}
    assert found["agreement with float32"] == shown
