"""Depth crops: exact metres, NaN where unknown, no group on two sides, one-line errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.archives import META, encoded, one_line, saved, scenes, unzipped, zipped
from PIL import Image

from maebench.contracts import Split
from maebench.data import rgbd

PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "cache"))


def loaded(root: Path, path: str, size: int = 4, stride: int = 4, valid: float = 0.5) -> dict[str, Split]:
    return {part: rgbd.load(part, root=root, path=path, size=size, stride=stride, valid=valid) for part in PARTS}


def test_metres_are_exact_and_unknown_is_nan(tmp_path: Path) -> None:
    zipped(tmp_path / "z.zip", scenes({"a": 1, "b": 1, "c": 1}))
    split = loaded(tmp_path, "z.zip")["train"]
    images, depth = split.images, split.targets["depth"]
    assert images.shape == (6, 3, 4, 4)
    assert depth.shape == (6, 1, 4, 4)
    assert (images.dtype, depth.dtype) == (torch.uint8, torch.float32)
    row, column = images[:, 1:2].float(), images[:, 2:3].float()
    wanted = ((100 * row + column) / 256).masked_fill(row == 0, torch.nan)
    torch.testing.assert_close(depth, wanted, rtol=0, atol=0, equal_nan=True)
    corners = [(row, column) for row in (0, 4) for column in (0, 4, 8)]
    assert [tuple(corner) for corner in images[:, 1:, 0, 0].tolist()] == corners


@pytest.mark.parametrize(("valid", "count"), [(0.0, 6), (0.75, 6), (0.76, 3), (1.0, 3)])
def test_a_crop_needs_its_share_of_known_depth(tmp_path: Path, valid: float, count: int) -> None:
    zipped(tmp_path / "z.zip", scenes({"a": 1, "b": 1, "c": 1}))
    assert all(len(split.images) == count for split in loaded(tmp_path, "z.zip", valid=valid).values())


@pytest.mark.parametrize(("stride", "count"), [(1, 5 * 9), (2, 3 * 5), (4, 2 * 3), (100, 1)])
def test_the_stride_sets_the_number_of_crops(tmp_path: Path, stride: int, count: int) -> None:
    zipped(tmp_path / "z.zip", scenes({"a": 1, "b": 1, "c": 1}))
    assert all(len(split.images) == count for split in loaded(tmp_path, "z.zip", stride=stride).values())


def test_no_group_is_on_two_sides_and_no_crop_is_lost(tmp_path: Path) -> None:
    groups = {"drive": 20, "b": 4, "c": 3, "d": 2, "e": 1, "f": 1, "g": 1}
    zipped(tmp_path / "z.zip", scenes(groups))
    parts = loaded(tmp_path, "z.zip")
    seen = {part: set(split.images[:, 0, 0, 0].tolist()) for part, split in parts.items()}
    assert seen["train"] | seen["val"] | seen["test"] == set(range(len(groups)))
    assert sum(len(found) for found in seen.values()) == len(groups)
    assert 0 in seen["train"], "the group with most of the crops must be trained on"
    assert sum(len(split.images) for split in parts.values()) == 6 * sum(groups.values())


def test_shares_come_near_70_20_10_where_the_groups_are_many() -> None:
    sizes = np.random.default_rng(0).integers(0, 50, 200).tolist()
    crops = {f"group{index}": size for index, size in enumerate(sizes)}
    assigned = rgbd._assigned(crops)
    share = {split: sum(crops[name] for name in names) / sum(sizes) for split, names in assigned.items()}
    assert share == pytest.approx({"train": 0.7, "test": 0.2, "val": 0.1}, abs=0.01)
    assert sorted(name for names in assigned.values() for name in names) == sorted(
        name for name in crops if crops[name]
    )


def test_each_setting_has_its_own_copy(tmp_path: Path) -> None:
    zipped(tmp_path / "z.zip", scenes({"a": 1, "b": 1, "c": 1}))
    for size, stride, valid, count in ((4, 4, 0.5, 6), (2, 4, 0.5, 6), (4, 2, 0.5, 15), (4, 4, 1.0, 3), (4, 4, 0.5, 6)):
        split = loaded(tmp_path, "z.zip", size, stride, valid)["test"]
        assert split.images.shape == (count, 3, size, size)


def test_a_folder_and_a_zip_give_the_same_bytes(tmp_path: Path) -> None:
    files = scenes({"a": 3, "b": 2, "c": 1})
    zipped(tmp_path / "z.zip", files)
    unzipped(tmp_path / "f", files)
    one, other, again = loaded(tmp_path, "z.zip"), loaded(tmp_path, "f"), loaded(tmp_path, str(tmp_path / "z.zip"))
    for part in PARTS:
        for same in (other, again):
            assert torch.equal(one[part].images, same[part].images)
            assert torch.equal(one[part].targets["depth"].nan_to_num(), same[part].targets["depth"].nan_to_num())


def test_what_is_missing_or_broken_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="rgbd: no ") as missing:
        loaded(tmp_path, "nowhere.zip")
    one_line(missing, tmp_path / "nowhere.zip", "path")
    whole = scenes({"a": 1, "b": 1, "c": 1})
    less = {name: data for name, data in whole.items() if name != "depth/b_0.png"}
    short = encoded(np.ones((8, 11), np.uint16))
    wrong: list[tuple[dict[str, bytes], str]] = [
        ({}, "meta.json"),
        ({"meta.json": whole["meta.json"]}, "index.csv"),
        (less, "depth/b_0.png"),
        (whole | {"meta.json": b"{"}, "meta.json is no JSON"),
        (whole | {"meta.json": json.dumps(META | {"kind": "disparity"}).encode()}, "kind must be"),
        (whole | {"meta.json": json.dumps(META | {"scale": 0}).encode()}, "meta.json: scale must be a number above 0"),
        (
            whole | {"meta.json": json.dumps(META | {"scale": "256"}).encode()},
            "meta.json: scale must be a number above 0",
        ),
        (whole | {"meta.json": json.dumps(META | {"invalid": None}).encode()}, "meta.json: invalid must be"),
        (whole | {"meta.json": json.dumps(META | {"invalid": "none"}).encode()}, "meta.json: invalid must be"),
        (whole | {"meta.json": b"[]"}, "kind must be"),
        (
            whole | {"rgb/a_0.png": saved(Image.new("RGB", (12, 8)), orientation=3)},
            "'rgb/a_0.png' has an EXIF orientation",
        ),
        (whole | {"index.csv": b"id,place\na_0,a"}, "index.csv needs"),
        (whole | {"index.csv": b"id,group\na_0,a\na_0,b"}, "index.csv needs"),
        (whole | {"index.csv": b"id,group\n../../a_0,a"}, "../../a_0"),
        (whole | {"rgb/a_0.png": whole["rgb/a_0.png"][:50]}, "'rgb/a_0.png' is damaged"),
        (whole | {"depth/a_0.png": whole["rgb/a_0.png"]}, "'depth/a_0.png' is not 16-bit grey"),
        (whole | {"depth/a_0.png": short}, "differ in size"),
        (scenes({"a": 9, "b": 9}), "fewer than 3 groups"),
        (scenes({"a": 9, "b": 9, "c": 1}, height=3), "fewer than 3 groups"),
    ]
    for number, (files, message) in enumerate(wrong):
        path = zipped(tmp_path / f"{number}.zip", files)
        with pytest.raises((ValueError, LookupError)) as error:
            loaded(tmp_path, path.name)
        one_line(error, path, message)
    with pytest.raises(ValueError, match=r"valid 1\.5") as error:
        loaded(tmp_path, "0.zip", valid=1.5)
    one_line(error)


@pytest.mark.skipif("MAEBENCH_DATA" not in os.environ, reason="MAEBENCH_DATA does not name a folder with the archives")
@pytest.mark.parametrize(
    ("name", "counts"), [("rgbd-street.zip", [8866, 618, 1210]), ("rgbd-tabletop.zip", [4203, 631, 1442])]
)
def test_real_archives_give_the_documented_crops(name: str, counts: list[int]) -> None:
    parts = [rgbd.load(part, root=Path(os.environ["MAEBENCH_DATA"]), path=name) for part in PARTS]
    assert [len(part.images) for part in parts] == counts
    for part in parts:
        depth = part.targets["depth"]
        assert float(depth.isfinite().float().flatten(1).mean(1).min()) >= 0.9
        assert 0 < float(depth.nan_to_num(1).min()) < float(depth.nan_to_num(1).max()) < 256
