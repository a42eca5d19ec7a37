"""The official Cityscapes tree, written small: exact depth, official cities, one-line errors."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.archives import BASELINE, FX, encoded, noise, one_line, scene, unzipped, whole

from maebench.data import cityscapes


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("below", ["cityscapes", "."])
def test_official_val_cities_are_test_and_three_train_cities_are_val(tmp_path: Path, below: str) -> None:
    unzipped(tmp_path / below, whole())
    wanted = {"train": [0, 3], "val": [1, 2], "test": [4, 5]}
    for name, positions in wanted.items():
        split = cityscapes.load(name, root=tmp_path, size=4)
        assert split.images.shape == (2, 3, 4, 4)
        assert split.images[:, 0, 0, 0].tolist() == positions
        depth = torch.tensor([BASELINE * FX / (position + 1) for position in positions], dtype=torch.float32)
        assert split.targets["depth"].dtype == torch.float32
        assert torch.equal(split.targets["depth"], depth.view(2, 1, 1, 1).expand(2, 1, 4, 4))


@pytest.mark.parametrize(("height", "width"), [(16, 32), (19, 41), (200, 15)])
def test_image_and_depth_are_the_same_square_of_the_upper_part(tmp_path: Path, height: int, width: int) -> None:
    """The disparity of each pixel is drawn in the image, so both must show the same place."""
    rows, columns = np.mgrid[:height, :width]
    colour = np.stack([rows, columns, rows], 2).astype(np.uint8)
    for name, plane in (("rows", rows), ("columns", columns)):
        unzipped(tmp_path / name, scene("val", "lindau", colour, (256 * (plane + 1) + 1).astype(np.uint16)))
    row, column = (
        BASELINE * FX / cityscapes.load("test", root=tmp_path / name, size=4).targets["depth"][0, 0] - 1
        for name in ("rows", "columns")
    )
    image = cityscapes.load("test", root=tmp_path / "rows", size=4).images[0].float()
    side = min(int(height * 0.75), width) // 4 * 4
    assert float(row.max()) < height * 0.75
    for shown, measured in ((image[0], row), (image[1], column)):
        assert float((shown - measured).abs().max()) <= side / 4 / 2 + 1
        assert float((measured.max() - measured.min()) / (side * 0.75)) == pytest.approx(1, abs=0.01)


def test_a_cell_is_the_median_of_its_known_pixels_or_nan(tmp_path: Path) -> None:
    raw = np.zeros((16, 12), np.uint16)  # the upper three quarters are one 12 x 12 square of cells of 6 x 6
    known = np.r_[np.full(9, 257), np.full(9, 513), np.full(2, 60_001)]
    raw[:6, :6].flat[:20] = (
        known  # 20 of 36 known: their median, untouched by the outliers and the zeros; nothing known beside it
    )
    raw[6:12, :6] = np.where(np.arange(36).reshape(6, 6) < 17, 257, 0)  # less than half known
    raw[6:12, 6:12] = 1  # disparity 0: infinitely far, so unknown
    unzipped(tmp_path, scene("val", "lindau", noise(16, 12, 3), raw))
    depth = cityscapes.load("test", root=tmp_path, size=2).targets["depth"][0, 0]
    assert float(depth[0, 0]) == BASELINE * FX / 2
    assert torch.equal(depth.isnan(), torch.tensor([[False, True], [True, True]]))


def test_each_size_has_its_own_copy(tmp_path: Path) -> None:
    unzipped(tmp_path, whole())
    for size in (4, 2, 4):
        assert cityscapes.load("test", root=tmp_path, size=size).images.shape == (2, 3, size, size)


def test_reading_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unzipped(
        tmp_path / "cityscapes", whole() | scene("val", "lindau", noise(16, 32, 3), np.full((16, 32), 900, np.uint16))
    )
    first = cityscapes.load("test", root=tmp_path, size=4)
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "other"))
    again = cityscapes.load("test", root=tmp_path, size=4)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets["depth"], again.targets["depth"])


def test_what_is_missing_or_broken_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LookupError) as missing:
        cityscapes.load("train", root=tmp_path)
    one_line(missing, tmp_path / "cityscapes", "leftImg8bit, disparity, camera", "https://www.cityscapes-dataset.com")
    files = whole()
    frame = "val/munster/munster_000000_000019"
    image, raw, camera = (f"{kind}/{frame}_{kind}" for kind in cityscapes.FOLDERS)
    wrong: list[tuple[str, dict[str, bytes | None], str]] = [
        ("a", {f"{raw}.png": None}, f"{raw}.png"),
        ("b", {f"{camera}.json": None}, f"{camera}.json"),
        ("c", {f"{image}.png": files[f"{image}.png"][:40]}, f"'{image}.png' is damaged"),
        ("d", {f"{raw}.png": files[f"{raw}.png"][:40]}, f"'{raw}.png' is damaged"),
        ("e", {f"{raw}.png": files[f"{image}.png"]}, "not 16-bit grey"),
        ("f", {f"{raw}.png": encoded(np.ones((8, 32), np.uint16))}, "differ in size"),
        ("g", {f"{camera}.json": b"{}"}, f"{camera}.json: extrinsic.baseline must be a number above 0, but is missing"),
        (
            "h",
            {f"{camera}.json": b'{"extrinsic": {"baseline": 0}, "intrinsic": {"fx": 9}}'},
            f"{camera}.json: extrinsic.baseline",
        ),
        ("i", {f"{camera}.json": b'{"extrinsic": {"baseline": "0.2"}, "intrinsic": {"fx": 2262}}'}, "baseline must be"),
        ("j", {f"{camera}.json": b'{"extrinsic": {"baseline": 0.2}}'}, f"{camera}.json: intrinsic.fx must be"),
        ("k", {f"{camera}.json": b"{"}, f"{camera}.json is no JSON"),
    ]
    for name, changes, message in wrong:
        tree = unzipped(tmp_path / name, {key: data for key, data in (files | changes).items() if data is not None})
        with pytest.raises((ValueError, LookupError)) as error:
            cityscapes.load("test", root=tree, size=4)
        one_line(error, tree, message)
    for size, message in ((0, "size 0"), (13, "too small for size 13")):
        with pytest.raises(ValueError, match=message) as error:
            cityscapes.load("train", root=tmp_path / "a", size=size)
        one_line(error)


def test_a_tree_without_a_folder_or_a_part_is_one_clear_line(tmp_path: Path) -> None:
    unzipped(tmp_path / "cityscapes", whole())
    shutil.rmtree(tmp_path / "cityscapes" / "leftImg8bit" / "val")
    with pytest.raises(LookupError, match="no images for test") as error:
        cityscapes.load("test", root=tmp_path, size=4)
    one_line(error, tmp_path / "cityscapes" / "leftImg8bit")
    shutil.rmtree(tmp_path / "cityscapes" / "camera")
    with pytest.raises(LookupError, match="needs leftImg8bit, disparity, camera") as error:
        cityscapes.load("train", root=tmp_path, size=4)
    one_line(error, tmp_path / "cityscapes")
