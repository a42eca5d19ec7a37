"""Top-1 accuracy of the nearest neighbours among the train images, by the cosine of frozen, pooled features."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts import labels
from maebench.tasks.readouts.dense import first, refuse_none
from maebench.tasks.readouts.pooling import Classify, pool, refuse_cells, side, words
from maebench.tasks.readouts.ridge import inverse_sd

VERSION = 1
NEEDS = "label"
METRICS = {"top1": ("%", "higher")}

SHARPEST = 1e-6  # of the temperatures: a cosine divided by less is no float32
ROWS = 500  # images looked up at a time: 90 MB of similarities to the 45,000 of CIFAR-10


@dataclass(frozen=True)
class Neighbours:
    """The class with the most votes of the k nearest train images, each of weight exp(cosine / temperature)."""

    keys: Tensor
    """[N, D], the train images' features at mean 0 and sd 1, then of length 1"""
    centre: Tensor
    """[D], their mean"""
    scale: Tensor
    """[D], 1 / their sd, or 0 for a constant feature"""
    classes: Tensor
    """int64 [K], the labels that train has"""
    wanted: Tensor
    """int64 [N], the number of each train image's class"""
    k: int
    temperature: float

    def __call__(self, features: Tensor) -> Tensor:
        """[M, D] -> int64 [M], labels; of equal votes the first class of the list has it."""
        queries = torch.split(functional.normalize((features - self.centre) * self.scale), ROWS)
        return self.classes[torch.cat([self._votes(part).argmax(1) for part in queries])]

    def _votes(self, queries: Tensor) -> Tensor:
        """Of length 1, [R, D] -> [R, K]."""
        cosine, nearest = (queries @ self.keys.T).topk(self.k, sorted=False)
        weights = (cosine / self.temperature).softmax(1)  # as exp(cosine / T), but nothing overflows
        return weights.new_zeros(len(queries), len(self.classes)).scatter_add_(1, self.wanted[nearest], weights)


def check(cells: int, k: int, temperature: float, fit_images: int | None) -> None:
    """Raises ValueError for a setting out of its range."""
    refuse_none(fit_images)
    refuse_cells(cells)
    if k < 1:
        raise ValueError(f"k is {k}, but someone has to vote; set it to 1 or more")
    if temperature < SHARPEST:
        raise ValueError(f"temperature is {temperature}; set it to {SHARPEST:g} or more")


def fit(
    encode: Encode,
    train: Split,
    *,
    k: int = 20,  # Caron et al. 2021 (DINO)
    temperature: float = 0.07,  # Wu et al. 2018
    pooling: Literal["mean", "cells"] = "mean",  # cells: tells, coarsely, where on the grid a feature is
    cells: int = 2,  # a side of the grid, for pooling cells
    fit_images: int | None = None,  # all of train; a number takes the first ones
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N], by weighted votes of the k nearest of train, or of all.

    Nothing is trained, and nothing chosen on val. Source: Wu et al. 2018. Ours: features are brought to mean 0 and sd 1
    of train, as for the other read-outs; on val of CIFAR-10 this gave a ViT MAE 33%, plain ones or centred ones 31 to
    32%, and raw pixels or an untrained ViT no less than plain ones within 1%.
    """
    train, across = first(train, fit_images), side(pooling, cells)
    features = pool(encode, train.images, across)
    variance, centre = torch.var_mean(features, 0, correction=0)
    scale = inverse_sd(centre, variance)
    keys = functional.normalize((features - centre).mul_(scale))
    classes, wanted = torch.unique(train.targets["label"], return_inverse=True)
    model = Neighbours(keys, centre, scale, classes, wanted, min(k, len(keys)), temperature)
    return Classify(encode, model, across, words(across))


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N] and targets["label"] [N] -> the share that agrees, in per cent."""
    return labels.measure(guess, targets)


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N] and targets["label"] [N] -> float64 [N], 100 where they agree and 0 where not."""
    return labels.right(guess, targets["label"])
