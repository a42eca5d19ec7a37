"""CIFAR-10: 60,000 photographs of 32 x 32 pixels in 10 classes, 45k train / 5k val / 10k test."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from maebench.contracts import MissingData, Split
from maebench.data.reading.archive import fingerprint, images, opened
from maebench.data.reading.cache import cached
from maebench.data.reading.tree import classes

VERSION = 1
TARGETS = ("label",)
HOW_TO_GET = "'maebench data fetch cifar10' downloads the official archive (170 MB) into the data root"

OFFICIAL = ("cifar-10-batches-py",)
FOLDERS = ("cifar10-jpeg.zip", "cifar10.zip", "cifar10-jpeg", "cifar10")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EACH = {"train": 5000, "test": 1000}  # images of each class in the two parts of CIFAR-10
VAL = 500  # Ours: of each class, the last 500 training images


def load(
    split: str,
    *,
    root: Path,
    channels: Literal["rgb", "grey"] = "rgb",  # grey: one channel, ITU-R 601 luma
    source: Literal["any", "official", "folder"] = "any",  # any: the official files where they are there
) -> Split:
    """One part of CIFAR-10: images uint8 [N, C, 32, 32], C = 3 or 1, and "label" int64 [N], alphabetical.

    Ours: val is the last 500 training images of each class, in the order of the official batches, or of the file names.
    Rows go round the classes (first of each class, second of each class, ...), so any first rows are balanced.
    Raises MissingData where there is no CIFAR-10, ValueError for a broken or incomplete one.
    """
    path = _find(root, source)
    read = _official if path.name in OFFICIAL else _folder
    arrays = cached("cifar10", f"{VERSION} {split} {fingerprint(path)}", lambda: read(path, split))
    pixels = _luma(arrays["images"]) if channels == "grey" else arrays["images"]
    return Split(torch.from_numpy(pixels), {"label": torch.from_numpy(arrays["label"])})


def class_names() -> list[str]:
    """The names of the classes, in the order of their labels."""
    return CLASSES


def fetch(root: Path) -> None:
    """Download and unpack the official archive into the data root. LookupError, one line, where that fails."""
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise MissingData(
            f"cifar10: the download into {root} failed ({error}); try again, or put a copy there"
        ) from None


def _find(root: Path, source: str) -> Path:
    names = {"any": OFFICIAL + FOLDERS, "official": OFFICIAL, "folder": FOLDERS}[source]
    for name in names:
        if (root / name).exists():
            return root / name
    raise MissingData(
        f"cifar10: no CIFAR-10 under {root} (looked for {', '.join(names)}); "
        f"get it with 'maebench data fetch cifar10 --data-root {root}', or pass --data-root"
    )


def _official(path: Path, split: str) -> dict[str, np.ndarray]:
    from torchvision.datasets import CIFAR10

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy on the age of these pickles
            # torchvision compares the MD5 sums before it unpickles anything, so only the official files are read.
            whole = CIFAR10(str(path.parent), train=split != "test", download=False)
    except RuntimeError:
        raise ValueError(
            f"{path}: is not the official CIFAR-10 (a file is missing or its MD5 is wrong); "
            f"delete it, then 'maebench data fetch cifar10 --data-root {path.parent}'"
        ) from None
    labels = np.array(whole.targets, dtype=np.int64)
    rows = _rows(labels, split)
    return {"images": whole.data[rows].transpose(0, 3, 1, 2).copy(), "label": labels[rows]}


def _folder(path: Path, split: str) -> dict[str, np.ndarray]:
    part = "test" if split == "test" else "train"
    with opened(path) as archive:
        found = classes(archive, f"{part}/")
        counts, whole = {name: len(members) for name, members in found.items()}, dict.fromkeys(CLASSES, EACH[part])
        if counts != whole:
            raise ValueError(
                f"{path}: is not all of CIFAR-10, which has {EACH[part]} images in each {part}/<class>/ "
                f"(found: {_wrong(counts, whole)}); fetch it again or replace it"
            )
        names = [name for members in found.values() for name in members]
        labels = np.repeat(np.arange(10), EACH[part])
        rows = _rows(labels, split)
        return {"images": images(archive, [names[row] for row in rows], 32), "label": labels[rows]}


def _wrong(counts: dict[str, int], whole: dict[str, int]) -> str:
    name = next(name for name in [*whole, *counts] if counts.get(name) != whole.get(name))
    return f"{counts.get(name, 0)} of {name!r}"


def _rows(labels: np.ndarray, split: str) -> np.ndarray:
    """Labels [N] of a whole part, as many of each class -> the rows of a split, going round the classes."""
    by_class = np.stack([np.flatnonzero(labels == label) for label in range(10)])
    rows: dict[str, np.ndarray] = {"train": by_class[:, :-VAL], "val": by_class[:, -VAL:], "test": by_class}
    return rows[split].ravel("F")


def _luma(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 3, H, W] -> uint8 [N, 1, H, W]. Source: ITU-R BT.601, in the 16-bit fixed point that Pillow uses."""
    grey = np.empty_like(images[:, :1])
    for start in range(0, len(images), 250):  # small enough for the processor's cache
        r, g, b = np.split(images[start : start + 250].astype(np.uint32), 3, axis=1)
        grey[start : start + 250] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
    return grey
