"""CIFAR-10: its fixed 45k / 5k / 10k rule, from a zip or folder or the official files, and its one-line errors."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.archives import encoded, one_line
from PIL import Image

from maebench.data import cifar10


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def drawn(label: int, index: int, part: int) -> np.ndarray:
    """An RGB image [32, 32, 3] that says which one it is."""
    return np.full((32, 32, 3), (label, index % 256, 16 * part + index // 256), np.uint8)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with every name of CIFAR-10; the 45,000 training images are empty files, which no one may open."""
    root = tmp_path_factory.mktemp("root")
    with zipfile.ZipFile(root / "cifar10-jpeg.zip", "w") as file:
        for label, name in enumerate(cifar10.CLASSES):
            for index in range(5000):
                data = encoded(drawn(label, index, 0), "PPM") if index >= 4500 else b""
                file.writestr(f"train/{name}/{index:04d}.ppm", data)
            for index in range(1000):
                file.writestr(f"test/{name}/{index:04d}.ppm", encoded(drawn(label, index, 1), "PPM"))
    return root


def says(images: torch.Tensor) -> list[list[int]]:
    return images[:, :, 0, 0].tolist()


def test_val_is_the_last_500_of_each_class_and_test_is_all_of_test(small: Path) -> None:
    val, test = (cifar10.load(split, root=small) for split in ("val", "test"))
    assert says(val.images) == [drawn(k, i, 0)[0, 0].tolist() for i in range(4500, 5000) for k in range(10)]
    assert says(test.images) == [drawn(k, i, 1)[0, 0].tolist() for i in range(1000) for k in range(10)]
    for split in (val, test):
        assert split.images.dtype == torch.uint8
        assert split.images.shape[1:] == (3, 32, 32)
        assert torch.equal(split.targets["label"], torch.arange(len(split.images)) % 10)


def test_grey_is_the_luma_that_pillow_makes(small: Path) -> None:
    colour, grey = cifar10.load("val", root=small), cifar10.load("val", root=small, channels="grey")
    assert grey.images.shape == (5000, 1, 32, 32)
    assert torch.equal(grey.targets["label"], colour.targets["label"])
    for row in range(0, 5000, 499):
        image = Image.fromarray(colour.images[row].permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(grey.images[row, 0].numpy(), np.asarray(image.convert("L")))


def test_train_is_the_first_4500_of_each_class_of_any_archive_order() -> None:
    labels = np.arange(50_000) % 10
    np.random.default_rng(0).shuffle(labels)
    rows = {split: cifar10._rows(labels, split) for split in ("train", "val")}
    assert sorted([*rows["train"], *rows["val"]]) == list(range(50_000))
    for label in range(10):
        of_class = np.flatnonzero(labels == label)
        np.testing.assert_array_equal(rows["train"][label::10], of_class[:4500])
        np.testing.assert_array_equal(rows["val"][label::10], of_class[4500:])


def test_a_damaged_image_is_one_clear_line_that_names_it(small: Path) -> None:
    with pytest.raises(ValueError, match="damaged or cut short") as error:
        cifar10.load("train", root=small)
    one_line(error, small / "cifar10-jpeg.zip", "train/airplane/0000.ppm", "fetch it again or replace")


def test_nothing_there_is_one_clear_line(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LookupError) as error:
            cifar10.load("test", root=root)
        places = ("cifar-10-batches-py", "cifar10-jpeg.zip", "cifar10")
        one_line(error, f"no CIFAR-10 under {root} ", *places, f"maebench data fetch cifar10 --data-root {root}")


@pytest.mark.parametrize("name", ["cifar10-jpeg.zip", "cifar10.zip"])
def test_a_zip_cut_short_is_one_clear_line(small: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((small / "cifar10-jpeg.zip").read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match="damaged or cut short") as error:
        cifar10.load("test", root=tmp_path)
    one_line(error, tmp_path / name)


def test_an_incomplete_folder_is_one_clear_line(tmp_path: Path) -> None:
    for count in (0, 3):
        (tmp_path / "cifar10" / "test" / "airplane").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (tmp_path / "cifar10" / "test" / "airplane" / f"{index}.png").write_bytes(encoded(drawn(0, index, 1)))
        with pytest.raises(ValueError, match=f"found: {count} of 'airplane'") as error:
            cifar10.load("test", root=tmp_path)
        one_line(error, tmp_path / "cifar10", "1000 images")


def test_official_files_win_and_a_wrong_md5_is_never_unpickled(small: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10-jpeg.zip").symlink_to(small / "cifar10-jpeg.zip")
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in ("batches.meta", "test_batch", *(f"data_batch_{index}" for index in range(1, 6))):
        (batches / name).write_bytes(b"cos\nmkdir\n(S'" + str(tmp_path / "unpickled").encode() + b"'\ntR.")
    for source in ("any", "official"):
        with pytest.raises(ValueError, match="MD5 is wrong") as error:
            cifar10.load("test", root=tmp_path, source=source)
        one_line(error, batches, "maebench data fetch cifar10")
    assert not (tmp_path / "unpickled").exists()
    assert len(cifar10.load("test", root=tmp_path, source="folder").images) == 10_000


def test_official_alone_is_asked_for_by_its_name(small: Path) -> None:
    with pytest.raises(LookupError, match=r"looked for cifar-10-batches-py\)"):
        cifar10.load("test", root=small, source="official")


@pytest.mark.skipif("MAEBENCH_DATA" not in os.environ, reason="MAEBENCH_DATA does not name a folder with CIFAR-10")
def test_real_cifar10_is_whole_disjoint_and_read_once() -> None:
    root, names = Path(os.environ["MAEBENCH_DATA"]), ("train", "val", "test")
    first = {name: cifar10.load(name, root=root) for name in names}
    cache = Path(os.environ["MAEBENCH_CACHE"])
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    again = {name: cifar10.load(name, root=root) for name in names}
    assert stamps == {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}, "no image is decoded again"
    assert {name: len(split.images) for name, split in first.items()} == {"train": 45_000, "val": 5_000, "test": 10_000}
    for name in names:
        assert torch.equal(first[name].images, again[name].images)
        assert first[name].targets["label"].bincount().tolist() == [len(first[name].images) // 10] * 10
    seen = [{image.tobytes() for image in first[name].images.numpy()} for name in names]
    shared = [seen[0] & seen[1], seen[0] & seen[2], seen[1] & seen[2]]
    assert not any(shared), f"the same picture in two parts: {[len(both) for both in shared]}"
