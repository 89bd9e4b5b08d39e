"""Whatever a person gets wrong: one line that says what, the right exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., CompletedProcess[str]]
NAME = "mobilevitv2-0.5-demo20"


class Evil:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_pictures(folder: Path, photo: Path) -> None:
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("hello\n")
    (folder / "truncated.jpg").write_bytes(photo.read_bytes()[:3000])
    Image.new("RGB", (64, 64), "red").save(folder / "good.png")
    content = bytearray((folder / "good.png").read_bytes())
    content[content.index(b"IDAT") + 8] ^= 0xFF
    (folder / "corrupt.png").write_bytes(content)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b""))
    (folder / "drawing.svg").write_text("<svg/>")
    (folder / "nothing").mkdir()


def write_models(folder: Path, bundle: Path) -> None:
    for name in ("garbage.onnx", "garbage.tflite", "random.bin", "random"):
        (folder / name).write_bytes(bytes(range(256)) * 8)
    for name in ("model_float32.onnx", "model_float32.tflite"):
        (folder / f"truncated{Path(name).suffix}").write_bytes((bundle / name).read_bytes()[:100_000])


def write_checkpoints(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    import mvit2

    demo = Path(mvit2.__file__).parent / "checkpoints" / "0.5" / "model.safetensors"
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, folder / "resnet.safetensors")
    misshapen = {**load_file(demo), "classifier.weight": torch.zeros(20, 128)}
    save_file(misshapen, folder / "misshapen.safetensors")
    (folder / "truncated.safetensors").write_bytes(demo.read_bytes()[:50_000])
    shutil.copy(demo, folder / "good.safetensors")
    evil = Evil(folder / "i-was-run")
    (folder / "evil.bin").write_bytes(pickle.dumps(evil, protocol=2))
    torch.save({"stem.conv.weight": evil}, folder / "evil.pt")
    pickle.loads((folder / "evil.bin").read_bytes())
    evil.mark.unlink()  # which fails if the pickle did nothing: then it would prove nothing
    (folder / "few.txt").write_text("one\ntwo\n")


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    change(content)
    replace(bundle / "manifest.json", json.dumps(content).encode())


def replace(file: Path, content: bytes) -> None:
    file.unlink()  # it is a hard link to the session's bundle
    file.write_bytes(content)


def rename_model(path: str) -> Callable[[Path], None]:
    return lambda bundle: edit_manifest(bundle, lambda m: m["artifacts"][0]["file"].update(path=path))


def change_byte(file: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        content = bytearray((bundle / file).read_bytes())
        content[len(content) // 2] ^= 1
        replace(bundle / file, bytes(content))

    return change


def link_outside(bundle: Path) -> None:
    outside = bundle.with_name("outside.onnx")
    (bundle / "model_float32.onnx").rename(outside)
    (bundle / "model_float32.onnx").symlink_to(outside)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no-manifest": lambda b: (b / "manifest.json").unlink(),
    "not-json": lambda b: replace(b / "manifest.json", b"{"),
    "a-list": lambda b: replace(b / "manifest.json", b"[]"),
    "newer": lambda b: edit_manifest(b, lambda m: m.update(schema_version=5)),
    "changed-model": change_byte("model_float32.onnx"),
    "changed-labels": change_byte("labels.txt"),
    "changed-golden": change_byte("golden/cat.png"),
    "no-model": lambda b: (b / "model_float32.onnx").unlink(),
    "no-labels": lambda b: (b / "labels.txt").unlink(),
    "upwards": rename_model("../../etc/passwd"),
    "absolute": rename_model("/etc/passwd"),
    "link": link_outside,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, demo_bundle: Path, photos: Path) -> Path:
    """A folder of everything that can be wrong: ``bad/`` files, ``b/`` bundles, ``out/`` places to write to."""
    world = tmp_path_factory.mktemp("world")
    for folder in ("bad", "b", "out", "taken", "file-there", "link-there", "notes-there"):
        (world / folder).mkdir()
    write_pictures(world / "bad", photos / "cat.jpg")
    write_models(world / "bad", demo_bundle)
    write_checkpoints(world / "bad")
    for name, damage in DAMAGES.items():
        damage(Path(shutil.copytree(demo_bundle, world / "b" / name, copy_function=os.link)))
    shutil.copytree(demo_bundle, world / "taken" / NAME, copy_function=os.link)
    (world / "file-there" / NAME).write_text("a file")
    (world / "link-there" / NAME).symlink_to(world / "taken" / NAME)
    (world / "notes-there" / NAME).mkdir()
    (world / "notes-there" / NAME / "thesis.txt").write_text("the only copy")
    return world


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below, hidden ones too, with its size and the time of its last change."""
    return {str(p.relative_to(folder)): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*")}


OPTIONS = "0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, xx-small, x-small, small"
EDGES = "multiples of 32 from 64 to 1024; the nearest is"
DEMO = "export --weights demo --variant 0.5 --format onnx"
PICTURES = "JPEG, PNG, WebP, BMP"
MAKE = "Make a bundle with: mvit2-export"
AGAIN = "Export or copy the bundle again."

# Arguments, exit code, words of the error. Every export gets --output {w}/out unless it names another place.
USAGE = [
    ("--bogus", 2, ["No such option: --bogus. See --help."]),
    ("exprt", 2, ["No such command 'exprt'. Did you mean 'export' or 'report'? See mvit2 --help."]),
    ("export 0.5", 2, ["unexpected extra argument(s) (0.5). See --help."]),
    ("export --formt onnx", 2, ["No such option: --formt", "--format", "See --help."]),
    ("export --variant 1.1", 2, ["unknown variant '1.1': did you mean 1.0 or 1.25? Choose one of", OPTIONS]),
    ("export --variant big", 2, ["unknown variant 'big'; choose one of", OPTIONS]),
    ("export --format tflte", 2, ["unknown --format 'tflte'. Did you mean 'tflite'? Choose onnx, tflite, ort or all."]),
    ("export --image-size 0", 2, ["image size 0 ", EDGES, "64."]),
    ("export --image-size -64", 2, ["image size -64 ", EDGES, "64."]),
    ("export --image-size 255", 2, ["image size 255 ", EDGES, "256."]),
    ("export --image-size 100", 2, ["image size 100 ", EDGES, "96."]),
    ("export --image-size 100000", 2, ["image size 100000 ", EDGES, "1024."]),
    ("export --image-size 64x", 2, ["--image-size is '64x'", "HEIGHTxWIDTH such as 256x192."]),
    ("export --calibration {w}/bad/good.png", 2, ["good.png is no folder; name one with images"]),
    ("export --eval {w}/bad/none", 2, ["--eval", "/bad/none does not exist; check the path."]),
    ("export --labels {w}/bad/none", 1, ["--labels", "/bad/none cannot be read", "check the path."]),
    ("export --output {w}/bad/good.png/x", 1, ["good.png is a file; name a folder."]),
    ("export --image-size abc", 2, ["--image-size is 'abc'", "HEIGHTxWIDTH such as 256x192."]),
    ("export --opset 3", 2, ["--opset is 3, accepted: 13 to 20."]),
    ("export --opset 99", 2, ["--opset is 99, accepted: 13 to 20."]),
    ("export --opset new", 2, ["'--opset': 'new' is not a whole number. See --help."]),
    ("export --output {w}/out --opset", 2, ["'--opset' requires an argument. See --help."]),
    ("export --dynamic-batch --format tflite", 2, ["--dynamic-batch is for ONNX", "add --format onnx."]),
    ("export --io imag", 2, ["unknown --io 'imag'. Did you mean 'image'? Choose image or tensor."]),
    ("export --weights dmo", 2, ["--weights 'dmo'", "Did you mean 'demo'?", "auto, demo, untrained, a hub id"]),
    ("export --weights {w}/bad/good.png", 2, ["unknown kind of file; accepted: .safetensors .bin .pt .pth"]),
    ("predict", 2, ["Missing argument 'BUNDLE'. See --help."]),
    ("predict {bundle}", 2, ["Missing argument 'IMAGE...'. See --help."]),
    ("predict {bundle} {w}/bad/good.png --top-k 0", 2, ["--top-k is 0, accepted: 1 or more."]),
    ("predict {bundle} {w}/bad/good.png --top-k few", 2, ["'--top-k': 'few' is not a whole number. See --help."]),
    ("predict {bundle} {w}/bad/good.png --threads 0", 2, ["threads is 0, accepted: 1 "]),
    ("check {bundle} --threads -1", 2, ["threads is -1, accepted: 1 "]),
    ("sensitivity --weights demo --plot {w}/none/a.png", 1, ["a.png cannot be written: there is no folder", "make it"]),
    ("sensitivity --weights demo --plot {w}/a.txt", 1, ["a.txt is of an unknown kind, accepted: .png, .svg, .pdf"]),
]
PICTURE = [
    ("predict {bundle} {w}/bad/none.jpg", 1, ["none.jpg' does not exist", PICTURES, "check the path"]),
    ("predict {bundle} {w}/bad/nothing", 2, ["/nothing' is a folder without images", ".jpg .jpeg .png"]),
    ("predict {bundle} https://example.com/a.jpg", 2, ["'https://example.com/a.jpg' is a URL", "curl -LO"]),
    ("predict {bundle} {w}/bad/good.png --format cvs", 2, ["unknown --format 'cvs'. Did you mean 'csv'?"]),
    ("predict {bundle} {w}/bad/good.png --every -1", 2, ["--every is -1.0, accepted: 0 (every frame) or more"]),
    ("predict {bundle} {w}/bad/good.png --frames 0", 2, ["--frames is 0, accepted: 1 or more."]),
    ("predict {bundle} {w}/bad/empty.jpg", 1, ["empty.jpg' is empty (0 bytes)", PICTURES, "fetch it again"]),
    ("predict {bundle} {w}/bad/text.jpg", 1, ["text.jpg' is a text file", PICTURES, "convert it"]),
    ("predict {bundle} {w}/bad/truncated.jpg", 1, ["truncated.jpg' is damaged or truncated", "fetch it again"]),
    ("predict {bundle} {w}/bad/corrupt.png", 1, ["corrupt.png' is damaged or truncated", "fetch it again"]),
    ("predict {bundle} {w}/bad/bomb.png", 1, ["bomb.png' is too large", "make it smaller first"]),
    ("predict {bundle} {w}/bad/drawing.svg", 1, ["drawing.svg' is an SVG file", PICTURES, "convert it"]),
]
BUNDLE = [
    (
        "predict {bundle} {w}/bad/good.png --artifact model_flaot16.tflite",
        1,
        ["no artifact 'model_flaot16.tflite'. Did you mean 'model_float16.tflite'", "It holds: model_float32.onnx, "],
    ),
    ("predict {w}/b/none {w}/bad/good.png", 1, ["/b/none does not exist", MAKE]),
    ("predict {w}/bad/good.png {w}/bad/good.png", 1, ["good.png is no folder with a manifest.json", MAKE]),
    ("predict {w}/b/no-manifest {w}/bad/good.png", 1, ["no-manifest holds no manifest.json", MAKE]),
    ("predict {w}/b/not-json {w}/bad/good.png", 1, ["not readable JSON (Expecting", "Export the bundle again."]),
    ("predict {w}/b/a-list {w}/bad/good.png", 1, ["manifest is '[]', expected an object"]),
    ("predict {w}/b/newer {w}/bad/good.png", 1, ["schema_version 5, this mvit2 reads 1 to 4: upgrade mvit2."]),
    ("predict {w}/b/changed-model {w}/bad/good.png", 1, ["model_float32.onnx was changed: its sha256", AGAIN]),
    ("predict {w}/b/changed-labels {w}/bad/good.png", 1, ["labels.txt was changed: its sha256", AGAIN]),
    ("predict {w}/b/no-model {w}/bad/good.png", 1, ["model_float32.onnx is missing", AGAIN]),
    ("predict {w}/b/no-labels {w}/bad/good.png", 1, ["labels.txt is missing", AGAIN]),
    ("predict {w}/b/upwards {w}/bad/good.png", 1, ["'../../etc/passwd'; accepted are plain relative paths"]),
    ("predict {w}/b/absolute {w}/bad/good.png", 1, ["'/etc/passwd'; accepted are plain relative paths"]),
    ("predict {w}/b/link {w}/bad/good.png", 1, ["model_float32.onnx leads out of the bundle", "without links."]),
    ("check {w}/b/none", 1, ["/b/none does not exist", MAKE]),
    ("check {w}/b/no-manifest", 1, ["no-manifest holds no manifest.json", MAKE]),
    ("check {w}/b/newer", 1, ["schema_version 5, this mvit2 reads 1 to 4: upgrade mvit2."]),
    ("check {w}/b/changed-model", 1, ["model_float32.onnx was changed: its sha256", AGAIN]),
    ("check {w}/b/changed-golden", 1, ["golden/cat.png was changed: its sha256", AGAIN]),
    ("check {w}/b/no-model", 1, ["model_float32.onnx is missing", AGAIN]),
    ("check {w}/b/upwards", 1, ["'../../etc/passwd'; accepted are plain relative paths"]),
    ("check {w}/b/link", 1, ["model_float32.onnx leads out of the bundle", "without links."]),
    ("info {w}/b/none-0.5", 1, ["/b/none-0.5 does not exist", MAKE]),
    ("info {w}/b/none.onnx", 1, ["/b/none.onnx does not exist", MAKE]),
    ("info {w}/b/not-json", 1, ["not readable JSON (Expecting", "Export the bundle again."]),
    ("info {w}/b/newer", 1, ["schema_version 5, this mvit2 reads 1 to 4: upgrade mvit2."]),
    ("info {w}/bad/random", 2, ["random: unknown kind of model file, accepted: .onnx, .ort, .tflite."]),
    ("info {w}/bad/garbage.onnx", 1, ["garbage.onnx: ONNX Runtime cannot open it"]),
    ("info {w}/bad/truncated.onnx", 1, ["truncated.onnx: ONNX Runtime cannot open it"]),
    ("info {w}/bad/garbage.tflite", 1, ["garbage.tflite: LiteRT cannot open it"]),
    ("info {w}/bad/truncated.tflite", 1, ["truncated.tflite: LiteRT cannot open it"]),
]
CHECKPOINT = [
    (
        "export --weights {w}/bad/resnet.safetensors",
        1,
        ["not a MobileViTV2 or MobileViT classifier", "first of which is 'conv1"],
    ),
    ("export --weights {w}/bad/misshapen.safetensors", 1, ["do not fit", "classifier.weight is 20x128, expected 20x2"]),
    ("export --weights {w}/bad/truncated.safetensors", 1, ["not a complete safetensors file", "fetch it again."]),
    ("export --weights {w}/bad/good.safetensors --variant 1.0", 1, ["holds width 0.5, --variant says 1.0: correct it"]),
    (
        "export --weights {w}/bad/evil.bin",
        1,
        ["evil.bin: refused", "(getattr) that loading would run", "weights.pth"],
    ),
    (
        "export --weights {w}/bad/evil.pt",
        1,
        ["evil.pt: refused", "(getattr) that loading would run", "weights.pth"],
    ),
    (
        "export --weights demo --variant 2.0",
        1,
        ["variant 2.0 of an image classifier comes with mvit2", "--variant 0.5"],
    ),
    (f"{DEMO} --labels {{w}}/bad/few.txt", 1, ["few.txt has 2 lines, the network 20 classes"]),
]
OUTPUT = [
    (f"{DEMO} --output {{w}}/taken", 1, [f"{NAME} exists already; replace it with --overwrite"]),
    (f"{DEMO} --output {{w}}/file-there", 1, [f"{NAME} is a file or a link; remove it"]),
    (f"{DEMO} --output {{w}}/file-there --overwrite", 1, [f"{NAME} is a file or a link; remove it"]),
    (f"{DEMO} --output {{w}}/link-there --overwrite", 1, [f"{NAME} is a file or a link; remove it"]),
    (f"{DEMO} --output {{w}}/bad/text.jpg", 1, ["text.jpg is a file; name a folder."]),
    (f"{DEMO} --output {{w}}/bad/text.jpg/deeper", 1, ["text.jpg is a file; name a folder."]),
    (
        f"{DEMO} --output {{w}}/notes-there --overwrite",
        1,
        [f"{NAME} is not a bundle (no manifest.json)", "will not replace it"],
    ),
]
ROWS = [*USAGE, *PICTURE, *BUNDLE, *CHECKPOINT, *OUTPUT]


def arguments(row: str, world: Path, bundle: Path) -> list[str]:
    place = [] if "--output" in row or not row.startswith("export") else ["--output", str(world / "out")]
    return [*row.format(w=world, bundle=bundle).split(), *place]


@pytest.mark.parametrize(("row", "code", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_one_line_and_nothing_left(
    row: str, code: int, words: list[str], refused: Callable[..., str], world: Path, demo_bundle: Path
) -> None:
    before = tree(world)
    refused(code, words, *arguments(row, world, demo_bundle))
    assert tree(world) == before


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("exprt", 2),
        ("export --bogus", 2),
        ("export --opset new", 2),
        ("export --opset 99", 2),
        ("predict {bundle} {w}/bad/empty.jpg", 1),
        ("check {w}/b/changed-model", 1),
        ("info {w}/bad/garbage.tflite", 1),
        (f"{DEMO} --output {{w}}/taken", 1),
    ],
)
def test_with_json_the_error_is_one_object(row: str, code: int, run: Run, world: Path, demo_bundle: Path) -> None:
    before = tree(world)
    done = run(*arguments(row, world, demo_bundle), "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == code
    assert done.stderr == f"error: {answer['error']}\n"
    assert answer == {"error": answer["error"], "differences": []}
    assert tree(world) == before
