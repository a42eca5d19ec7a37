"""The latents that each image was drawn from, by a linear map from all of the frozen feature map."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts import ridge
from maebench.tasks.readouts.dense import chunks, first, r2, refuse_none

VERSION = 1
NEEDS = "latents"
METRICS = {"r2": ("", "higher")}


@dataclass(frozen=True)
class Latents:
    """A `Predict` of latents [N, L], and how it reads features: "global", "whole map" or the cells it averages over."""

    encode: Encode
    affine: ridge.Affine
    cells: int
    readout: str

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, L]."""
        return torch.cat([self.affine(rows(self.encode(part.images), self.cells)) for part in chunks(Split(images))])


def check(cells: int, fit_images: int | None) -> None:
    """Raises ValueError for less than one cell, or a fit on no image."""
    refuse_none(fit_images)
    if cells < 1:
        raise ValueError(f"cells is {cells}, but a read-out needs at least one a side; set it to 1 or more")


def fit(
    encode: Encode,
    train: Split,
    val: Split,
    *,
    cells: int = 4,  # a side of the map. Ours: 16 times the width is a read-out of seconds, 64 times one of minutes
    fit_images: int | None = None,  # all of train; a number takes the first ones
) -> Predict:
    """-> predict: images [N, C, H, W] -> latents [N, L], by ridge regression on the map averaged in cells x cells.

    Ours, as Kong et al. 2023 measure no latents: not pooled to one mean, which does not tell where a thing is. Fitted
    on the first `fit_images` of train, the penalty of each latent chosen on as many of val.
    """

    def pairs(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        for part in chunks(split):
            yield rows(encode(part.images), cells), part.targets["latents"]

    train, val = first(train, fit_images), first(val, fit_images)
    held = list(pairs(val))
    affine = ridge.fit(lambda: pairs(train), lambda: held)
    h, w = encode(first(train, 1).images).shape[2:]
    return Latents(encode, affine, cells, _words(h, w, cells))


def rows(features: Tensor, cells: int) -> Tensor:
    """[N, D, h, w] -> [N, D * min(h, cells) * min(w, cells)], the mean of each cell of the map."""
    h, w = (min(side, cells) for side in features.shape[2:])
    return functional.adaptive_avg_pool2d(features, (h, w)).flatten(1)


def _words(h: int, w: int, cells: int) -> str:
    if max(h, w) == 1:
        return "global"
    return "whole map" if max(h, w) <= cells else f"{min(h, cells)}x{min(w, cells)} cells"


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N, L] against targets["latents"] [N, L] -> R^2 of each latent, "r2@column=..", and their mean, "r2".

    A latent that is the same in all test images has no R^2 and is left out. Raises ValueError where all are.
    """
    wanted = targets["latents"]
    varied = (wanted != wanted[:1]).any(0).nonzero().flatten().tolist()
    if not varied:
        raise ValueError("latents: no latent differs between the test images; take more of them, or another data set")
    values = {f"r2@column={column}": r2(guess[:, column], wanted[:, column]) for column in varied}
    return {"r2": sum(values.values()) / len(values), **values}
