"""Frozen features -> what a read-out sees: chunks of images, and one map per patch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import Encode, Split
from maebench.tasks.readouts import ridge

CHUNK = 1000  # images encoded at a time; the same slices for every task, so that the encoder remembers them


def refuse_none(fit_images: int | None) -> None:
    """Raise ValueError where a read-out would be fitted on no image; None stands for all of them."""
    if fit_images is not None and fit_images < 1:
        raise ValueError(
            f"fit_images is {fit_images}, but a read-out needs at least one image to be fitted on; set it to more"
        )


def first(split: Split, count: int | None) -> Split:
    """The first `count` images of a split, or all of them for None. Raises ValueError where that is no image."""
    refuse_none(count)
    return _cut(split, slice(count))


def chunks(split: Split) -> Iterator[Split]:
    """The split in slices of at most CHUNK images."""
    return (_cut(split, slice(start, start + CHUNK)) for start in range(0, len(split.images), CHUNK))


def _cut(split: Split, part: slice) -> Split:
    return Split(split.images[part], {name: target[part] for name, target in split.targets.items()})


@dataclass(frozen=True)
class Dense:
    """A `Predict` of maps [N, T, H', W'], each patch read by one map to the targets in it, shared over positions."""

    encode: Encode
    affine: ridge.Affine
    mean: Tensor
    """[D, h', w'], of the features at each position"""
    shape: tuple[int, int, int]
    """(T, H', W')"""
    base: Tensor
    """[T, H', W'], of the targets at each position"""
    stride: int

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, T, H', W']."""
        return torch.cat([self._one(part.images) for part in chunks(Split(images))])

    def _one(self, images: Tensor) -> Tensor:
        features = cells(self.encode(images), images.shape[2:], self.stride) - self.mean
        return from_rows(self.affine(feature_rows(features)), self.shape, features.shape[2:]) + self.base


def fit_dense(encode: Encode, train: Split, val: Split, target: Callable[[Split], Tensor], stride: int = 1) -> Dense:
    """Fit one linear map from a patch's features to `target(split)`, [N, T, H', W'], NaN = unknown, by `ridge.fit`.

    The targets are those of every `stride`-th pixel in both directions, from stride // 2 on; patches without one are
    not read. The mean at each position is removed first, of features and targets, so that what is read is what sets an
    image apart from the mean map. Raises ValueError where the patch does not divide the image, or neither of patch and
    stride the other.
    """
    mean, base = _means(encode, train, target, stride)

    def rows(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        for part in chunks(split):
            features = cells(encode(part.images), part.images.shape[2:], stride) - mean
            yield feature_rows(features), target_rows(target(part) - base, features.shape[2:])

    held = list(rows(val))
    affine = ridge.fit(lambda: rows(train), lambda: held)
    count, height, width = base.shape
    return Dense(encode, affine, mean, (count, height, width), base, stride)


def _means(encode: Encode, train: Split, target: Callable[[Split], Tensor], stride: int) -> tuple[Tensor, Tensor]:
    """[D, h', w'] of the features and [T, H', W'] of the known targets; 0 where a target is never known."""
    total, known, features = torch.zeros(3, 1, dtype=torch.float64)
    for part in chunks(train):
        wanted = target(part)
        total = total + wanted.nansum(0, dtype=torch.float64)
        known = known + (~wanted.isnan()).sum(0)
        here = cells(encode(part.images), part.images.shape[2:], stride)
        features = features + here.sum(0, dtype=torch.float64)
    return (features / len(train.images)).float(), (total / known).nan_to_num(0).float()


def cells(features: Tensor, size: tuple[int, ...], stride: int) -> Tensor:
    """[N, D, h, w] -> [N, D, h', w']: the patches of an image of `size` = (H, W) that hold a pixel of the lattice."""
    (first_y, step_y), (first_x, step_x) = (
        _lattice(*axis, stride) for axis in zip(features.shape[2:], size, strict=True)
    )
    return features[:, :, first_y::step_y, first_x::step_x]


def shares_lattice(grid: tuple[int, int], size: tuple[int, ...], stride: int) -> bool:
    """Whether patches on a grid (h, w) of an image (H, W) can share one read-out at every `stride` pixels."""
    try:
        return all(_lattice(*axis, stride) for axis in zip(grid, size, strict=True))
    except ValueError:
        return False


def _lattice(count: int, size: int, stride: int) -> tuple[int, int]:
    """The first patch of an axis that holds a lattice pixel, and the step to the next."""
    patch, rest = divmod(size, count)
    if rest or (count > 1 and patch % stride and stride % patch):
        raise ValueError(
            f"a read-out at every {stride} pixels cannot be shared by {count} patches over {size} pixels; "
            "the patch must divide the image, and patch or stride the other (see the task's setting stride)"
        )
    return (0, 1) if count == 1 or patch % stride == 0 else (stride // 2 // patch, stride // patch)


def feature_rows(features: Tensor) -> Tensor:
    """[N, D, h, w] -> [N*h*w, D]."""
    return features.movedim(1, 3).flatten(0, 2)


def target_rows(target: Tensor, grid: tuple[int, ...]) -> Tensor:
    """[N, T, H', W'] -> [N*h*w, T*q], q = the pixels of one of the h x w cells."""
    (images, count, height, width), (h, w) = target.shape, grid
    blocks = target.reshape(images, count, h, height // h, w, width // w)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)


def from_rows(rows: Tensor, shape: tuple[int, int, int], grid: tuple[int, ...]) -> Tensor:
    """[N*h*w, T*q] -> [N, T, H', W']; the inverse of `target_rows`."""
    (count, height, width), (h, w) = shape, grid
    blocks = rows.view(-1, h, w, count, height // h, width // w)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(-1, count, height, width)


def r2(guess: Tensor, target: Tensor) -> float:
    """Explained share of the variance of targets [N, ...], NaN = unknown, about each output's own mean; 1 is perfect.

    Squared errors and squares are summed over all outputs before they are divided.
    """
    return float(explained(guess, target).mean())


def explained(guess: Tensor, target: Tensor) -> Tensor:
    """guess and targets [N, ...], NaN = unknown -> float64 [N], scores of the images whose mean is `r2`.

    With e and a the squared error of an image and its squares about each output's mean, E and A their sums over the
    images: 1 - E / A - (e - a E / A) N / A, so that their spread tells the error of a ratio of two sums.
    """
    unknown = target.isnan()
    parts = [(one - target).double().square().masked_fill(unknown, 0) for one in (guess, target.nanmean(0))]
    error, about = (part.reshape(len(target), -1).sum(1) for part in parts)
    left = error.sum() / about.sum()
    return 1 - left - (error - left * about) * len(target) / about.sum()
