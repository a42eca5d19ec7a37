"""Top-1 accuracy of a linear classifier on frozen features, pooled over the grid."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts import batchnorm, labels, logistic
from maebench.tasks.readouts.dense import first, refuse_none
from maebench.tasks.readouts.pooling import Classify, pool, refuse_cells, side, words

VERSION = 2
NEEDS = "label"
METRICS = {"top1": ("%", "higher")}


def check(
    cells: int,
    layer: int | None,
    protocol: str,
    epochs: int,
    batch: int,
    base_lr: float,
    fit_images: int | None,
    layers: int | None = None,
) -> None:
    """Raises ValueError for a setting out of its range, given how many layers the variant has, where that is known."""
    refuse_none(fit_images)
    refuse_cells(cells)
    if layer is not None and layers is not None:
        _refuse_layer(layer, layers)
    ranges = [
        ("epochs", epochs, epochs >= 1, "1 or more"),
        ("batch", batch, batch >= 2, "2 or more"),
        ("base_lr", base_lr, base_lr > 0, "more than 0"),
        ("fit_images", fit_images, protocol == "logistic" or fit_images != 1, "2 or more, as batch norm needs"),
    ]
    for name, value, allowed, wanted in ranges:
        if not allowed:
            raise ValueError(f"{name} is {value}; set it to {wanted}")


def _refuse_layer(layer: int, layers: int) -> None:
    if not layers:
        raise ValueError("the variant has no layers(), so what comes after its parts is unknown; leave layer out")
    if not 1 <= layer <= layers:
        raise ValueError(f"layer is {layer}; set it to 1 to {layers}, the parts of the variant, input first")


def fit(
    encode: Encode,
    layers: Sequence[Encode],
    train: Split,
    val: Split,
    seed: int,
    *,
    pooling: Literal["mean", "cells"] = "mean",  # cells: tells, coarsely, where on the grid a feature is
    cells: int = 2,  # a side of the grid, for pooling cells. Ours: 4 times the width
    layer: int | None = None,  # none: the encoder's features; i: what comes after the i-th part, input first
    protocol: Literal["logistic", "batchnorm_sgd"] = "logistic",  # Ours: no rate or epochs that swing the score
    epochs: int = 90,  # of batchnorm_sgd, as are the next two; He et al. 2022 (MAE)
    batch: int = 256,  # Ours: enough steps on few images; the paper has 16,384
    base_lr: float = 1.0,  # lr = base_lr * batch / 256. Ours: best on val of 0.01 to 1; the paper's 0.1 is for LARS
    fit_images: int | None = None,  # all of train; a number takes the first ones, for a table of few labels
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N], by a linear classifier of pooled, standardised features.

    Fitted on the first `fit_images` of train. "logistic": logistic regression, its L2 penalty chosen on as many of val.
    "batchnorm_sgd": the MAE paper's training, on features without augmentation; val is not used.
    """
    if layer is not None:
        _refuse_layer(layer, len(layers))
    source, across = encode if layer is None else layers[layer - 1], side(pooling, cells)
    train, val = first(train, fit_images), first(val, fit_images)
    features, wanted = pool(source, train.images, across), train.targets["label"]
    if protocol == "batchnorm_sgd":
        return Classify(source, batchnorm.fit(features, wanted, seed, epochs, batch, base_lr), across, words(across))
    held = pool(source, val.images, across), val.targets["label"]
    return Classify(source, logistic.fit(features, wanted, *held), across, words(across))


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N] and targets["label"] [N] -> the share that agrees, in per cent."""
    return labels.measure(guess, targets)


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N] and targets["label"] [N] -> float64 [N], 100 where they agree and 0 where not."""
    return labels.right(guess, targets["label"])
