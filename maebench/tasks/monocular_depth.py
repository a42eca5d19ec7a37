"""Depth of every pixel from frozen features of one image, by a linear map to log depth."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts.dense import explained, first, r2, refuse_none
from maebench.tasks.readouts.maps import Maps, fit_maps, refuse_components
from maebench.tasks.readouts.whole import Whole

VERSION = 4
NEEDS = "depth"
# Ours: the headline is what the read-out minimises, 0 is test's mean map; AbsRel, which depth papers rank by, is next.
METRICS = {
    "r2_log": ("", "higher"),
    "abs_rel": ("", "lower"),
    "rmse": ("m", "lower"),
    "delta1": ("%", "higher"),
}
BASELINE, LOCAL = "baseline=row mean", "local"


@dataclass(frozen=True)
class Depth:
    """A `Predict` of metres [N, R, H, W]: the headline, two that see no image (the mean map of train and the mean of
    each of its rows), the axis, and per patch.

    Fitted without the scale of images, these are depths over the geometric mean of the image.
    """

    log_depth: Maps
    centre: Tensor
    """mean log depth of train, the value that the read-out's is added to"""
    unseeing: Tensor
    """[2, H, W] log depth: the mean map of train, and the mean of each of its rows"""
    limits: tuple[float, float]
    """least and greatest log depth of train"""

    @property
    def readout(self) -> str:
        """How features became guesses."""
        return self.log_depth.readout

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, R, H, W] metres."""
        guess = (self.log_depth(images)[:, :, 0] + self.centre).clamp(*self.limits)
        unseeing = self.unseeing.expand(len(guess), -1, -1, -1)
        return torch.cat([guess[:, :1], unseeing, guess[:, 1:]], 1).exp()


def check(fit_images: int, k: int | None, axis: tuple[int, ...]) -> None:
    """Raises ValueError for a fit on no image or component."""
    refuse_none(fit_images)
    refuse_components(k, axis)


def fit(
    encode: Encode,
    whole: Whole,
    train: Split,
    val: Split,
    *,
    fit_images: int = 4_000,  # Ours: the first of train; the components of so many take seconds
    k: int | None = None,  # components that the headline reads; all, as no number of them is enough for depth
    axis: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024),  # numbers of components that r2_log is shown at
    scale: Literal["metric", "invariant"] = "metric",  # invariant: an image's scale is not scored, for unlike cameras
) -> Predict:
    """-> predict: images [N, C, H, W] -> [N, R, H, W] metres, R readings: see `Depth`.

    The read-out is fitted to log depth, less its mean in each image for `scale` "invariant", on the known pixels of the
    first `fit_images` of train, its penalties chosen on as many of val. Ours: guesses stay within the depths of train,
    since an exponential knows no bounds. Raises ValueError where no depth is known.
    """
    train, val = first(train, fit_images), first(val, fit_images)
    known = _scaled(train, scale)
    if known.isnan().all():
        raise ValueError("monocular_depth: no depth is known in the train images; look at the data set's targets")
    centre, mean_map = known.nanmean(), known.nanmean((0, 1))
    row_mean = known.nanmean((0, 1, 3))[:, None].expand_as(mean_map)
    unseeing = torch.stack([mean_map.where(~mean_map.isnan(), row_mean), row_mean]).nan_to_num(float(centre))
    limits = float(known.nan_to_num(torch.inf).min()), float(known.nan_to_num(-torch.inf).max())
    maps = fit_maps(encode, whole, train, val, lambda split: _scaled(split, scale) - centre, k, axis)
    return Depth(maps, centre, unseeing, limits)


def log_depth(split: Split) -> Tensor:
    """-> float32 [N, 1, H, W], log of metres; NaN where the depth is unknown or not positive."""
    depth = split.targets["depth"]
    return depth.where(depth > 0, torch.nan).log()


def _scaled(split: Split, scale: str) -> Tensor:
    """`log_depth`, for "invariant" less its mean over the known pixels of each image."""
    log = log_depth(split)
    return log - _level(log, scale)


def _level(log: Tensor, scale: str) -> Tensor:
    """What `scale` leaves out of logarithms [N, R, H, W], NaN = unknown: means of images [N, R, 1, 1], or nothing."""
    return torch.zeros(()) if scale == "metric" else log.nanmean((2, 3), keepdim=True)


def kept(guess: Tensor) -> Tensor:
    """Of the guess [N, R, H, W] the headline and those that see no image."""
    return guess[:, :3]


def measure(guess: Tensor, targets: dict[str, Tensor], axis: tuple[int, ...], scale: str) -> dict[str, float]:
    """guess [N, R, H, W] metres against targets["depth"] [N, 1, H, W], over all known pixels of all images alike.

    With `scale` "invariant" the guess of each image is multiplied so that its mean log depth is right, as in the
    scale-invariant error of Eigen et al. 2014, and r2_log is of log depth less its mean in each image.

    r2_log: of log depth about each pixel's mean, so that the mean map of test scores 0; abs_rel: mean |guess - depth| /
    depth; rmse in metres; delta1: the share with max(guess / depth, depth / guess) < 1.25, in per cent. "@baseline=row
    mean" is the same of the mean of each row of train, "@local" of the read-out per patch, "r2_log@k=.." of the first k
    components. The floor is the mean map of train.
    """
    wanted = log_depth(Split(guess, targets))
    said, level = _aligned(guess.log(), wanted, scale)
    of_log = [r2(said[:, place : place + 1] - level, wanted - level) for place in range(1, 3 + len(axis))]
    values = {**_scores(said[:, :1], wanted, level), **dict(_named(_scores(said[:, 2:3], wanted, level), BASELINE))}
    values |= {f"r2_log@k={k}": value for k, value in zip(axis, of_log[2:], strict=True)}
    if guess.shape[1] > 3 + len(axis):
        values |= _named(_scores(said[:, -1:], wanted, level), LOCAL)
    return {**values, "r2_log@floor": of_log[0], "r2_log@ceiling": 1.0}


def per_image(guess: Tensor, targets: dict[str, Tensor], scale: str) -> Tensor:
    """guess [N, R, H, W], targets as in `measure` -> float64 [N], each image's share of r2_log; their mean is it."""
    wanted = log_depth(Split(guess, targets))
    said, level = _aligned(guess[:, :1].log(), wanted, scale)
    return explained(said - level, wanted - level)


def _aligned(said: Tensor, wanted: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    """Log depths said [N, R, H, W] and wanted [N, 1, H, W] -> those said, by `scale`, and what r2_log leaves out."""
    return said - _level(said - wanted, scale), _level(wanted, scale)


def _named(values: dict[str, float], what: str) -> Iterator[tuple[str, float]]:
    return ((f"{metric}@{what}", value) for metric, value in values.items())


def _scores(said: Tensor, wanted: Tensor, level: Tensor) -> dict[str, float]:
    known = ~wanted.isnan()
    metres, depth = said[known].double().exp(), wanted[known].double().exp()
    ratio = metres / depth
    return {
        "r2_log": r2(said - level, wanted - level),
        "abs_rel": float((ratio - 1).abs().mean()),
        "rmse": float((metres - depth).square().mean().sqrt()),
        "delta1": 100 * float((torch.maximum(ratio, 1 / ratio) < 1.25).double().mean()),
    }
