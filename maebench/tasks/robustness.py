"""Top-1 accuracy of a linear classifier, fitted on clean features pooled over the grid, for corrupted test images."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts import labels, logistic
from maebench.tasks.readouts.content import fingerprint
from maebench.tasks.readouts.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from maebench.tasks.readouts.dense import chunks, first, refuse_none
from maebench.tasks.readouts.pooling import pool

VERSION = 1
NEEDS = "label"
METRICS = {"top1": ("%", "higher")}

NAMES = tuple(CORRUPTIONS)


@dataclass(frozen=True)
class Classify:
    """A `Predict` of classes of an image at each severity, int64 [N, 1 + SEVERITIES], the first one clean."""

    encode: Encode
    model: logistic.Logistic
    readout: str = "pooled"

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> int64 [N, 1 + SEVERITIES]."""
        clean = self.model(pool(self.encode, images))
        worse = [torch.cat([self._at(part.images, s) for part in chunks(Split(images))]) for s in severities()]
        return torch.stack([clean, *worse], 1)

    def _at(self, images: Tensor, severity: int) -> Tensor:
        return self.model(pool(self.encode, worsened(images, severity)))


def severities() -> Iterator[int]:
    """All but 0, the clean image."""
    return iter(range(1, SEVERITIES + 1))


def kinds(images: Tensor) -> Tensor:
    """uint8 images [N, C, H, W] -> int64 [N, SEVERITIES], the number in NAMES of the corruption at each severity.

    Five different ones for an image, from a place that its content gives: all corruptions are equally frequent at each
    severity.
    """
    starts = torch.tensor([int(fingerprint(image)[:12], 16) for image in images], dtype=torch.int64)
    return (starts[:, None] + torch.arange(SEVERITIES)) % len(NAMES)


def worsened(images: Tensor, severity: int) -> Tensor:
    """uint8 images [N, C, H, W] -> the same, each by its own corruption at this severity."""
    kind, worse = kinds(images)[:, severity - 1], images.clone()
    for number, name in enumerate(NAMES):
        rows = (kind == number).nonzero().flatten()
        worse[rows] = corrupt(images[rows], name, severity)
    return worse


def check(fit_images: int | None) -> None:
    """Raises ValueError for a fit on no image."""
    refuse_none(fit_images)


def fit(
    encode: Encode,
    train: Split,
    val: Split,
    *,
    fit_images: int | None = None,  # all of train; a number takes the first ones
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N, 1 + SEVERITIES], by logistic regression on clean features.

    Fitted on the first `fit_images` of train, the L2 penalty chosen on as many of val; no corrupted image is seen.
    Ours: a test image is corrupted once at each severity, in five of the nine ways. It takes 5 passes in place of 45
    through the encoder, about as many images as the linear probe encodes of CIFAR-10's train split, and each way at
    each severity has a ninth of the test images. Which way, and its random numbers, follow from the image's content,
    so they are the same for every encoder and for whatever else is asked with it.
    """
    train, val = first(train, fit_images), first(val, fit_images)
    rows = [(pool(encode, part.images), part.targets["label"]) for part in (train, val)]
    return Classify(encode, logistic.fit(*rows[0], *rows[1]))


def measure(guess: Tensor, targets: dict[str, Tensor], images: Tensor) -> dict[str, float]:
    """guess [N, 1 + SEVERITIES] -> per cent right, the mean over all severities but 0, as are "top1@corruption=..".

    "top1@severity=.." is the mean over the corruptions, 0 the clean images. A corruption that no image met is left out.
    """
    right, kind = labels.right(guess, targets["label"]), kinds(images)
    by_kind = {name: right[:, 1:][kind == number] for number, name in enumerate(NAMES)}
    return {
        "top1": float(right[:, 1:].mean()),
        **{f"top1@severity={severity}": float(column.mean()) for severity, column in enumerate(right.T)},
        **{f"top1@corruption={name}": float(part.mean()) for name, part in by_kind.items() if len(part)},
        **labels.limits(targets["label"]),
    }


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N, 1 + SEVERITIES] -> float64 [N], per cent of the severities but 0 that are right."""
    return labels.right(guess, targets["label"])[:, 1:].mean(1)
