"""The splits of a data set, all loaded and held against what `contracts.Split` promises before anything uses them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.declaration import Declaration
from maebench.plugins import ask, load

SPLITS = ("train", "val", "test")
PROMISED = {
    "label": "int64 [N], 0 or more",
    "depth": "float32 [N, 1, H, W] in metres, above 0, NaN = unknown, some known",
    "latents": "float32 [N, L], finite",
}
Class = TypeVar("Class", int, str)


def load_splits(declared: Declaration, settings: Mapping[str, Any], root: Path) -> dict[str, Split]:
    """train, val and test of a data set. Raises ValueError as `hold` does, MissingData for an archive not there."""
    module = load(declared)
    splits = {name: ask(module.load, {"split": name, "root": root, **settings}) for name in SPLITS}
    hold(declared.name, declared.constants["TARGETS"], splits)
    return splits


def hold(dataset: str, targets: Collection[str], splits: Mapping[str, Split]) -> None:
    """Raise ValueError where splits are not as promised, one line that names data set, split and target.

    Images uint8 [N, C, H, W], of one C, H, W in all splits; the targets that are declared, a row for each image; each
    class in train and in test.
    """
    for name, split in splits.items():
        where = f"{dataset}, {name}"
        if not isinstance(split, Split):
            raise ValueError(f"{where}: load must give a contracts.Split, but gave a {type(split).__name__}")
        _hold_images(where, split.images)
        if set(split.targets) != set(targets):
            given, wanted = (", ".join(sorted(names)) or "none" for names in (split.targets, targets))
            raise ValueError(f"{where}: targets must be those in TARGETS ({wanted}), but are {given}")
        for target, value in split.targets.items():
            if not _fits(target, value, split.images):
                promise = PROMISED.get(target, "a tensor [N, ...]")
                shape = f"images are {list(split.images.shape)}"
                raise ValueError(f"{where}: '{target}' must be {promise}, but is {_words(value)}, while {shape}")
    _hold_one_shape(f"{dataset}: images", {name: split.images for name, split in splits.items()})
    if "latents" in targets:
        _hold_one_shape(f"{dataset}: 'latents'", {name: split.targets["latents"] for name, split in splits.items()})
    if "label" in targets:
        hold_classes(f"{dataset}, label", {name: class_counts(split) for name, split in splits.items()})


def class_counts(split: Split) -> dict[int, int]:
    """Label -> how many images of a split bear it, for the labels that it has."""
    labels, counts = torch.unique(split.targets["label"], return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def hold_classes(what: str, counts: Mapping[str, Mapping[Class, int]]) -> None:
    """Raise ValueError where there are fewer than two classes, or one has no images in train or none in test.

    counts: split -> class -> number of images.
    """
    every = sorted({one for of_split in counts.values() for one, count in of_split.items() if count})
    if len(every) < 2:
        raise ValueError(f"{what}: all images are of one class, {every[0]!r}; there must be two or more")
    lost = [one for one in every if not (counts["train"].get(one) and counts["test"].get(one))]
    if lost:
        has = ", ".join(f"{counts[split].get(lost[0], 0)} in {split}" for split in SPLITS)
        more = f" ({len(lost)} classes are like this)" if len(lost) > 1 else ""
        raise ValueError(f"{what}: class {lost[0]!r} needs images in train and in test, but has {has}{more}")


def _hold_images(where: str, images: Any) -> None:
    """Raise ValueError for images that are not uint8 [N, C, H, W], or plainly not in this order or range."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
        raise ValueError(f"{where}: images must be uint8 [N, C, H, W], 0 to 255, but are {_words(images)}")
    if images.shape[3] <= 4 < images.shape[1]:
        raise ValueError(f"{where}: images must be [N, C, H, W], but {list(images.shape)} has its channels last")
    if int(images.max()) <= 1:
        raise ValueError(f"{where}: images must be 0 to 255, but no value is above 1; multiply them by 255")


def _fits(target: str, value: Any, images: Tensor) -> bool:
    if not isinstance(value, Tensor) or value.shape[:1] != images.shape[:1]:
        return False
    if target == "label":
        return value.dtype == torch.int64 and value.ndim == 1 and int(value.min()) >= 0
    if target == "depth":
        known = value[~value.isnan()]
        in_metres = len(known) > 0 and bool((known > 0).all()) and bool(known.isfinite().all())
        return value.dtype == torch.float32 and value.shape == images[:, :1].shape and in_metres
    if target == "latents":
        return value.dtype == torch.float32 and value.ndim == 2 and bool(value.isfinite().all())
    return True


def _hold_one_shape(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a row is not of the same shape in all splits."""
    if len({tensor.shape[1:] for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"{list(tensor.shape[1:])} in {name}" for name, tensor in tensors.items())
        raise ValueError(f"{what} must have one shape in all splits, but are {shapes}")


def _words(value: Any) -> str:
    """What was given in place of a tensor that fits: type, shape, smallest and largest value, and how many are NaN."""
    if not isinstance(value, Tensor):
        return f"{type(value).__name__}, no tensor"
    text = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    known = value[~value.isnan()]
    if len(known):
        text += f", {known.min():.4g} to {known.max():.4g}"
    return text + (f", {value.numel() - len(known)} NaN" if len(known) < value.numel() else "")
