"""Any labelled ImageFolder tree or zip: its parts, labels, sizes and one-line errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_archives import encoded, noise, one_line, unzipped, zipped

from maebench.contracts import Split
from maebench.data import image_folder

PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "cache"))


def tree(prefix: str, classes: dict[str, int], first: int = 0) -> dict[str, bytes]:
    """PNGs of one colour that says class and number: the class's first letter, then the number from `first`."""
    return {
        f"{prefix}{name}/{index:03d}.png": encoded(np.full((6, 9, 3), (ord(name[0]), index, 0), np.uint8))
        for name, count in classes.items()
        for index in range(first, first + count)
    }


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


def test_images_already_of_the_size_keep_their_bytes(tmp_path: Path) -> None:
    pixels = noise(8, 8, 3)
    zipped(tmp_path / "z.zip", {f"{part}/x/1.png": encoded(pixels) for part in PARTS})
    image = image_folder.load("train", root=tmp_path, path="z.zip", size=8).images[0]
    np.testing.assert_array_equal(image.numpy(), pixels.transpose(2, 0, 1))


def test_each_size_has_its_own_copy(tmp_path: Path) -> None:
    zipped(tmp_path / "z.zip", {f"{part}/x/1.png": encoded(noise(8, 8, 3)) for part in PARTS})
    for size in (4, 6, 4):
        assert loaded(tmp_path, "z.zip", size)["train"].images.shape == (1, 3, size, size)


def test_a_changed_tree_is_read_again(tmp_path: Path) -> None:
    files = {f"{part}/x/1.png": encoded(noise(4, 4, 3)) for part in PARTS}
    unzipped(tmp_path / "f", files)
    assert len(loaded(tmp_path, "f")["test"].images) == 1
    unzipped(tmp_path / "f", {"test/x/2.png": encoded(noise(4, 4, 3))})
    assert len(loaded(tmp_path, "f")["test"].images) == 2


def test_what_is_missing_or_broken_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="image_folder: no ") as missing:
        loaded(tmp_path, "nowhere.zip")
    one_line(missing, tmp_path / "nowhere.zip", "path")
    (tmp_path / "empty").mkdir()
    whole = tree("train/", {"ant": 3}) | tree("val/", {"ant": 3}) | tree("test/", {"ant": 3})
    wrong = {
        "empty": ({}, "no images for train"),
        "flat.zip": ({"1.png": b"x"}, "no images for train"),
        "no_train.zip": ({"test/ant/1.png": b"x", "ant/1.png": b"x"}, "no train/"),
        "odd.zip": (whole | tree("test/", {"bee": 1}), "'bee' has no training images"),
        "cut.zip": (whole | {"train/ant/000.png": whole["train/ant/000.png"][:40]}, "'train/ant/000.png' is damaged"),
    }
    for name, (files, message) in wrong.items():
        path = tmp_path / name if name == "empty" else zipped(tmp_path / name, files)
        with pytest.raises(ValueError, match=message) as error:
            loaded(tmp_path, name)
        one_line(error, path)
    with pytest.raises(ValueError, match="size 0") as error:
        loaded(tmp_path, "odd.zip", size=0)
    one_line(error)
