"""Images made worse in nine ways and five severities, each image in a way of its own that all encoders see.

In the spirit of Hendrycks and Dietterich 2019 (ImageNet-C): noise, blur, weather, digital. Ours: the selection, the
formulas and the severities, which were set by eye for 32 x 32 pixels; lengths in pixels grow with the image.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional

from maebench.tasks.readouts.content import own_stream
from maebench.tasks.readouts.similarity import smoothing

SEVERITIES = 5
SIDE = 32  # pixels of a side for which the lengths below are given
Corrupt = Callable[[Tensor, float, list[Generator]], Tensor]
"""Images [B, C, H, W] in [0, 1], a strength, a generator an image -> the same, worse; what leaves [0, 1] is clipped."""


def corrupt(images: Tensor, name: str, severity: int) -> Tensor:
    """uint8 [B, C, H, W], a name of CORRUPTIONS, a severity of 0 (none) to SEVERITIES -> the same shape and type.

    The random numbers of an image depend on its content and the name alone.
    """
    if severity == 0 or not len(images):
        return images
    change, strengths = CORRUPTIONS[name]
    streams = [own_stream(image, name) for image in images]
    worse = change(images.float() / 255, strengths[severity - 1], streams)
    return worse.clamp(0, 1).mul(255).round().to(torch.uint8)


def _draws(images: Tensor, draw: Callable[..., Tensor], streams: list[Generator]) -> Tensor:
    return torch.stack([draw(images.shape[1:], generator=rng) for rng in streams])


def _gaussian_noise(images: Tensor, sd: float, streams: list[Generator]) -> Tensor:
    return images + sd * _draws(images, torch.randn, streams)


def _shot_noise(images: Tensor, photons: float, streams: list[Generator]) -> Tensor:
    """White is a Poisson number of so many photons."""
    pairs = zip(images, streams, strict=True)
    return torch.stack([torch.poisson(image * photons, generator=rng) / photons for image, rng in pairs])


def _impulse_noise(images: Tensor, share: float, streams: list[Generator]) -> Tensor:
    """Such a share of the values becomes black or white."""
    draws = _draws(images, torch.rand, streams)
    return images.where(draws >= share, (draws < share / 2).float())


def _gaussian_blur(images: Tensor, sd: float, streams: list[Generator]) -> Tensor:
    vertical, horizontal = (smoothing(length, sd * _scale(images), reach=3.0) for length in images.shape[2:])
    return vertical @ images @ horizontal.T


def _motion_blur(images: Tensor, length: float, streams: list[Generator]) -> Tensor:
    """The mean over a horizontal way of this length and half of it on each side of the pixel."""
    width = images.shape[3]
    distance = (torch.arange(width)[:, None] - torch.arange(width)).abs()
    weights = (length * _scale(images) / 2 + 0.5 - distance).clamp(0, 1)
    return images @ (weights / weights.sum(1, keepdim=True)).T


def _brightness(images: Tensor, more: float, streams: list[Generator]) -> Tensor:
    return images + more


def _contrast(images: Tensor, left: float, streams: list[Generator]) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + left * (images - mean)


def _haze(images: Tensor, share: float, streams: list[Generator]) -> Tensor:
    """A veil of light grey, thicker here and thinner there, takes this share of each pixel on average."""
    knots = torch.stack([torch.rand(1, 4, 4, generator=rng) for rng in streams])
    veil = functional.interpolate(knots, images.shape[2:], mode="bicubic", align_corners=True).clamp(0, 1)
    share_here = (share * (0.5 + veil)).clamp(max=1)
    return images + share_here * (0.6 + 0.4 * veil - images)


def _pixelate(images: Tensor, left: float, streams: list[Generator]) -> Tensor:
    """As many pixels as this share of the sides has, of unequal size where they must be."""
    vertical, horizontal = (_cells(length, max(1, round(length * left))) for length in images.shape[2:])
    return vertical @ images @ horizontal.T


def _cells(length: int, count: int) -> Tensor:
    """-> float32 [length, length], the matrix that takes the mean of a line in each of so many cells."""
    cell = torch.arange(length) * count // length
    same = (cell[:, None] == cell).float()
    return same / same.sum(1, keepdim=True)


CORRUPTIONS: Mapping[str, tuple[Corrupt, tuple[float, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.03, 0.06, 0.09, 0.13, 0.18)),
    "shot_noise": (_shot_noise, (300, 120, 60, 30, 15)),
    "impulse_noise": (_impulse_noise, (0.01, 0.03, 0.06, 0.1, 0.15)),
    "gaussian_blur": (_gaussian_blur, (0.5, 0.7, 0.9, 1.2, 1.6)),
    "motion_blur": (_motion_blur, (2, 3, 4, 6, 8)),
    "brightness": (_brightness, (0.06, 0.12, 0.18, 0.26, 0.35)),
    "contrast": (_contrast, (0.8, 0.6, 0.45, 0.3, 0.18)),
    "haze": (_haze, (0.15, 0.3, 0.45, 0.6, 0.75)),
    "pixelate": (_pixelate, (0.8, 0.6, 0.45, 0.3, 0.2)),
}


def _scale(images: Tensor) -> float:
    return min(images.shape[2:]) / SIDE
