"""Top-1 accuracy of a linear classifier on frozen features, pooled over the grid."""

from dataclasses import dataclass

from torch import Tensor

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts import logistic
from maebench.tasks.readouts.dense import first, pooled, refuse_none

VERSION = 1
NEEDS = "label"
METRICS = {"top1": ("%", "higher")}


@dataclass(frozen=True)
class Classify:
    """A `Predict` of classes, int64 [N]."""

    encode: Encode
    model: logistic.Logistic
    readout: str = "pooled"

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> int64 [N], the class of each."""
        return self.model(pooled(self.encode, images))


def check(fit_images: int | None) -> None:
    """Raises ValueError for a fit on no image."""
    refuse_none(fit_images)


def fit(
    encode: Encode,
    train: Split,
    val: Split,
    *,
    fit_images: int | None = None,  # all of train; a number takes the first ones, for a table of few labels
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N], by logistic regression on pooled, standardised features.

    Fitted on the first `fit_images` of train, the L2 penalty chosen on as many of val.
    """
    train, val = first(train, fit_images), first(val, fit_images)
    rows = [(pooled(encode, part.images), part.targets["label"]) for part in (train, val)]
    return Classify(encode, logistic.fit(*rows[0], *rows[1]))


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N] and targets["label"] [N] -> the share that agrees, in per cent."""
    return {"top1": 100 * float((guess == targets["label"]).double().mean())}
