"""Top-1 accuracy of a linear classifier on the first principal components of the whole frozen feature map."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Predict, Split
from maebench.tasks.readouts import labels, logistic
from maebench.tasks.readouts.dense import first, refuse_none
from maebench.tasks.readouts.maps import refuse_components, words
from maebench.tasks.readouts.whole import Components, Whole

VERSION = 1
NEEDS = "label"
METRICS = {"top1": ("%", "higher")}


@dataclass(frozen=True)
class Classify:
    """A `Predict` of classes, int64 [N, R], R readings: the headline's number of components, and each of the axis."""

    found: Components
    counts: tuple[int, ...]
    """components of each reading"""
    models: dict[int, logistic.Logistic]
    """by their number of components"""
    readout: str

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> int64 [N, R], the class of each by each reading."""
        scores = _scores(self.found, images)
        return torch.stack([self.models[count](scores[:, :count]) for count in self.counts], 1)


def check(fit_images: int, k: int | None, axis: tuple[int, ...]) -> None:
    """Raises ValueError for a fit on no image or component."""
    refuse_none(fit_images)
    refuse_components(k, axis)


def fit(
    whole: Whole,
    train: Split,
    val: Split,
    *,
    fit_images: int = 4_000,  # Ours: the first of train; the components of so many take seconds
    k: int | None = 256,  # components that the headline reads. Ours: as linear_ae's code has values; more fit the noise
    axis: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024),  # numbers of components that top1 is shown at
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N, R], by logistic regression on standardised components.

    Fitted on the first `fit_images` of train, each L2 penalty chosen on as many of val.
    """
    train, val = first(train, fit_images), first(val, fit_images)
    found = whole(train.images).up_to((k, *axis))
    (features, wanted), (held, seen) = [(_scores(found, part.images), part.targets["label"]) for part in (train, val)]
    most = len(found.variances) + 1
    counts = tuple(most if count is None else min(count, most) for count in (k, *axis))
    models = {
        count: logistic.fit(features[:, :count], wanted, held[:, :count], seen) for count in dict.fromkeys(counts)
    }
    return Classify(found, counts, models, words(k))


def _scores(found: Components, images: Tensor) -> Tensor:
    """uint8 images [N, C, H, W] -> [N, K + 1], the last one 0, so that features without a component have one."""
    return functional.pad(found(images), (0, 1))


def kept(guess: Tensor) -> Tensor:
    """Of the guess [N, R] the headline's."""
    return guess[:, :1]


def measure(guess: Tensor, targets: dict[str, Tensor], axis: tuple[int, ...]) -> dict[str, float]:
    """guess [N, R] and targets["label"] [N] -> the share that agrees, in per cent; "top1@k=..": by other numbers."""
    at = {f"top1@k={k}": labels.measure(guess[:, place], targets)["top1"] for place, k in enumerate(axis, 1)}
    return {**labels.measure(guess[:, 0], targets), **at}


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N, R] and targets["label"] [N] -> float64 [N], 100 where the headline's agree and 0 where not."""
    return labels.right(guess[:, 0], targets["label"])
