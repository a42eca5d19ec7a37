"""Target maps read from frozen features: from the whole map, at several numbers of components, and patch by patch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import Encode, Split
from maebench.tasks.readouts.dense import Dense, chunks, fit_dense, shares_lattice
from maebench.tasks.readouts.whole import Components, Reading, Whole, read

MOST = 10**9  # components; more than any map has
Target = Callable[[Split], Tensor]
"""a split -> float32 [N, T, H', W'], NaN = unknown"""


@dataclass(frozen=True)
class Maps:
    """A `Predict` of maps [N, R, T, H', W'], R readings: the headline's, one each k of the axis, and per patch."""

    found: Components
    readings: Sequence[Reading]
    shape: tuple[int, ...]
    """(T, H', W')"""
    local: Dense | None
    """per patch; None for a global code, or patches that cannot share one read-out"""
    readout: str

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, R, T, H', W']."""
        return torch.cat([self._one(part.images) for part in chunks(Split(images))])

    def _one(self, images: Tensor) -> Tensor:
        scores = self.found(images)
        maps = [reading(scores).view(-1, *self.shape) for reading in self.readings]
        return torch.stack([*maps, *([self.local(images)] if self.local else [])], 1)


def fit_maps(
    encode: Encode,
    whole: Whole,
    train: Split,
    val: Split,
    target: Target,
    k: int | None,
    axis: Sequence[int],
    stride: int = 1,
) -> Maps:
    """Read `target(split)` from the first k components of the whole map (None: all), from those of each k of the axis,
    and from each patch alone the pixels in it (`fit_dense`, with this stride), where there are patches that can.
    """
    wanted = [torch.cat([target(part) for part in chunks(split)]) for split in (train, val)]
    rows = [(split.images, maps.flatten(1)) for split, maps in zip((train, val), wanted, strict=True)]
    found = whole(train.images).up_to((k, *axis))
    readings = read(found, rows[0], rows[1], (k, *axis))
    h, w = encode(next(chunks(train)).images).shape[2:]
    per_patch = (h, w) != (1, 1) and shares_lattice((h, w), train.images.shape[2:], stride)
    local = fit_dense(encode, train, val, target, stride) if per_patch else None
    return Maps(found, readings, tuple(wanted[0].shape[1:]), local, words(k))


def words(k: int | None) -> str:
    """How features became guesses."""
    return "whole map" if k is None else f"whole map, {k} components"


def refuse_components(k: int | None, axis: Sequence[int]) -> None:
    """Raise ValueError for less than one component or more than MOST, or one that stands in the axis twice."""
    if min([k or 1, *axis], default=1) < 1 or k == 0 or max([k or 1, *axis]) > MOST:
        raise ValueError(f"k is {k} and axis {list(axis)}; a read-out needs 1 component or more, at most {MOST:,}")
    if len(set(axis)) < len(axis):
        raise ValueError(f"axis has a number twice: {list(axis)}")
