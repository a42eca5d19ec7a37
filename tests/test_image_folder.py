"""Any labelled ImageFolder tree or zip: its parts, labels, sizes and one-line errors."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.archives import encoded, noise, one_line, saved, tree, unzipped, zipped
from PIL import Image

from maebench.contracts import Split
from maebench.data import image_folder

PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "cache"))


def says(split: Split) -> list[tuple[str, int]]:
    """(class's first letter, number) of each row."""
    return [(chr(letter), index) for letter, index, _ in split.images[:, :, 0, 0].tolist()]


def loaded(root: Path, path: str, size: int = 4) -> dict[str, Split]:
    return {part: image_folder.load(part, root=root, path=path, size=size) for part in PARTS}


def test_a_plain_tree_is_cut_by_name_into_disjoint_parts_with_alphabetical_labels(tmp_path: Path) -> None:
    files = tree("", {"cow": 100, "ant": 120, "bee": 80})
    unzipped(tmp_path / "f", files)
    parts = loaded(tmp_path, "f")
    rows = {part: set(says(split)) for part, split in parts.items()}
    assert len(rows["train"] | rows["val"] | rows["test"]) == 300 == sum(len(split.images) for split in parts.values())
    assert 200 < len(rows["train"]) < 270
    assert len(rows["val"]) > 10
    assert len(rows["test"]) > 10
    for split in parts.values():
        assert split.images.shape[1:] == (3, 4, 4)
        assert split.targets["label"].tolist() == ["abc".index(letter) for letter, _ in says(split)]
        assert says(split)[:3] == [("a", says(split)[0][1]), ("b", says(split)[1][1]), ("c", says(split)[2][1])]


def test_a_zip_and_a_train_folder_give_the_same_parts_and_more_files_move_none(tmp_path: Path) -> None:
    files = tree("", {"ant": 60, "bee": 60})
    unzipped(tmp_path / "f", files)
    zipped(tmp_path / "f.zip", files)
    unzipped(tmp_path / "t" / "train", files)
    unzipped(tmp_path / "more", files | tree("", {"ant": 30}, first=60))
    plain, more = loaded(tmp_path, "f"), loaded(tmp_path, "more")
    for other in (loaded(tmp_path, "f.zip"), loaded(tmp_path, "t"), loaded(tmp_path, str(tmp_path / "f"))):
        for part in PARTS:
            assert torch.equal(plain[part].images, other[part].images)
            assert torch.equal(plain[part].targets["label"], other[part].targets["label"])
    assert all(set(says(plain[part])) <= set(says(more[part])) for part in PARTS)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_three_folders_are_the_three_parts(tmp_path: Path, val: str) -> None:
    sizes = {"train/": 9, f"{val}/": 3, "test/": 4}
    first, files = 0, {}
    for prefix, count in sizes.items():
        files |= tree(prefix, {"bee": count, "ant": count}, first)
        first += count
    zipped(tmp_path / "z.zip", files)
    parts = loaded(tmp_path, "z.zip")
    assert says(parts["train"]) == [(letter, index) for index in range(9) for letter in "ab"]
    assert says(parts["val"]) == [(letter, index) for index in range(9, 12) for letter in "ab"]
    assert says(parts["test"]) == [(letter, index) for index in range(12, 16) for letter in "ab"]


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_the_only_other_folder_is_test_and_val_is_drawn_from_train(tmp_path: Path, held_out: str) -> None:
    files = tree("train/", {"ant": 60, "bee": 60}) | tree(f"{held_out}/", {"ant": 5, "bee": 5}, first=60)
    zipped(tmp_path / "z.zip", files)
    parts = loaded(tmp_path, "z.zip")
    assert says(parts["test"]) == [(letter, index) for index in range(60, 65) for letter in "ab"]
    train, val = set(says(parts["train"])), set(says(parts["val"]))
    assert not train & val
    assert train | val == {(letter, index) for index in range(60) for letter in "ab"}
    assert 3 < len(val) < 30


SPELLINGS = {
    "usual": ("train/", "val/", "test/"),
    "capitals": ("Train/", "Val/", "Test/"),
    "mixed": ("train/", "Validation/", "TEST/"),
    "long": ("training/", "validation/", "testing/"),
    "wrapped": ("data/Train/", "data/valid/", "data/Testing/"),
    "wrapped twice": ("a/b/train/", "a/b/val/", "a/b/test/"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("given", [(0, 1, 2), (0, 2), (0, 1), (0,)])
def test_parts_are_the_same_however_their_folders_are_called(tmp_path: Path, spelling: str, given: list[int]) -> None:
    for name in ("usual", spelling):
        files = {}
        for part in given:
            files |= tree(SPELLINGS[name][part], {"ant": 60, "bee": 60}, first=60 * part)
        zipped(tmp_path / f"{name}.zip", files | {"README": b"", "LICENSE.md": b""})
    usual, other = loaded(tmp_path, "usual.zip"), loaded(tmp_path, f"{spelling}.zip")
    assert all(says(usual[part]) == says(other[part]) != [] for part in PARTS)


def test_a_folder_around_the_classes_and_one_called_train_change_nothing(tmp_path: Path) -> None:
    sizes = {"bus": 60, "train": 60}
    for name, prefix in (("plain", ""), ("around", "photos/")):
        zipped(tmp_path / f"{name}.zip", tree(prefix, sizes))
    plain, around = loaded(tmp_path, "plain.zip"), loaded(tmp_path, "around.zip")
    for part in PARTS:
        assert says(plain[part]) == says(around[part])
        assert set(plain[part].targets["label"].tolist()) == {0, 1}
    assert image_folder.class_names(root=tmp_path, path="around.zip") == ["bus", "train"]


def test_neither_accents_nor_backslashes_move_an_image_to_another_part(tmp_path: Path) -> None:
    """The same names as Linux, macOS and old zippers of Windows write them."""
    files = tree("", {"abeille é": 60, "bourdon ï": 60, "ça": 60})
    wanted = None
    for form in ("NFC", "NFD"):
        spelt = {unicodedata.normalize(form, name): data for name, data in files.items()}
        unzipped(tmp_path / form, spelt)
        zipped(tmp_path / f"{form}.zip", spelt)
        zipped(tmp_path / f"{form} windows.zip", {name.replace("/", "\\"): data for name, data in spelt.items()})
        for path in (form, f"{form}.zip", f"{form} windows.zip"):
            rows = {part: says(split) for part, split in loaded(tmp_path, path).items()}
            wanted = wanted or rows
            assert rows == wanted
            assert image_folder.class_names(root=tmp_path, path=path) == ["abeille é", "bourdon ï", "ça"]


def test_the_split_of_plain_names_is_the_one_it_always_was(tmp_path: Path) -> None:
    """Rows (class, number) of val and test, fixed by hand: another rule needs another VERSION."""
    zipped(tmp_path / "z.zip", tree("", {"ant": 30, "bee": 30}))
    parts = loaded(tmp_path, "z.zip")
    assert says(parts["val"]) == [("a", 20), ("b", 0), ("a", 23), ("b", 2), ("b", 3), ("b", 15), ("b", 16)]
    assert says(parts["test"]) == [("a", 26), ("b", 4), ("b", 12), ("b", 25), ("b", 28)]


def test_turned_and_transparent_images_and_gifs_are_read_as_they_are_shown(tmp_path: Path) -> None:
    left = np.zeros((8, 8, 3), np.uint8)
    left[:, :4] = 255
    see_through = np.dstack([left, left[..., 0]])
    files: dict[str, bytes] = {}
    for part in PARTS:
        files[f"{part}/turned/1.png"] = saved(Image.fromarray(left), orientation=6)  # the left side is shown on top
        files[f"{part}/transparent/1.png"] = encoded(see_through)
        files[f"{part}/gif/1.gif"] = encoded(left[..., 0], "GIF")
    zipped(tmp_path / "z.zip", files)
    split = loaded(tmp_path, "z.zip", size=8)["test"]
    images = {
        name: split.images[split.targets["label"] == label][0]
        for label, name in enumerate(("gif", "transparent", "turned"))
    }
    assert torch.equal(images["gif"], torch.from_numpy(left).permute(2, 0, 1))
    assert torch.equal(images["transparent"], torch.from_numpy(left).permute(2, 0, 1).clamp(min=128))
    assert torch.equal(images["turned"], torch.from_numpy(left).permute(2, 1, 0))


def test_images_already_of_the_size_keep_their_bytes(tmp_path: Path) -> None:
    pixels = noise(8, 8, 3)
    zipped(tmp_path / "z.zip", {f"{part}/{name}/1.png": encoded(pixels) for part in PARTS for name in "xy"})
    image = image_folder.load("train", root=tmp_path, path="z.zip", size=8).images[0]
    np.testing.assert_array_equal(image.numpy(), pixels.transpose(2, 0, 1))


def test_each_size_has_its_own_copy(tmp_path: Path) -> None:
    zipped(tmp_path / "z.zip", {f"{part}/{name}/1.png": encoded(noise(8, 8, 3)) for part in PARTS for name in "xy"})
    for size in (4, 6, 4):
        assert loaded(tmp_path, "z.zip", size)["train"].images.shape == (2, 3, size, size)


def test_a_changed_tree_is_read_again(tmp_path: Path) -> None:
    files = {f"{part}/{name}/1.png": encoded(noise(4, 4, 3)) for part in PARTS for name in "xy"}
    unzipped(tmp_path / "f", files)
    assert len(loaded(tmp_path, "f")["test"].images) == 2
    unzipped(tmp_path / "f", {"test/x/2.png": encoded(noise(4, 4, 3))})
    assert len(loaded(tmp_path, "f")["test"].images) == 3


def test_what_is_missing_or_broken_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="image_folder: no ") as missing:
        loaded(tmp_path, "nowhere.zip")
    one_line(missing, tmp_path / "nowhere.zip", "path")
    (tmp_path / "empty").mkdir()
    parts = {part: tree(f"{part}/", {"ant": 3, "bee": 3}) for part in PARTS}
    whole = parts["train"] | parts["val"] | parts["test"]
    cow = tree("train/", {"cow": 2}) | tree("val/", {"cow": 1})
    wrong: dict[str, tuple[dict[str, bytes], str]] = {
        "empty": ({}, "no images"),
        "loose.zip": ({"1.png": b"x"}, "'1.png' lies in no class"),
        "no_train.zip": ({"test/ant/1.png": b"x", "ant/1.png": b"x"}, "no train/"),
        "one_class.zip": (tree("ants/", {"ant": 60}), "all images are of one class, 'ant'"),
        "only_test.zip": (
            whole | tree("test/", {"cow": 1}),
            "class 'cow' needs images in train and in test, but has 0 in train, 0 in val, 1 in test",
        ),
        "no_test.zip": (whole | cow, "class 'cow' needs images in train and in test, but has 2 in train, 1 in val"),
        "two.zip": (whole | tree("val/", {"cow": 1, "dog": 2}), r"'cow' needs .* 1 in val, 0 in test \(2 classes"),
        "few.zip": (tree("", {"ant": 60, "bee": 60, "cow": 1}), "tenths of train are drawn by name: class 'cow' needs"),
        "no_val.zip": (tree("train/", {"ant": 1, "bee": 1}, first=4) | parts["test"], "no images for val"),
        "cut.zip": (whole | {"train/ant/000.png": whole["train/ant/000.png"][:40]}, "'train/ant/000.png' is damaged"),
    }
    for name, (files, message) in wrong.items():
        path = tmp_path / name if name == "empty" else zipped(tmp_path / name, files)
        with pytest.raises(ValueError, match=message) as error:
            loaded(tmp_path, name)
        one_line(error, path)
    with pytest.raises(ValueError, match="size 0") as error:
        loaded(tmp_path, "cut.zip", size=0)
    one_line(error)
