"""Which folders are parts and which are classes: the usual spellings are read, all else is one clear line."""

import re
from pathlib import Path

import pytest
from builders.archives import one_line, unzipped, zipped

from maebench.data.reading.archive import opened
from maebench.data.reading.tree import classes, layout

FLAT = {"train": ""}

# names of a tree -> what the names of each part begin with
READ: list[tuple[str, dict[str, str]]] = [
    ("cat/1.png dog/1.png", FLAT),
    ("cat/1.png cat/old/2.png dog/images/1.png", FLAT),
    ("cat/1.png README cat/boxes.txt LICENSE info.heic", FLAT),
    ("w/cat/1.png w/dog/1.png w/LICENSE README.md", {"train": "w/"}),
    ("v/w/cat/1.png v/w/dog/1.png", {"train": "v/w/"}),
    ("train/cat/1.png train/dog/1.png", {"train": "train/"}),
    ("train/cat/1.png test/cat/1.png", {"train": "train/", "test": "test/"}),
    ("Train/cat/1.png Test/cat/1.png", {"train": "Train/", "test": "Test/"}),
    ("train/cat/1.png Test/cat/1.png", {"train": "train/", "test": "Test/"}),
    ("TRAINING/a/1.png Valid/a/1.png testing/a/1.png", {"train": "TRAINING/", "val": "Valid/", "test": "testing/"}),
    ("train/a/1.png validation/a/1.png", {"train": "train/", "val": "validation/"}),
    ("w/Train/a/1.png w/VAL/a/1.png w/notes.txt", {"train": "w/Train/", "val": "w/VAL/"}),
    ("train/train/1.png train/test/1.png", {"train": "train/"}),
    ("w/1.png w/cat/2.png", FLAT),
    ("bus/1.png train/1.png", FLAT),
    ("w/bus/1.png w/Train/1.png", {"train": "w/"}),
    ("val/1.png hill/1.png", FLAT),
]

# names of a tree -> words of the line that refuses it
REFUSED: list[tuple[str, list[str]]] = [
    ("", ["no images"]),
    ("a/1.heic a/2.heic", ["no images", ".jpeg"]),
    ("1.png", ["'1.png' lies in no class", "<class>/<image>"]),
    ("cat/1.png dog/1.png 3.png", ["'3.png' lies in no class"]),
    ("train/1.png test/2.png", ["right in test/ and train/", "a folder for each class"]),
    ("images/train/1.png images/val/2.png", ["right in images/train/ and images/val/"]),
    ("train/1.png", ["right in train/"]),
    ("cat/1.png train/1.png test/1.png", ["right in test/ and train/"]),
    ("train/cat/1.png test/1.png", ["'test/1.png' lies in no class", "train/<class>/<image>"]),
    ("train/cat/1.png cat/1.png", ["'cat/1.png' lies in no class", "train/<class>/<image>"]),
    ("train/cat/1.png dev/cat/1.png", ["'dev/cat/1.png' lies in no class", "train/<class>/<image>"]),
    ("train/cat/1.png test/cat/1.png extra/1.png", ["'extra/1.png' lies in no class"]),
    ("test/cat/1.png", ["has test/ but no train/"]),
    ("Test/cat/1.png val/cat/1.png", ["has Test/ and val/ but no train/"]),
    ("train/cat/1.png Train/cat/1.png", ["Train/ and train/ are both the train part"]),
    ("train/a/1.png val/a/1.png valid/a/1.png", ["val/ and valid/ are both the val part"]),
    ("cat/1.png dog/1.heic", ["'dog/1.heic' is no image that is read", ".webp", "convert"]),
    ("cat/1.png cat/2", ["'cat/2' is no image that is read"]),
    ("cat/1.png cat/2.jpg.part", ["'cat/2.jpg.part' is no image"]),
    ("train/cat/1.png Test/cat/1.heic", ["'Test/cat/1.heic' is no image"]),
    ("w/cat/1.png w/dog/2.png v/1.avif", ["'v/1.avif' is no image"]),
    ("cat/1.png dog/", ["folder 'dog' is empty"]),
    ("train/a/1.png Test/", ["folder 'Test' is empty"]),
]

# names of a tree whose classes can be read in two ways
UNCLEAR = ["seg_train/a/1.png seg_train/b/1.png seg_test/a/1.png", "cats/x/y/1.png cats/x/z/1.png dogs/1.png"]


def trees(tmp_path: Path, names: str) -> list[Path]:
    """A folder and a zip with members of these names; one that ends in / is a folder."""
    (tmp_path / "tree").mkdir()
    files = dict.fromkeys(names.split(), b"")
    for name in [name for name in files if name.endswith("/")]:
        (tmp_path / "tree" / name).mkdir()
    unzipped(tmp_path / "tree", {name: data for name, data in files.items() if not name.endswith("/")})
    return [tmp_path / "tree", zipped(tmp_path / "tree.zip", files)]


@pytest.mark.parametrize(("names", "parts"), READ, ids=[names for names, _ in READ])
def test_a_usual_tree_is_read(tmp_path: Path, names: str, parts: dict[str, str]) -> None:
    for path in trees(tmp_path, names):
        with opened(path) as archive:
            assert layout(archive) == parts


@pytest.mark.parametrize(("names", "words"), REFUSED, ids=[names for names, _ in REFUSED])
def test_any_other_tree_is_one_clear_line(tmp_path: Path, names: str, words: list[str]) -> None:
    for path in trees(tmp_path, names):
        with opened(path) as archive, pytest.raises(ValueError, match=re.escape(words[0])) as error:
            layout(archive)
        one_line(error, path, *words)


@pytest.mark.parametrize("names", UNCLEAR)
def test_a_class_of_folders_of_images_is_one_clear_line(tmp_path: Path, names: str) -> None:
    for path in trees(tmp_path, names):
        with (
            opened(path) as archive,
            pytest.raises(ValueError, match="folders of images and no images itself") as error,
        ):
            classes(archive, "")
        one_line(error, path, "train, val and test")


def test_classes_and_their_images_are_in_alphabetical_order(tmp_path: Path) -> None:
    names = ["train/b/2.JPG", "train/b/1.gif", "train/a/deep/1.png", "train/a-b/1.png", "train/a/x.txt", "train/1.png"]
    with opened(zipped(tmp_path / "z.zip", dict.fromkeys(names, b""))) as archive:
        found = classes(archive, "train/")
    wanted = {"a": ["train/a/deep/1.png"], "a-b": ["train/a-b/1.png"], "b": ["train/b/1.gif", "train/b/2.JPG"]}
    assert list(found.items()) == list(wanted.items())
