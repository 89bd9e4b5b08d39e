"""``mvit2 audit``: finds the preprocessing behind exact labels, calls no chance a difference, sets what it found."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mvit2
from mvit2.checkpoint.load import Checkpoint, load_checkpoint
from mvit2.errors import CheckFailed, ImageError, OutputError
from mvit2.export.audit_checkpoint import PREPROCESSOR, settings, subject_of, write_settings
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.metrics.fidelity import confidence_interval
from mvit2.runtime.audit.candidates import Measured, changes, measure, open_subject, variants
from mvit2.runtime.audit.verdict import judge

Run = Callable[..., CompletedProcess[str]]
Labelled = list[tuple[Path, int]]
DEMO = Path(mvit2.__file__).parent / "checkpoints" / "0.5"
TRUE = PreprocessSpec((128, 128), 144, None, "bilinear", "BGR")  # what the demo checkpoint was trained with
HF = json.loads((DEMO / PREPROCESSOR).read_text())


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Checkpoint]:
    found = load_checkpoint(str(DEMO))
    assert found.preprocess == TRUE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the command does
    yield found
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def labelled(checkpoint: Checkpoint, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """Long cuts of the photographs, each labelled with what the network takes it for: under TRUE it is always right."""
    root, draw = tmp_path_factory.mktemp("cuts"), np.random.default_rng(0)
    for photo in sorted(photos.glob("*.jpg")):
        with Image.open(photo) as image:
            for i in range(12):
                high = int(draw.integers(100, 140))
                size = (2 * high, high) if i % 2 else (high, 2 * high)
                left, top = (int(draw.integers(0, most - edge)) for most, edge in zip(image.size, size, strict=True))
                image.crop((left, top, left + size[0], top + size[1])).save(root / f"{photo.stem}{i}.png")
    cuts = sorted(root.glob("*.png"))
    pixels = np.stack([preprocess(cut, TRUE) for cut in cuts])
    with torch.inference_mode():
        found = checkpoint.model(torch.from_numpy(to_pixel_values(pixels, TRUE))).argmax(-1).tolist()
    return list(zip(cuts, found, strict=True))


@pytest.fixture(scope="module")
def table(labelled: Labelled) -> Path:
    """Half of them as a CSV file, which names a picture that cannot be read, too."""
    path = labelled[0][0].parent / "labels.csv"
    (path.parent / "broken.png").write_text("no picture")
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label"), ("broken.png", 0), *((p.name, i) for p, i in labelled[::2])])
    return path


@pytest.fixture(scope="module")
def measured(checkpoint: Checkpoint, labelled: Labelled) -> dict[PreprocessSpec, tuple[np.ndarray, np.ndarray]]:
    """Hits and log-probabilities of every variant of TRUE, in torch, once."""
    specs = variants(TRUE)
    found = measure(subject_of(checkpoint), specs, labelled)
    return {spec: (found.hits[:, i], found.log_probability[:, i]) for i, spec in enumerate(specs)}


# ---- the variants ----


@pytest.mark.parametrize(
    ("configured", "any_scale", "count", "resizes"),
    [
        (TRUE, True, 16, {(144, None), (128, None), (160, None), (None, (128, 128))}),
        (PreprocessSpec((256, 256), 288), True, 12, {(288, None), (256, None), (None, (256, 256))}),
        (
            PreprocessSpec((256, 192), None, (256, 192)),
            True,
            12 + 4 - 4,
            {(None, (256, 192)), (256, None), (288, None)},
        ),
        (PreprocessSpec((128, 128), None), True, 16 + 2, {(None, None), *((e, None) for e in (128, 144, 160))}),
        (PreprocessSpec((256, 256), 288, scale=1.0), True, 24, {(288, None), (256, None)}),
        (PreprocessSpec((256, 256), 288, scale=1.0), False, 12, {(288, None), (256, None)}),
    ],
)
def test_variants(
    configured: PreprocessSpec, any_scale: bool, count: int, resizes: set[tuple[int | None, tuple[int, int] | None]]
) -> None:
    found = variants(configured, any_scale)
    assert found[0] == configured and len(set(found)) == len(found) == count
    assert {spec.image_size for spec in found} == {configured.image_size}
    assert resizes <= {(spec.resize_shortest, spec.resize_exact) for spec in found}
    assert {spec.scale for spec in found} == ({configured.scale, 1 / 255} if any_scale else {configured.scale})
    for spec in found:  # one filter alone only where nothing is resized
        twin = replace(spec, resample="bicubic" if spec.resample == "bilinear" else "bilinear")
        assert (twin in found) == (spec.resize_shortest is not None or spec.resize_exact is not None)
        assert replace(spec, channel_order="BGR" if spec.channel_order == "RGB" else "RGB") in found


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (TRUE, "BGR, edge 144 -> crop 128x128, bilinear"),
        (PreprocessSpec((256, 192), None, (256, 192), "bicubic"), "RGB, squash to 256x192, bicubic"),
        (PreprocessSpec((128, 128), None, (144, 160)), "RGB, squash to 144x160 -> crop 128x128, bilinear"),
        (PreprocessSpec((128, 96), None, scale=1.0), "RGB, no resize, crop 128x96, bilinear, pixel * 1"),
    ],
)
def test_describe(spec: PreprocessSpec, text: str) -> None:
    assert spec.in_words() == text


# ---- the verdict ----


def test_a_margin_of_two_rows_is_that_of_a_paired_comparison() -> None:
    draw = np.random.default_rng(1)
    common, own = draw.normal(size=(2000, 1)), draw.normal(size=(2000, 2))
    values = 3 * common + own - (0, 0.2)
    found = judge((TRUE, replace(TRUE, resample="bicubic")), Measured(values > 0, values, {}))
    row = found.row(replace(TRUE, resample="bicubic"))
    assert row.gain_interval is not None
    expected = 1.96 * np.std(values[:, 0] - values[:, 1], ddof=1) / np.sqrt(2000)
    assert (row.gain_interval[1] - row.gain_interval[0]) / 2 == pytest.approx(expected, rel=0.05)
    assert row.gain == pytest.approx((values[:, 1] - values[:, 0]).mean())
    assert row.gain_interval[0] < -0.2 < row.gain_interval[1] < 0 and not row.possible and found.right
    hits = values > 0
    assert (row.gained, row.lost) == (int((hits[:, 1] & ~hits[:, 0]).sum()), int((hits[:, 0] & ~hits[:, 1]).sum()))
    assert row.top1_interval == confidence_interval(int(hits[:, 1].sum()), 2000)


def test_chance_is_rarely_called_a_difference() -> None:
    """Sixteen variants that differ by chance alone: the best of them looks better, and must not be believed."""
    draw, specs, wrong, beaten = np.random.default_rng(2), variants(TRUE), 0, 0
    for _ in range(60):
        values = draw.normal(size=(120, 1)) - draw.exponential(size=(120, 16))
        found = judge(specs, Measured(values > -1, values, {}))
        wrong += not found.right
        beaten += any(row.gain > 2 * np.std(values[:, 0] - values[:, 1]) / np.sqrt(120) for row in found.rows)
    assert beaten > 5  # what comparing each with the configured one alone would say
    assert wrong <= 3


@pytest.mark.parametrize(
    ("images", "hits", "logs", "right"),
    [
        (200, 0.1, 0.5, False),
        (200, 0.0, 0.5, False),  # as many right answers, and surer of them
        (200, -0.1, 0.5, True),  # surer, and less often right: no better
        (200, 0.1, -0.5, True),
        (19, 0.1, 0.5, True),  # too few pictures to say
        (20, 0.1, 0.5, False),
    ],
)
def test_what_replaces_the_configured_one(images: int, hits: float, logs: float, right: bool) -> None:
    """A second variant with ``hits`` more of the answers right and ``logs`` higher log-probabilities."""
    noise = np.random.default_rng(3).normal(size=(images, 2)) * 0.1
    sure = np.arange(images) < images // 2
    other = np.arange(images) < images // 2 + round(hits * images)
    values = noise - 1 + np.array([0, logs])
    found = judge((TRUE, replace(TRUE, channel_order="RGB")), Measured(np.stack([sure, other], 1), values, {}))
    assert found.right == right and found.winner == (TRUE if right else replace(TRUE, channel_order="RGB"))
    assert found.row(TRUE).possible == right
    assert (found.rows[0].gain_interval is None) == (images < 20)


WRONG = {
    "order": {"channel_order": "RGB"},
    "resize": {"resize_shortest": None, "resize_exact": (128, 128)},
    "order and resize": {"channel_order": "RGB", "resize_shortest": None, "resize_exact": (128, 128)},
    "order and filter": {"channel_order": "RGB", "resample": "bicubic"},
    "nothing": {},
    "filter": {"resample": "bicubic"},
}
FOUND = {
    "order": TRUE,
    "resize": TRUE,
    "order and resize": TRUE,
    "order and filter": replace(TRUE, resample="bicubic"),  # 60 pictures do not tell the filter: it stays
    "nothing": TRUE,
    "filter": replace(TRUE, resample="bicubic"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("what", WRONG)
def test_what_is_configured_wrongly_is_found(what: str, measured: dict[PreprocessSpec, Any]) -> None:
    configured = replace(TRUE, **WRONG[what])
    specs = variants(configured)
    assert set(specs) == set(measured)
    found = judge(specs, Measured(*(np.stack([measured[s][k] for s in specs], 1) for k in (0, 1)), {}))
    assert found.winner == FOUND[what] and found.row(TRUE).top1 == found.images == 60
    assert found.right == (configured == FOUND[what])
    assert "channel order" in found.certain and "filter" in found.open


def test_wrong_scale_is_found(checkpoint: Checkpoint, labelled: Labelled) -> None:
    configured = replace(TRUE, scale=1.0)
    specs = (configured, *(spec for spec in variants(configured) if spec.resize_shortest == 144))
    specs = tuple(dict.fromkeys(specs))
    found = judge(specs, measure(subject_of(checkpoint), specs, labelled[::2]))
    assert found.winner == TRUE and changes(configured, found.winner) == ["scale"] and "scale" in found.certain


# ---- what is measured ----


def test_figures_equal_an_independent_loop(
    checkpoint: Checkpoint, labelled: Labelled, measured: dict[PreprocessSpec, Any]
) -> None:
    spec = PreprocessSpec((128, 128), None, (128, 128), "bicubic", "RGB")
    for i in range(0, 60, 7):
        path, label = labelled[i]
        pixels = np.asarray(Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.BICUBIC))
        with torch.inference_mode():
            logits = checkpoint.model(torch.tensor(pixels / np.float32(255)).permute(2, 0, 1)[None])[0]
        hits, logs = measured[spec]
        assert hits[i] == (int(logits.argmax()) == label)
        assert logs[i] == pytest.approx(float(logits.log_softmax(-1)[label]), abs=1e-4)


def test_a_bundle_says_what_its_checkpoint_says(
    demo_bundle: Path, labelled: Labelled, measured: dict[PreprocessSpec, Any]
) -> None:
    """Its order of channels is part of the model: swapped pixels must be what the other order is in torch."""
    subject = open_subject(demo_bundle)
    specs = variants(subject.preprocess, subject.any_scale)
    found = measure(subject, specs, labelled[::10])
    assert set(specs) == set(measured) and not subject.any_scale
    for i, spec in enumerate(specs):
        assert found.log_probability[:, i] == pytest.approx(measured[spec][1][::10], abs=2e-3)


def test_square_pictures_cannot_tell_squashing_from_cropping(
    checkpoint: Checkpoint, photos: Path, tmp_path: Path
) -> None:
    with Image.open(photos / "cat.jpg") as image:
        image.crop((0, 0, 200, 200)).save(tmp_path / "a.png")
    specs = [PreprocessSpec((128, 128), 128), PreprocessSpec((128, 128), None, (128, 128))]
    found = measure(subject_of(checkpoint), specs, [(tmp_path / "a.png", 3)])
    assert found.log_probability[0, 0] == found.log_probability[0, 1]  # to the last digit


def test_unreadable_pictures_and_broken_weights(checkpoint: Checkpoint, labelled: Labelled, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    told: list[int] = []
    found = measure(subject_of(checkpoint), [TRUE], [(tmp_path / "a.png", 0), labelled[0]], told.append)
    assert list(found.unreadable) == [tmp_path / "a.png"] and found.hits.shape == (1, 1) and told == [1, 1]
    with pytest.raises(ImageError, match=r"none of the 1 images can be read; the first: .*a\.png"):
        measure(subject_of(checkpoint), [TRUE], [(tmp_path / "a.png", 0)])
    broken = load_checkpoint(str(DEMO))
    with torch.no_grad():
        broken.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(CheckFailed, match=r"returned NaN or Inf for .*; the weights are damaged"):
        measure(subject_of(broken), [TRUE], labelled[:1])


# ---- what is set ----


@pytest.mark.parametrize(
    ("file", "after", "keys"),
    [
        (HF, {"channel_order": "RGB"}, {"do_flip_channel_order"}),
        (HF, {"resample": "bicubic"}, {"resample"}),
        (HF, {"resize_shortest": 128}, {"size"}),
        (HF, {"resize_shortest": None, "resize_exact": (128, 128), "channel_order": "RGB"},
         {"size", "do_flip_channel_order"}),
        ({**HF, "do_rescale": False}, {"scale": 1 / 255}, {"do_rescale", "rescale_factor"}),
        ({**HF, "rescale_factor": 0.5}, {"scale": 1 / 255}, {"rescale_factor"}),
        ({k: v for k, v in HF.items() if k != "do_flip_channel_order"}, {"channel_order": "RGB"},
         {"do_flip_channel_order"}),
        ({"size": 144, "crop_size": 128, "resample": 2, "transformers_version": "4.20"}, {"resample": "bicubic"},
         {"resample"}),
        ({"size": [128, 128], "do_center_crop": False, "resample": 3}, {"resize_shortest": 144, "resize_exact": None},
         set(HF)),
    ],
)  # fmt: skip
def test_only_what_must_change_is_set(
    file: dict[str, Any], after: dict[str, Any], keys: set[str], tmp_path: Path
) -> None:
    path = tmp_path / PREPROCESSOR
    path.write_text(json.dumps(file))
    path.chmod(0o640)
    before = PreprocessSpec.from_hf(file, "file")
    changed = write_settings(tmp_path, before, replace(before, **after))
    content = json.loads(path.read_text())
    assert PreprocessSpec.from_hf(content, "file") == replace(before, **after)
    assert content == file | changed and set(changed) <= keys and (set(changed) == keys or keys == set(HF))
    assert path.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [path]


def test_a_folder_without_a_file_gets_a_whole_one(tmp_path: Path) -> None:
    assert write_settings(tmp_path, TRUE, replace(TRUE, channel_order="RGB")).keys() == HF.keys()
    content = json.loads((tmp_path / PREPROCESSOR).read_text())
    assert PreprocessSpec.from_hf(content, "file") == replace(TRUE, channel_order="RGB")
    assert settings(TRUE, TRUE) == {}


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"--set: .*nowhere.* cannot be written .*\"do_flip_channel_order\": false"):
        write_settings(tmp_path / "nowhere", TRUE, replace(TRUE, channel_order="RGB"))


# ---- the command ----


@pytest.fixture
def flipped(tmp_path: Path) -> Path:
    """The demo checkpoint, which wants BGR, called RGB."""
    folder = shutil.copytree(DEMO, tmp_path / "flipped")
    (folder / PREPROCESSOR).write_text(json.dumps(HF | {"do_flip_channel_order": False}))
    return folder


@pytest.mark.heavy
def test_a_flipped_checkpoint_is_found_and_set(flipped: Path, table: Path, run: Run) -> None:
    done = run("audit", flipped, table, "--set", "--json")
    assert done.returncode == 0 and json.loads((flipped / PREPROCESSOR).read_text()) == HF
    assert done.stderr.startswith(" WARNING  1 of 31 images cannot be read and count nowhere; the first: ")
    found = json.loads(done.stdout)
    assert (found["right"], found["set"], found["settings"]) == (False, True, {"do_flip_channel_order": True})
    assert (found["configured"]["channel_order"], found["winner"]["channel_order"]) == ("RGB", "BGR")
    assert [row["top1"] for row in found["rows"]] == sorted((row["top1"] for row in found["rows"]), reverse=True)

    before = (flipped / PREPROCESSOR).read_bytes()
    again = run("audit", flipped, table, "--set")
    assert again.returncode == 0 and (flipped / PREPROCESSOR).read_bytes() == before
    assert "keep the configured BGR, edge 144 -> crop 128x128, bilinear: no other is better" in again.stdout
    assert "that 30 images can show, and nothing was set." in again.stdout
    assert "these images decide: channel order" in again.stdout
    (marked,) = [line for line in again.stdout.splitlines() if "configured, possible" in line]
    assert marked.startswith("BGR, edge 144 -> crop 128x128, bilinear  100.0% (88.6 to 100.0)")


@pytest.mark.heavy
def test_a_bundle_on_swapped_pictures(demo_bundle: Path, labelled: Labelled, run: Run, tmp_path: Path) -> None:
    for path, label in labelled:
        (tmp_path / str(label)).mkdir(exist_ok=True)
        with Image.open(path) as image:
            Image.fromarray(np.asarray(image)[..., ::-1].copy()).save(tmp_path / str(label) / path.name)
    done = run("audit", demo_bundle, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    verdict, told, todo = done.stdout.splitlines()[-3:]
    wanted = "The weights want RGB, edge 144 -> crop 128x128, bilinear; the configured BGR, "
    assert verdict.startswith(f"wrong: channel order. {wanted}")
    assert told.startswith("these images decide: channel order")
    assert todo == (
        'next: set {"do_flip_channel_order": false} in the checkpoint\'s preprocessor_config.json and export again'
    )
    part = [run("audit", demo_bundle, tmp_path, "--images", "6", "--seed", seed, "--json").stdout for seed in (1, 1, 2)]
    assert part[0] == part[1] != part[2]
    few = json.loads(part[0])
    assert few["images"] == 6 and few["right"] and few["certain"] == []  # too few to say anything
    assert run("audit", demo_bundle, tmp_path, "--images", "1", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("words", "code", "wrong"),
    [
        ("{bundle} {table} --set", 2, "a finished bundle; accepted: the folder of a checkpoint"),
        ("demo {table} --variant 0.5 --set", 2, "--set cannot change 'demo', which is no folder; accepted"),
        ("apple/mobilevitv2-1.0 {table} --set", 2, "--set cannot change 'apple/mobilevitv2-1.0', which is no folder"),
        ("{bundle} {table} --variant 0.5", 2, "which knows its variant and classes; leave out"),
        ("{bundle} {table} --images 0", 2, "images is 0, accepted: 1 or more"),
        ("{tmp}/nowhere {table}", 2, "holds no manifest.json, so it is not a bundle, and: "),
        ("{tmp} {table}", 1, "expected model.safetensors or"),
        ("{bundle} {tmp}", 2, "holds no images; accepted"),
    ],
)
def test_refused(
    words: str, code: int, wrong: str, refused: Callable[..., str], demo_bundle: Path, table: Path, tmp_path: Path
) -> None:
    refused(code, wrong, "audit", *words.format(bundle=demo_bundle, table=table, tmp=tmp_path).split())


def test_mean_and_standard_deviation_stay() -> None:
    """Nothing here guesses them: every variant has the configured ones."""
    normal = replace(TRUE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    found = variants(normal)
    assert {(spec.mean, spec.std) for spec in found} == {(normal.mean, normal.std)}
    assert [replace(spec, mean=TRUE.mean, std=TRUE.std) for spec in found] == list(variants(TRUE))
