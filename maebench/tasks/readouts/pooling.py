"""A feature map -> one row of features an image: the mean over the grid, or over each of a few cells of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Split
from maebench.tasks.readouts.dense import chunks

Pooling = Literal["mean", "cells"]


@dataclass(frozen=True)
class Classify:
    """A `Predict` by a classifier of pooled features, [N, D] -> classes int64 [N, ...]."""

    encode: Encode
    classify: Callable[[Tensor], Tensor]
    cells: int = 1
    readout: str = "pooled"

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> int64 [N, ...], the class of each."""
        return self.classify(pool(self.encode, images, self.cells))


def refuse_cells(cells: int) -> None:
    """Raise ValueError for less than one cell a side."""
    if cells < 1:
        raise ValueError(f"cells is {cells}, but a read-out needs at least one a side; set it to 1 or more")


def side(pooling: Pooling, cells: int) -> int:
    """The cells a side that the setting `pooling` asks for."""
    return cells if pooling == "cells" else 1


def words(cells: int) -> str:
    """How features are pooled, for people."""
    return "pooled" if cells == 1 else f"{cells}x{cells} cells"


def cell_means(features: Tensor, cells: int) -> Tensor:
    """[N, D, h, w] -> [N, D * min(h, cells) * min(w, cells)], the mean of each cell of the map."""
    h, w = (min(length, cells) for length in features.shape[2:])
    return functional.adaptive_avg_pool2d(features, (h, w)).flatten(1)


def pool(encode: Encode, images: Tensor, cells: int = 1) -> Tensor:
    """uint8 images [N, C, H, W] -> float32 [N, D'], the `cell_means` of their features."""
    return torch.cat([cell_means(encode(part.images), cells) for part in chunks(Split(images))])
