"""Which files ``--weights`` means: keywords, files, folders, and the names they get (the hub: test_sources_hub)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mvit2.checkpoint.locate import KEYWORDS, bundled_variants, locate
from mvit2.errors import CheckpointError, UsageError
from mvit2.tasks import SEGMENT

MEDIUM = "apple/mobilevitv2-1.0-imagenet1k-256"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
SAFE, PICKLE = "model.safetensors", "pytorch_model.bin"


# ---- keywords and what is none ----


def test_keywords() -> None:
    assert KEYWORDS == ("auto", "demo", "untrained") and bundled_variants() == ["0.5", "1.0", "xx-small"]
    demo, untrained = locate("demo", "0.5"), locate("untrained", "2.0")
    assert (demo.name, demo.origin, demo.warning) == ("demo20", "bundled", None)
    assert demo.weights and demo.config and demo.preprocessor and demo.weights.name == SAFE
    assert (untrained.name, untrained.weights, untrained.config) == ("untrained", None, None)


@pytest.mark.parametrize(
    ("weights", "wrong"),
    [
        ("dmeo", "Did you mean 'demo'"),
        ("Auto", "Did you mean 'auto'"),
        ("untraind", "Did you mean 'untrained'"),
        ("", r"--weights '' is no file"),
        ("nothing.pth", "is no file, no folder and no hub id"),
        ("models/nothing.safetensors", "is no file"),
        ("~nobody-of-that-name/x.bin", "is no file"),
        ("one/two/three", "is no file"),
        ("/absent/folder", "is no file"),
        ("-/-", "is no file"),
    ],
)
def test_no_such_weights(weights: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=wrong) as caught:
        locate(weights, "1.0")
    assert f"Accepted: auto, demo, untrained, a hub id such as {MEDIUM}, a file, a folder" in str(caught.value)


@pytest.mark.parametrize(("weights", "variant"), [("demo", None), ("demo", "0.5"), ("auto", "0.5")])
def test_the_bundled_segmentation_network(weights: str, variant: str | None) -> None:
    found = locate(weights, variant, SEGMENT)
    assert found.weights is not None and (found.weights.parent.name, found.name) == ("0.5-segment", "demo11")
    assert (found.warning is None) is (weights == "demo") and bundled_variants(SEGMENT) == ["0.5"]


def test_what_nobody_published() -> None:
    warning = locate("auto", "0.5", SEGMENT).warning
    assert warning is not None and "variant 0.5 of a segmentation network were published" in warning
    assert "published is apple/mobilevitv2-1.0-voc-deeplabv3." in warning
    with pytest.raises(
        CheckpointError, match=r"no checkpoint for variant 2\.0 .* --variant 0\.5 --weights demo"
    ) as caught:
        locate("auto", "2.0", SEGMENT)
    assert "network access" not in str(caught.value)


def test_an_unknown_variant() -> None:
    with pytest.raises(UsageError, match=r"unknown variant '0\.6': did you mean 0\.5 or 0\.75"):
        locate("auto", "0.6")


# ---- files and folders ----


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def seen(folder: Path, source: Any) -> tuple[Any, ...]:
    """name, origin, then the files relative to the folder."""
    assert str(folder) not in source.name + source.origin
    paths = (source.weights, source.config, source.preprocessor)
    return source.name, source.origin, *(p and os.path.relpath(p, folder) for p in paths)


@pytest.mark.parametrize(
    ("files", "named", "expected"),
    [
        # a file with a name of its own says who it is; what lies beside it may belong to another one
        (["best.pt"], "best.pt", ("best", "best.pt", "best.pt", None, None)),
        (["best.PTH"], "best.PTH", ("best", "best.PTH", "best.PTH", None, None)),
        ([CONFIG, PREPROCESSOR, "a.bin"], "a.bin", ("a", "a.bin", "a.bin", None, None)),
        (
            ["mobilevitv2_100.cvnets_in1k.safetensors"],
            "mobilevitv2_100.cvnets_in1k.safetensors",
            ("cvnets_in1k", *["mobilevitv2_100.cvnets_in1k.safetensors"] * 2, None, None),
        ),
        # one with the hub's name belongs to its folder
        ([CONFIG, PREPROCESSOR, SAFE], SAFE, ("my-net", SAFE, SAFE, CONFIG, PREPROCESSOR)),
        ([CONFIG, PICKLE], PICKLE, ("my-net", PICKLE, PICKLE, CONFIG, None)),
        ([PREPROCESSOR, SAFE], SAFE, ("my-net", SAFE, SAFE, None, None)),
        ([SAFE], SAFE, ("my-net", SAFE, SAFE, None, None)),
        # folders
        ([CONFIG, PREPROCESSOR, PICKLE, SAFE], "", ("my-net", "my net", SAFE, CONFIG, PREPROCESSOR)),
        ([CONFIG, PICKLE, "optimizer.pt", "a.safetensors"], "", ("my-net", "my net", PICKLE, CONFIG, None)),
        ([CONFIG, "a.pth"], "", ("my-net", "my net", "a.pth", CONFIG, None)),
        (["A.BIN", "notes.txt"], "", ("my-net", "my net", "A.BIN", None, None)),
    ],
)
@pytest.mark.parametrize("way", ["absolute", "relative", "home"])
def test_files_and_folders(
    files: list[str],
    named: str,
    expected: tuple[Any, ...],
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = put(tmp_path / "my net", *files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    start = {"absolute": f"{tmp_path}/", "relative": "", "home": "~/"}[way]
    assert seen(folder, locate(f"{start}my net/{named}", "1.0")) == expected


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path / "mobilevitv2-1.0-birds", CONFIG, SAFE)
    put(folder / "below")
    for start, word in ((folder, "."), (folder, SAFE), (folder / "below", ".."), (folder / "below", f"../{SAFE}")):
        monkeypatch.chdir(start)
        assert locate(word, "1.0").name == "birds", word


def test_a_link_belongs_to_the_folder_it_is_in(tmp_path: Path) -> None:
    """So does the hub's cache keep its files: snapshots/COMMIT/model.safetensors points into blobs/."""
    blobs, folder = put(tmp_path / "blobs", "abc"), put(tmp_path / "snapshot", CONFIG)
    (folder / SAFE).symlink_to(blobs / "abc")
    assert seen(folder, locate(str(folder / SAFE), "1.0")) == ("snapshot", SAFE, SAFE, CONFIG, None)


def test_a_config_that_is_not_read_is_said(tmp_path: Path) -> None:
    folder = put(tmp_path / "net", CONFIG, "a.bin")
    assert "config.json beside a.bin is not read" in str(locate(str(folder / "a.bin"), "1.0").warning)
    assert locate(str(folder), "1.0").warning is None
    assert locate(str(put(tmp_path / "bare", "a.bin") / "a.bin"), "1.0").warning is None


def test_a_folder_that_is_named_like_a_repository_is_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / MEDIUM, CONFIG, SAFE)
    monkeypatch.chdir(tmp_path)
    assert seen(folder, locate(MEDIUM, "1.0"))[:3] == ("imagenet1k-256", MEDIUM.split("/")[1], SAFE)


def test_a_name_that_is_no_text_can_still_be_written_down(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/caf\xe9.pt"
    open(file, "wb").close()
    source = locate(os.fsdecode(file), "1.0")
    assert (source.name, source.origin.encode()) == ("caf", b"caf?.pt")


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ([], r"found none"),
        (["notes.txt", CONFIG], r"found none"),
        (["a.bin", "b.pth"], r"found a\.bin, b\.pth\. Name one FILE"),
        ([f"{i}.pt" for i in range(5)], r"found 0\.pt, 1\.pt, 2\.pt, \.\.\.\. Name one FILE"),
        (
            [CONFIG, *(f"model-0000{i}-of-00002.safetensors" for i in (1, 2))],
            r"found model-00001-of-00002\.safetensors, .* several files needs its model\.safetensors\.index\.json",
        ),
    ],
)
def test_a_folder_without_a_clear_file(files: list[str], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=wrong) as caught:
        locate(str(put(tmp_path / "net", *files)), "1.0")
    assert f"expected {SAFE} or {PICKLE}, or exactly one file" in str(caught.value)


@pytest.mark.parametrize("name", ["model.onnx", "model.h5", "model", "weights.safetensors.tmp", CONFIG])
def test_another_kind_of_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown kind of file; accepted: \.safetensors \.bin \.pt \.pth \.ckpt \.tar, or a folder"
    ):
        locate(str(put(tmp_path, name) / name), "1.0")


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("mobilevitv2-1.0-imagenet1k-256", "imagenet1k-256"),
        ("mobilevitv2-1.25-imagenet1k-256", "imagenet1k-256"),
        ("mobilevitv2_150_384_in22ft1k", "384_in22ft1k"),
        ("mobilevitv2_050.cvnets_in1k", "cvnets_in1k"),
        ("MobileViTv2-2.0", "custom"),
        ("mobilevit_v2-0.5", "custom"),
        ("birds", "birds"),
        ("birds & bees (v2)", "birds-bees-v2"),
        ("Vögel", "V-gel"),
        ("鳥", "custom"),
        ("..hidden..", "hidden"),
        ("-rf", "rf"),
        ("a\nb\tc", "a-b-c"),
        ("50%;$(id)", "50-id"),
    ],
)
def test_names_are_safe_in_a_path(stem: str, name: str, tmp_path: Path) -> None:
    assert locate(str(put(tmp_path, f"{stem}.pt") / f"{stem}.pt"), "1.0").name == name
    assert locate(str(put(tmp_path / stem, "a.pt")), "1.0").name == name
