"""Any labelled ImageFolder tree or zip, <class>/<image>, each image's centre square resized."""

from pathlib import Path

import numpy as np
import torch

from maebench.contracts import MissingData, Split
from maebench.data.reading.archive import Archive, fingerprint, images, opened
from maebench.data.reading.cache import cached
from maebench.data.reading.splits import SPLITS, hold_classes
from maebench.data.reading.tree import classes, layout
from maebench.seeding import number

VERSION = 2
TARGETS = ("label",)
HOW_TO_GET = (
    "bring your own: a folder or zip of <class>/<image>, or of train/, val/ and test/ with that inside; see `path`"
)


def load(
    split: str,
    *,
    root: Path,
    path: str,  # the folder or zip, relative to the data root or absolute
    size: int = 32,  # Ours: pixels of CIFAR-10, so that the same variants fit
) -> Split:
    """One part of the tree: images uint8 [N, 3, size, size] and "label" int64 [N], the classes in alphabetical order.

    Ours: where the tree has all three parts, they are taken as they are. With train and only one of the others, that
    one is test and a tenth of train is val; with neither, a tenth is val and a tenth is test. A tenth is drawn by a
    hash of <class>/<image>. Rows go round the classes, so any first rows are nearly balanced.
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


def class_names(*, root: Path, path: str) -> list[str]:
    """The names of the classes, in the order of their labels. Raises ValueError as `load` does."""
    with opened(root / path) as archive:
        return list(classes(archive, layout(archive)["train"]))


def _read(place: Path, split: str, size: int) -> dict[str, np.ndarray]:
    with opened(place) as archive:
        parts = _parts(archive)
        labels = {name: label for label, name in enumerate(parts["train"])}
        rows = sorted(
            (rank, labels[name], member)
            for name, members in parts[split].items()
            for rank, member in enumerate(members)
        )
        label = np.array([row[1] for row in rows], dtype=np.int64)
        return {"images": images(archive, [row[2] for row in rows], size), "label": label}


def _parts(archive: Archive) -> dict[str, dict[str, list[str]]]:
    """The images of each class, for each split: none without images, and no class but those of train."""
    begins = layout(archive)
    parts = {part: classes(archive, below) for part, below in begins.items()}
    if len(parts) == 1:
        parts = _cut(parts["train"], begins["train"], {"train": range(2, 10), "val": range(1), "test": range(1, 2)})
    elif len(parts) == 2:
        test = parts["test" if "test" in parts else "val"]
        parts = {**_cut(parts["train"], begins["train"], {"train": range(1, 10), "val": range(1)}), "test": test}
    how = "" if len(begins) == len(parts) else ", where tenths of train are drawn by name"
    counts = {part: {name: len(members) for name, members in parts[part].items()} for part in SPLITS}
    hold_classes(f"{archive.path}{how}", counts)
    if not any(counts["val"].values()):
        raise ValueError(f"{archive.path}{how}: no images for val; add images, or a folder val/")
    return parts


def _cut(found: dict[str, list[str]], below: str, cuts: dict[str, range]) -> dict[str, dict[str, list[str]]]:
    """The images of each class, for each split: those whose hash falls into its tenths."""
    tenths = {member: number(0, member.removeprefix(below)) % 10 for members in found.values() for member in members}
    return {
        split: {name: [one for one in members if tenths[one] in tenth] for name, members in found.items()}
        for split, tenth in cuts.items()
    }
