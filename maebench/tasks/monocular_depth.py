"""Depth of every pixel from frozen features of one image, by a linear map to log depth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts.dense import Dense, first, fit_dense, r2, refuse_lattice, refuse_none

VERSION = 1
NEEDS = "depth"
# Ours: the headline is the measure that depth papers rank by.
METRICS = {
    "abs_rel": ("", "lower"),
    "rmse": ("m", "lower"),
    "delta1": ("%", "higher"),
    "r2_log": ("", "higher"),
}
BASELINE = "row mean"


@dataclass(frozen=True)
class Depth:
    """A `Predict` of metres [N, 2, H, W]: the read-out's, and in channel 1 what the mean of each row of train says."""

    log_depth: Dense
    centre: Tensor
    """mean log depth of train, the value that the read-out's is added to"""
    row_mean: Tensor
    """[H, 1] mean log depth of each row of train"""
    limits: tuple[float, float]
    """least and greatest log depth of train"""

    @property
    def readout(self) -> str:
        """How features became guesses."""
        return self.log_depth.readout

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, 2, H, W] metres."""
        guess = (self.log_depth(images) + self.centre).clamp(*self.limits)
        return torch.cat([guess, self.row_mean.expand_as(guess)], 1).exp()


def check(shape: tuple[int, int, int], fit_images: int, grid: tuple[int, int] | None = None) -> None:
    """Raises ValueError for a fit on no image, or patches on `grid` that do not divide an image (C, H, W)."""
    refuse_none(fit_images)
    if grid:
        refuse_lattice(grid, shape[1:], stride=1)


def fit(
    encode: Encode,
    train: Split,
    val: Split,
    *,
    fit_images: int = 5_000,  # Ours: the first of train; a dense fit on all would cost more than training
) -> Predict:
    """-> predict: images [N, C, H, W] -> [N, 2, H, W] metres, the read-out's and, to compare, the row mean's.

    The read-out is fitted to log depth on the known pixels of the first `fit_images` of train, its penalties chosen on
    as many of val. Ours: guesses stay within the depths of train, since an exponential knows no bounds. Raises
    ValueError where no depth is known.
    """
    train, val = first(train, fit_images), first(val, fit_images)
    known = log_depth(train)
    if known.isnan().all():
        raise ValueError("monocular_depth: no depth is known in the train images; look at the data set's targets")
    centre, row_mean = known.nanmean(), known.nanmean((0, 1, 3))[:, None]
    limits = float(known.nan_to_num(torch.inf).min()), float(known.nan_to_num(-torch.inf).max())
    dense = fit_dense(encode, train, val, lambda split: log_depth(split) - centre)
    return Depth(dense, centre, row_mean.nan_to_num(float(centre)), limits)


def log_depth(split: Split) -> Tensor:
    """-> float32 [N, 1, H, W], log of metres; NaN where the depth is unknown or not positive."""
    depth = split.targets["depth"]
    return depth.where(depth > 0, torch.nan).log()


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N, 2, H, W] metres against targets["depth"] [N, 1, H, W], over all known pixels of all images alike.

    abs_rel: mean |guess - depth| / depth; rmse in metres; delta1: the share with max(guess / depth, depth / guess) <
    1.25, in per cent; r2_log: of log depth about each pixel's mean, so that the mean map scores 0. "@row mean" is the
    same of channel 1.
    """
    wanted = log_depth(Split(guess, targets))
    scores = {name: _scores(guess[:, at : at + 1], wanted) for at, name in enumerate(("", f"@{BASELINE}"))}
    return {metric + name: value for name, values in scores.items() for metric, value in values.items()}


def _scores(guess: Tensor, wanted: Tensor) -> dict[str, float]:
    known = ~wanted.isnan()
    metres, depth = guess[known].double(), wanted[known].double().exp()
    ratio = metres / depth
    return {
        "abs_rel": float((ratio - 1).abs().mean()),
        "rmse": float((metres - depth).square().mean().sqrt()),
        "delta1": 100 * float((torch.maximum(ratio, 1 / ratio) < 1.25).double().mean()),
        "r2_log": r2(guess.log(), wanted),
    }
