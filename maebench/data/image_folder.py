"""Any labelled ImageFolder tree or zip, <class>/<image>, each image's centre square resized."""

from pathlib import Path

import numpy as np
import torch

from maebench.contracts import MissingData, Split
from maebench.data.reading.archive import Archive, classes, fingerprint, images, opened
from maebench.data.reading.cache import cached
from maebench.seeding import number

VERSION = 2
TARGETS = ("label",)
HOW_TO_GET = (
    "bring your own: a folder or zip of <class>/<image>, or of train/, val/ and test/ with that inside; see `path`"
)

VALS = ("val", "valid", "validation")


def load(
    split: str,
    *,
    root: Path,
    path: str,  # the folder or zip, relative to the data root or absolute
    size: int = 32,  # Ours: pixels of CIFAR-10, so that the same variants fit
) -> Split:
    """One part of the tree: images uint8 [N, 3, size, size] and "label" int64 [N], the classes in alphabetical order.

    Ours: train/, val/ (or valid/, validation/) and test/ are the three parts where all are there. With train/ and only
    one of the others, that one is test and a tenth of train is val; with neither, a tenth is val and a tenth is test.
    A tenth is drawn by a hash of <class>/<image>. Rows go round the classes, so any first rows are nearly balanced.
    Raises MissingData where there is nothing at `path`, ValueError for a broken tree, zip or image.
    """
    place = root / path
    if not place.exists():
        raise MissingData(
            f"image_folder: no {place}; put a folder or zip of <class>/<image> there, or set another `path`"
        )
    if size < 1:
        raise ValueError(f"image_folder: size {size} is not a number of pixels; set it to 1 or more")
    arrays = cached("image_folder", f"{VERSION} {split} {size} {fingerprint(place)}", lambda: _read(place, split, size))
    return Split(torch.from_numpy(arrays["images"]), {"label": torch.from_numpy(arrays["label"])})


def _read(place: Path, split: str, size: int) -> dict[str, np.ndarray]:
    with opened(place) as archive:
        parts = _parts(archive)
        labels = {name: label for label, name in enumerate(parts["train"])}
        if unknown := sorted(set(parts[split]) - set(labels)):
            raise ValueError(f"{place}: class {unknown[0]!r} has no training images; add some or remove it")
        rows = [
            (rank, labels[name], member)
            for name, members in parts[split].items()
            for rank, member in enumerate(members)
        ]
        if not rows:
            raise ValueError(f"{place}: no images for {split}; it needs <class>/<image> with more images")
        rows.sort()
        label = np.array([row[1] for row in rows], dtype=np.int64)
        return {"images": images(archive, [row[2] for row in rows], size), "label": label}


def _parts(archive: Archive) -> dict[str, dict[str, list[str]]]:
    """The images of each class, for each split."""
    tops = {name.split("/")[0] for name in archive.members if "/" in name}
    val, test = next((name for name in VALS if name in tops), ""), "test" if "test" in tops else ""
    if "train" not in tops and (val or test):
        raise ValueError(f"{archive.path}: has {val or test}/ but no train/; add it, or rename that class")
    train = classes(archive, "train" if "train" in tops else "")
    if val and test:
        return {"train": train, "val": classes(archive, val), "test": classes(archive, test)}
    if held_out := val or test:
        return {"train": _drawn(train, 1, 10), "val": _drawn(train, 0, 1), "test": classes(archive, held_out)}
    return {"train": _drawn(train, 2, 10), "val": _drawn(train, 0, 1), "test": _drawn(train, 1, 2)}


def _drawn(found: dict[str, list[str]], start: int, stop: int) -> dict[str, list[str]]:
    """Of each class, the images whose hash falls into the tenths from start to stop."""
    return {name: [member for member in members if start <= _tenth(member) < stop] for name, members in found.items()}


def _tenth(member: str) -> int:
    return number(0, member.removeprefix("train/")) % 10
