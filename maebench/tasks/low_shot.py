"""Top-1 accuracy of a linear classifier on frozen features, pooled over the grid, from few labels a class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split
from maebench.seeding import stream
from maebench.tasks.readouts import labels, logistic
from maebench.tasks.readouts.dense import first, refuse_none
from maebench.tasks.readouts.pooling import Classify, pool

VERSION = 1
NEEDS = "label"
METRICS = {"top1": ("%", "higher")}

SHOTS = (1, 5, 10, 25)  # labels a class. Ours, after Kakogeorgiou et al. 2022 (AttMask), who have 1, 5, 10 and 20
HEADLINE = 10
DRAWS = 5  # Kakogeorgiou et al. 2022 (AttMask)
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01)  # Ours: with weaker ones too it took 4 times as long and scored no more


@dataclass(frozen=True)
class Classifiers:
    """What each classifier makes of the same features: first the draws of SHOTS[0] labels a class, then of the next."""

    models: tuple[logistic.Logistic, ...]

    def __call__(self, features: Tensor) -> Tensor:
        """[N, D] -> int64 [N, SHOTS * DRAWS], labels."""
        return torch.stack([model(features) for model in self.models], 1)


def check(fit_images: int | None) -> None:
    """Raises ValueError for a fit on no image."""
    refuse_none(fit_images)


def fit(
    encode: Encode,
    train: Split,
    val: Split,
    *,
    fit_images: int | None = None,  # all of train; a number draws from the first ones, and takes as many of val
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N, SHOTS * DRAWS], by logistic regression on so many labels.

    The draws are the same for every encoder and every seed. The L2 penalty is chosen on val. Ours: on all of it, so
    that what is measured is the features and not how well few labels choose a penalty.
    """
    train, val = first(train, fit_images), first(val, fit_images)
    (features, wanted), held = [(pool(encode, part.images), part.targets["label"]) for part in (train, val)]
    rows = [drawn(wanted, shots, draw) for shots in SHOTS for draw in range(DRAWS)]
    models = tuple(logistic.fit(features[few], wanted[few], *held, PENALTIES) for few in rows)
    return Classify(encode, Classifiers(models), readout="pooled" + _lacking(wanted))


def drawn(wanted: Tensor, shots: int, draw: int) -> Tensor:
    """Labels int64 [N] -> int64 [R], the rows of `shots` images of each class, or of all that it has.

    The same labels and draw give the same rows, and those of fewer shots are among those of more.
    """
    order = torch.randperm(len(wanted), generator=stream(0, "low shot", draw))
    order = order[wanted[order].argsort(stable=True)]
    counts = torch.unique(wanted, return_counts=True)[1]
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return order[place < shots]


def _lacking(wanted: Tensor) -> str:
    """For people: how many of the classes of labels [N] have fewer images than the most that are drawn."""
    few = int((torch.unique(wanted, return_counts=True)[1] < max(SHOTS)).sum())
    return f", {few} classes of fewer than {max(SHOTS)} images" if few else ""


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N, SHOTS * DRAWS] and targets["label"] [N] -> per cent right, the mean over the draws of HEADLINE shots.

    "top1@shots=.." is the same of other numbers of labels a class, "top1@draw=.." of each of the headline's draws.
    """
    draws = _by_draw(guess, targets["label"]).mean(0)
    chosen = draws[SHOTS.index(HEADLINE)]
    return {
        "top1": float(chosen.mean()),
        **{f"top1@shots={shots}": float(part.mean()) for shots, part in zip(SHOTS, draws, strict=True)},
        **{f"top1@draw={number}": float(value) for number, value in enumerate(chosen)},
        **labels.limits(targets["label"]),
    }


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N, SHOTS * DRAWS] -> float64 [N], per cent of the headline's draws that are right."""
    return _by_draw(guess, targets["label"])[:, SHOTS.index(HEADLINE)].mean(1)


def _by_draw(guess: Tensor, wanted: Tensor) -> Tensor:
    """-> float64 [N, SHOTS, DRAWS], 100 or 0."""
    return labels.right(guess, wanted).view(-1, len(SHOTS), DRAWS)
