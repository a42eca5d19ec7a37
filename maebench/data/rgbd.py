"""Photographs with measured depth from a zip or folder of rgb/, depth/, index.csv and meta.json, cut into crops."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from maebench.contracts import MissingData, Split
from maebench.data.reading.archive import (
    Archive,
    channels_first,
    fingerprint,
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
    "bring your own: a folder or zip of rgb/<id>.png, depth/<id>.png (16-bit), index.csv (id, group) and meta.json "
    "(kind, unit, scale, invalid); see `path`"
)

SHARES = {"train": 0.7, "test": 0.2, "val": 0.1}  # Ours: of the crops; few groups only come near it


def load(
    split: str,
    *,
    root: Path,
    path: str,  # the folder or zip, relative to the data root or absolute
    size: int = 32,  # pixels of a crop's side, as CIFAR-10
    stride: int = 8,  # Ours: pixels between crops; overlapping ones make 116 small images 10,000 crops
    valid: float = 0.9,  # Ours: least share of a crop's pixels with a known depth
) -> Split:
    """One part of the crops: images uint8 [N, 3, s, s] and "depth" float32 [N, 1, s, s] in metres, NaN = unknown.

    Ours: each group, largest number of crops first, goes to the split that is least full, measured against 70 % train,
    20 % test and 10 % val (ties: in this order), so that images of one place are never on both sides.
    Raises MissingData where there is nothing at `path`, ValueError for a broken archive or one of fewer than 3 groups.
    """
    place = root / path
    if not place.exists():
        raise MissingData(f"rgbd: no {place}; put a zip or folder of this layout there, or set another `path`")
    if size < 1 or stride < 1 or not 0 <= valid <= 1:
        raise ValueError(f"rgbd: size {size} and stride {stride} must be at least 1, valid {valid} within 0 and 1")
    key = f"{VERSION} {size} {stride} {valid} {fingerprint(place)}"
    arrays = cached("rgbd", key, lambda: _read(place, size, stride, valid))
    images, depth = (torch.from_numpy(arrays[f"{split}_{name}"]) for name in ("images", "depth"))
    return Split(images, {"depth": depth})


def _read(place: Path, size: int, stride: int, valid: float) -> dict[str, np.ndarray]:
    with opened(place) as archive:
        scale, invalid = _units(archive)
        groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for name, group in _index(archive):
            colour, depth = channels_first(stored_rgb(archive, f"rgb/{name}.png")), levels(archive, f"depth/{name}.png")
            if colour.shape[1:] != depth.shape:
                raise ValueError(f"{place}: rgb and depth of {name!r} differ in size; replace one")
            metres = np.where(depth == invalid, np.nan, depth / scale).astype(np.float32)
            groups.setdefault(group, []).append(_crops(colour, metres, size, stride, valid))
    arrays = {}
    for split, names in _assigned({group: sum(len(c) for c, _ in crops) for group, crops in groups.items()}).items():
        if not names:
            raise ValueError(f"{place}: has crops of fewer than 3 groups, one for each split; lower size or valid")
        for position, kind in enumerate(("images", "depth")):
            arrays[f"{split}_{kind}"] = np.concatenate([crop[position] for name in names for crop in groups[name]])
    return arrays


def _units(archive: Archive) -> tuple[float, int]:
    """What one metre is in raw levels, and the raw level that means "no measurement"."""
    meta, where = json_in(archive, "meta.json"), f"{archive.path}: meta.json"
    for key, wanted in (("kind", "depth"), ("unit", "metre")):
        if not isinstance(meta, dict) or meta.get(key) != wanted:
            raise ValueError(f'{where}: {key} must be "{wanted}"; mend it')
    scale = number_in(meta, where, "scale")
    try:
        return scale, int(meta["invalid"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{where}: invalid must be the level that means no measurement, a whole number; mend it"
        ) from None


def _index(archive: Archive) -> list[tuple[str, str]]:
    """(id, group) of each image, in the order of the ids."""
    try:
        rows = list(csv.DictReader(archive.read("index.csv").decode("utf-8-sig").splitlines()))
        groups = {row["id"]: row["group"] for row in rows}
    except (KeyError, UnicodeDecodeError, csv.Error):
        groups = {}
    if not groups or len(groups) < len(rows) or not all(groups) or not all(groups.values()):
        raise ValueError(f"{archive.path}: index.csv needs columns id and group, each id once, none empty; mend it")
    return sorted(groups.items())


def _crops(
    colour: np.ndarray, depth: np.ndarray, size: int, stride: int, valid: float
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [3, H, W] and float32 [H, W] -> the crops with enough known depth, [N, 3, s, s] and [N, 1, s, s]."""
    if min(depth.shape) < size:
        return np.empty((0, 3, size, size), np.uint8), np.empty((0, 1, size, size), np.float32)
    stacked = (
        np.lib.stride_tricks.sliding_window_view(plane, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        for plane in (colour, depth[None])
    )
    images, depths = (np.moveaxis(windows, 0, 2).reshape(-1, len(windows), size, size) for windows in stacked)
    enough = np.isfinite(depths).mean((1, 2, 3)) >= valid
    return images[enough], depths[enough]


def _assigned(crops: dict[str, int]) -> dict[str, list[str]]:
    """Number of crops of each group -> the groups of each split, in alphabetical order."""
    assigned: dict[str, list[str]] = {split: [] for split in SHARES}
    full: Counter[str] = Counter()
    for group, count in sorted(crops.items(), key=lambda item: (-item[1], item[0])):
        if count:
            split = min(SHARES, key=lambda split: full[split] / SHARES[split])
            full[split] += count
            assigned[split].append(group)
    return {split: sorted(groups) for split, groups in assigned.items()}
