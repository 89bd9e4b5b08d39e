"""Folders and CSV files of pictures: which are found, which class each has, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mvit2.errors import ImageError, UsageError
from mvit2.image.dataset import SUFFIXES, empty_classes, find_images, labelled_images, unread_images

LABELS = ["tench", "Great_White shark", "crane", "hen", "crane", "7"]


def touch(root: Path, *names: str) -> None:
    """Nothing here looks into a picture: its name is enough."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


# ---- which pictures ----


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b.jpg", "a.png", "c.webp", "d.bmp", "e.jpeg"], ["a.png", "b.jpg", "c.webp", "d.bmp", "e.jpeg"]),
        (["A.JPG", "b.Png"], ["A.JPG", "b.Png"]),
        (["x/y/z.jpg", "x/a.jpg", "top.jpg"], ["top.jpg", "x/a.jpg", "x/y/z.jpg"]),
        (["a.jpg", "notes.txt", "b.gif", "c.tiff", "jpg", "d.jpg.part"], ["a.jpg"]),
        (["cat.jpg", "._cat.jpg", ".hidden.png"], ["cat.jpg"]),
        (["a/x.jpg", "a/.ipynb_checkpoints/x.jpg", ".ipynb_checkpoints/x.jpg", "__MACOSX/x.jpg"], ["a/x.jpg"]),
        (["folder.jpg/a.jpg"], ["folder.jpg/a.jpg"]),
        (["ä ö.jpg", "猫.png"], ["ä ö.jpg", "猫.png"]),
    ],
    ids=[
        "suffixes",
        "capitals",
        "subfolders",
        "others",
        "hidden",
        "hidden folders",
        "a folder with a suffix",
        "unicode",
    ],
)
def test_find(names: list[str], expected: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == expected


def test_every_suffix_is_one_that_pillow_knows() -> None:
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in SUFFIXES} == {"JPEG", "PNG", "WEBP", "BMP"}


@pytest.mark.parametrize(
    ("names", "asked", "wrong"),
    [
        (["a.txt"], ".", r"holds no images; accepted: \.jpg, .*\.bmp, in subfolders, too"),
        (
            ["a.gif", "b.GIF", "c.tiff", ".d.gif"],
            ".",
            r"no images that can be read, only 2 \.gif, 1 \.tiff; accepted",
        ),
        ([], ".", "holds no images"),
        ([], "nowhere", r"nowhere is no folder; name one with images \(\.jpg"),
        (["a.jpg"], "a.jpg", r"a\.jpg is no folder"),
    ],
)
def test_find_refuses(names: list[str], asked: str, wrong: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=wrong) as caught:
        find_images(tmp_path / asked)
    assert "\n" not in str(caught.value)


# ---- which class ----


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tench", 0),
        ("TENCH", 0),
        ("great white shark", 1),
        ("Great_White_Shark", 1),
        ("hen", 3),
        ("3", 3),
        ("2", 2),
        ("4", 4),
        ("7", 5),  # a label wins over an index that does not exist
    ],
)
def test_a_class_is_called_by_label_or_index(name: str, index: int, tmp_path: Path) -> None:
    touch(tmp_path, f"{name}/deep/a.jpg", f"{name}/b.png")
    found = labelled_images(tmp_path, LABELS)
    assert found == [(tmp_path / name / "b.png", index), (tmp_path / name / "deep" / "a.jpg", index)]
    (tmp_path / "list.csv").write_text(f"path,label\n{name}/b.png,{name}\n")
    assert labelled_images(tmp_path / "list.csv", LABELS) == [(tmp_path / name / "b.png", index)]


def test_a_label_that_is_a_number_wins_over_the_index(tmp_path: Path) -> None:
    touch(tmp_path, "0/a.jpg", "1/a.jpg", "2/a.jpg")
    assert [index for _, index in labelled_images(tmp_path, ["1", "0", "x"])] == [1, 0, 2]


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["tenhc/a.jpg"], r"'tenhc' is none of the network's 6 classes\. Did you mean 'tench'"),
        (["6/a.jpg"], r"'6' is none of the network's 6 classes"),
        (["-1/a.jpg"], r"'-1' is none of the network's 6 classes"),
        (["crane/a.jpg"], r"'crane' is the label of the classes \[2, 4\]; accepted: the index of one"),
        (["hen/a.jpg", "b.jpg"], r"b\.jpg lies in no class folder; accepted: .*/CLASS/IMAGE, or a CSV file"),
        (["hen/a.txt"], "holds no images"),
    ],
)
def test_folders_refused(names: list[str], wrong: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=wrong) as caught:
        labelled_images(tmp_path, LABELS)
    assert "\n" not in str(caught.value)


# ---- synsets ----

CRANES = "n02012849 crane\nn03126707 crane\n"


@pytest.mark.parametrize(
    ("labels", "file", "folder", "index"),
    [
        (["hen", "tench"], "n01440764 tench\n", "n01440764", 1),
        (["hen", "Tench, Tinca tinca"], "n01440764 tench, Tinca tinca\n", "n01440764", 1),
        (["hen", "tench"], "n01440764 tench, Tinca tinca\n", "N01440764", 1),
        (["hen", "Tinca_tinca"], "n01440764\ttench, Tinca tinca\r\n\r\n", "n01440764", 1),
        (["hen", "tench"], "\ufeffn01440764 tench\n", "n01440764", 1),
        (["hen", "tench"], "n01440764 tench\n", "hen", 0),  # labels stay as good as ids
        (["LABEL_0", "LABEL_1"], "n01440764 1\n", "n01440764", 1),
        (["n01440764", "n01514668"], None, "n01514668", 1),
        (["n01440764", "n01514668"], "n01440764 tench\nn01514668 hen", "n01514668", 1),
        (["n01440764", "n01514668"], "n01514668 hen\nn01440764 tench", "n01514668", 1),
        (["crane", "crane"], CRANES, "n02012849", 0),  # the same label: told apart by the order
        (["crane", "crane"], CRANES, "n03126707", 1),
        (["hen", "tench"], "n01514668 hen\nn01440764 tench\nn02084071 dog\n", "n01440764", 1),
    ],
)
def test_synsets(labels: list[str], file: str | None, folder: str, index: int, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    touch(pictures, f"{folder}/a.jpg")
    if file is not None:
        (tmp_path / "synsets.txt").write_bytes(file.encode())
    found = labelled_images(pictures, labels, None if file is None else tmp_path / "synsets.txt")
    assert found == [(pictures / folder / "a.jpg", index)]


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        (None, r"'n01440764' is none of the network's 6 classes\. Say what ids mean: --synsets FILE"),
        ("n01514668 hen\n", r"'n01440764' is none of the network's 6 classes\. Name it in .*synsets\.txt\.$"),
        ("n01440764 ostrich, Struthio\n", r"synsets\.txt calls it 'ostrich, struthio': give it the label or the index"),
        ("n01440764 crane\n", r"'n01440764' is the label of the classes \[2, 4\]; accepted: the index of one"),
        ("n01440764 tench\nn01514668\n", r"line 2, 'n01514668', has no name; accepted: a line such as 'n01440764 te"),
        ("n01440764 tench\n\nn01440764 hen", "line 3, 'n01440764 hen', is there twice; accepted"),
        ("\n", "synsets.txt is empty; accepted: a line such as"),
        (b"\xff\xd8", "cannot be read as text .*; accepted: a line such as"),
        ("", "is empty"),
    ],
)
def test_synsets_refused(file: str | bytes | None, wrong: str, tmp_path: Path) -> None:
    touch(tmp_path, "n01440764/a.jpg")
    if file is not None:
        (tmp_path / "synsets.txt").write_bytes(file if isinstance(file, bytes) else file.encode())
    with pytest.raises(UsageError, match=wrong) as caught:
        labelled_images(tmp_path, LABELS, None if file is None else tmp_path / "synsets.txt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "empty"),
    [
        (["hen/a.jpg"], []),
        (["hen/a.jpg", "crane/notes.txt", "7/._a.jpg", "ä/x/y.gif"], ["7", "crane", "ä"]),
        (["hen/deep/a.jpg", ".git/x", "list.csv"], []),
    ],
)
def test_empty_classes(names: list[str], empty: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert empty_classes(tmp_path, find_images(tmp_path)) == empty


def test_a_list_has_no_empty_classes(tmp_path: Path) -> None:
    touch(tmp_path, "list.csv", "hen/a.jpg", "crane/x")
    assert empty_classes(tmp_path / "list.csv", [tmp_path / "hen" / "a.jpg"]) == []


# ---- CSV ----

ROW = "path,label\na.jpg,hen\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROW.encode(), [("a.jpg", 3)]),
        (b"\xef\xbb\xbf" + ROW.encode(), [("a.jpg", 3)]),
        (ROW.replace("\n", "\r\n").encode(), [("a.jpg", 3)]),
        (b"label,width,path\nhen,5,a.jpg\n", [("a.jpg", 3)]),
        (b"path,label\nx/b.jpg,0\na.jpg,3\na.jpg,hen", [("x/b.jpg", 0), ("a.jpg", 3), ("a.jpg", 3)]),
        (b'path,label\n"x/c, d.jpg","great white shark"\n', [("x/c, d.jpg", 1)]),
        (b"path,label\n\na.jpg, hen \n", [("a.jpg", 3)]),
    ],
    ids=["plain", "byte order mark", "CRLF", "columns", "order and repetition", "quotes", "blanks"],
)
def test_csv(text: bytes, expected: list[tuple[str, int]], tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "x/b.jpg", "x/c, d.jpg")
    (tmp_path / "list.csv").write_bytes(text)
    assert labelled_images(tmp_path / "list.csv", LABELS) == [(tmp_path / path, index) for path, index in expected]


def test_csv_with_an_absolute_path(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jpg", "lists/x")
    (tmp_path / "lists" / "list.csv").write_text(f"path,label\n{tmp_path / 'elsewhere' / 'a.jpg'},0\n")
    assert labelled_images(tmp_path / "lists" / "list.csv", LABELS) == [(tmp_path / "elsewhere" / "a.jpg", 0)]


@pytest.mark.parametrize(
    ("text", "error", "wrong"),
    [
        (b"", UsageError, "needs a first line with the columns path and label, and at least one more line"),
        (b"path,label\n", UsageError, "needs a first line"),
        (b"file,label\na.jpg,hen\n", UsageError, "needs a first line"),
        (b"path;label\na.jpg;hen\n", UsageError, "needs a first line"),
        (b"a.jpg,hen\na.jpg,hen\n", UsageError, "needs a first line"),
        (b"path,label\nb.jpg,hen\n", ImageError, r"names .*b\.jpg, which is no file; accepted: paths relative to"),
        (b"path,label\n,hen\n", ImageError, r"which is no file"),
        (b"path,label\na.jpg,ostrich\n", UsageError, "'ostrich' is none of the network's 6 classes"),
        (b"path,label\na.jpg\n", UsageError, "'' is none of the network's 6 classes"),
        (
            b"\xff\xd8\xff\xe0 a picture",
            UsageError,
            r"read as CSV .*; accepted: a folder of labelled images, or CSV\.$",
        ),
        (None, UsageError, "cannot be read as CSV .*No such file"),
    ],
)
def test_csv_refused(text: bytes | None, error: type[Exception], wrong: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    file = tmp_path / "list.csv"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(error, match=wrong) as caught:
        labelled_images(file, LABELS)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["great white shark", "Great-White_Shark", " GREAT  WHITE SHARK", "great_white-shark"],
)
def test_names_compare_as_a_person_reads_them(name: str, tmp_path: Path) -> None:
    touch(tmp_path, f"{name}/a.jpg")
    assert [index for _, index in labelled_images(tmp_path, LABELS)] == [1]


def test_an_accent_is_one_however_it_is_spelled(tmp_path: Path) -> None:
    touch(tmp_path, "Cafe\u0301/a.jpg")
    assert [index for _, index in labelled_images(tmp_path, ["x", "caf\u00e9"])] == [1]


def test_headings_of_a_list_compare_so_too(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "list.csv").write_text(" Path , LABEL\n a.jpg , tench \n")
    assert labelled_images(tmp_path / "list.csv", LABELS) == [(tmp_path / "a.jpg", 0)]


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "tench/a.jpg", ".ipynb_checkpoints/b.jpg", "hen/.ipynb_checkpoints/c.jpg")
    found = labelled_images(tmp_path, LABELS)
    assert [(path.name, index) for path, index in found] == [("a.jpg", 0)]
    assert empty_classes(tmp_path, [path for path, _ in found]) == ["hen"]


def test_other_kinds_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.heic", "x/c.HEIC", ".git/d.gif", "e.txt")
    assert unread_images(tmp_path) == {".heic": 2} and unread_images(tmp_path / "nowhere") == {}
