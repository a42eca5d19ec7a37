"""Cityscapes street scenes from the official tree, with depth from the stereo disparity and the calibration."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from maebench.contracts import MissingData, Split
from maebench.data.reading.archive import (
    Archive,
    channels_first,
    fingerprint,
    in_threads,
    json_in,
    levels,
    number_in,
    opened,
    stored_rgb,
)
from maebench.data.reading.cache import cached

VERSION = 1
TARGETS = ("depth",)
HOW_TO_GET = (
    "register at https://www.cityscapes-dataset.com and unpack leftImg8bit_trainvaltest.zip, "
    "disparity_trainvaltest.zip and camera_trainvaltest.zip into the folder cityscapes under the data root"
)

FOLDERS = ("leftImg8bit", "disparity", "camera")
VAL_CITIES = ("bochum", "krefeld", "ulm")  # Ours: official train cities held out, 290 of the 2,975 images
ROAD = 0.75  # Ours: the share of rows from the top that is kept; below it is the bonnet of the car itself
KNOWN = 0.5  # Ours: least share of a cell's pixels with a disparity


def load(
    split: str,
    *,
    root: Path,
    size: int = 32,  # Source: Cityscapes at 32 x 32 in "From Linearity to Non-Linearity"
) -> Split:
    """One part: images uint8 [N, 3, size, size] and "depth" float32 [N, 1, size, size] metres, NaN = unknown.

    test is the official val set (its cities are in no other part); val is the cities bochum, krefeld and ulm of the
    official train set, train the other 15. Ours: of the upper three quarters of an image the centre square is resized.
    Raises MissingData where the tree or a file of it is missing, ValueError for a broken one.
    """
    tree = next((tree for tree in (root / "cityscapes", root) if (tree / FOLDERS[0]).is_dir()), None)
    if tree is None or not all((tree / folder).is_dir() for folder in FOLDERS):
        at = tree or root / "cityscapes"
        raise MissingData(f"cityscapes: needs {', '.join(FOLDERS)} in {at}; {HOW_TO_GET}, or pass --data-root")
    if size < 1:
        raise ValueError(f"cityscapes: size {size} is not a number of pixels; set it to 1 or more")
    key = " ".join([f"{VERSION} {split} {size}", *(fingerprint(tree / folder) for folder in FOLDERS)])
    arrays = cached("cityscapes", key, lambda: _read(tree, split, size))
    return Split(torch.from_numpy(arrays["images"]), {"depth": torch.from_numpy(arrays["depth"])})


def _read(tree: Path, split: str, size: int) -> dict[str, np.ndarray]:
    with opened(tree) as archive:
        scenes = _scenes(archive, split)
        if not scenes:
            raise MissingData(f"cityscapes: no images for {split} in {tree / FOLDERS[0]}; {HOW_TO_GET}")
        pairs = list(in_threads(lambda scene: _pair(archive, scene, size), scenes))
    return {"images": np.stack([image for image, _ in pairs]), "depth": np.stack([depth for _, depth in pairs])}


def _scenes(archive: Archive, split: str) -> list[str]:
    """`<official part>/<city>/<scene>` of each image of a split, in alphabetical order."""
    part, start, end = "val" if split == "test" else "train", f"{FOLDERS[0]}/", f"_{FOLDERS[0]}.png"
    names = [name for name in archive.members if name.startswith(f"{start}{part}/") and name.endswith(end)]
    scenes = [name.removeprefix(start).removesuffix(end) for name in names]
    return [scene for scene in scenes if split == "test" or (scene.split("/")[1] in VAL_CITIES) == (split == "val")]


def _pair(archive: Archive, scene: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [3, size, size] and depth float32 [1, size, size] in metres of one scene."""
    colour = stored_rgb(archive, f"leftImg8bit/{scene}_leftImg8bit.png")
    raw = levels(archive, f"disparity/{scene}_disparity.png")
    if colour.size != raw.shape[::-1]:
        raise ValueError(f"{archive.path}: image and disparity of {scene} differ in size; unpack the archives again")
    height, width = raw.shape
    side = min(int(height * ROAD), width) // size * size
    if not side:
        raise ValueError(f"{archive.path}: {scene} is too small for size {size}; set a smaller size")
    top, left = (int(height * ROAD) - side) // 2, (width - side) // 2
    square = colour.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    disparity = (_median(raw[top : top + side, left : left + side], size) - 1) / 256
    with np.errstate(divide="ignore"):
        metres = _baseline_focal(archive, scene) / disparity
    return channels_first(square), np.where(disparity > 0, metres, np.nan).astype(np.float32)[None]


def _median(raw: np.ndarray, size: int) -> np.ndarray:
    """Levels [S, S], 0 = unknown -> float64 [size, size]: each cell's median of the known ones, NaN where few are.

    Ours: the upper median is a level that was measured, never a mean across the edge of an object.
    """
    step = len(raw) // size
    cells = np.sort(raw.reshape(size, step, size, step).swapaxes(1, 2).reshape(size, size, -1))
    known = (cells > 0).sum(2)
    middle = cells.shape[2] - (known + 1) // 2
    median = np.take_along_axis(cells, np.minimum(middle, cells.shape[2] - 1)[..., None], 2)[..., 0]
    return np.where(known >= KNOWN * cells.shape[2], median, np.nan)


def _baseline_focal(archive: Archive, scene: str) -> float:
    """Baseline in metres times focal length in pixels; a disparity in pixels divides it into a depth."""
    name = f"camera/{scene}_camera.json"
    camera, where = json_in(archive, name), f"{archive.path}: {name}"
    return number_in(camera, where, "extrinsic", "baseline") * number_in(camera, where, "intrinsic", "fx")
