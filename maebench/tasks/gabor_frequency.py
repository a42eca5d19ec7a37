"""Gabor responses of the image from frozen features: which frequencies, and how far around, a linear map reads."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts.dense import chunks, first, fit_dense, r2, refuse_lattice, refuse_none

VERSION = 1
NEEDS = None
METRICS = {"r2": ("", "higher")}

ANGLES = (0, 45, 90, 135)  # degrees; Ours, as are phi = 0 and gamma = 1


def check(
    shape: tuple[int, int, int],
    frequencies: tuple[float, ...],
    sigmas: tuple[float, ...],
    stride: int,
    fit_images: int,
    grid: tuple[int, int] | None = None,
) -> None:
    """Raises ValueError for filters or a lattice that cannot be.

    The lattice must have a pixel of an image (C, H, W), and the patches on `grid` must be able to share it.
    """
    refuse_none(fit_images)
    if not frequencies or min(frequencies) < 0 or not sigmas or min(sigmas) <= 0:
        raise ValueError(
            f"needs frequencies of 0 or more and sigmas above 0, one of each at least, not {frequencies} and {sigmas}"
        )
    names = _names(frequencies, sigmas)
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two filters have one name, {min(twice)}; write each frequency and each sigma once")
    limit = 2 * min(shape[1:])
    if not 1 <= stride < limit:
        raise ValueError(f"stride {stride} finds no pixel; set it to 1 or more, below {limit}")
    if grid:
        refuse_lattice(grid, shape[1:], stride)


def fit(
    encode: Encode,
    train: Split,
    val: Split,
    *,
    frequencies: tuple[float, ...] = (0.05, 0.1, 0.2),  # cycles a pixel; Ours: periods of 20, 10 and 5 pixels
    sigmas: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0),  # pixels; Ours: how far the target reaches, from 1 pixel to 32
    stride: int = 8,  # Ours: responses at every 8th pixel; all 1024 would cost more than training
    fit_images: int = 5_000,  # Ours: the first of train; a dense fit on all would cost more than training
) -> Predict:
    """-> predict: images [N, C, H, W] -> responses [N, frequencies * sigmas * angles, H', W'] at the lattice pixels.

    Fitted on the first `fit_images` of train, penalties chosen on as many of val.
    """
    target = partial(responses, frequencies=frequencies, sigmas=sigmas, stride=stride)
    train, val = first(train, fit_images), first(val, fit_images)
    return fit_dense(encode, train, val, lambda split: target(split.images), stride)


def measure(
    guess: Tensor, images: Tensor, frequencies: tuple[float, ...], sigmas: tuple[float, ...], stride: int
) -> dict[str, float]:
    """guess [N, frequencies * sigmas * angles, H', W'] -> R^2 per (f, sigma), "r2@f=..,sigma=..", and their mean, "r2".

    One (f, sigma) pools its angles and pixels: squared errors over all of them, by their squares about the mean.
    """
    parts = [responses(part.images, frequencies, sigmas, stride) for part in chunks(Split(images))]
    groups = zip(
        _names(frequencies, sigmas),
        *(torch.split(maps, len(ANGLES), 1) for maps in (guess, torch.cat(parts))),
        strict=True,
    )
    values = {name: r2(guesses, wanted) for name, guesses, wanted in groups}
    return {"r2": sum(values.values()) / len(values), **values}


def _names(frequencies: tuple[float, ...], sigmas: tuple[float, ...]) -> list[str]:
    return [f"r2@f={f:g},sigma={sigma:g}" for f in frequencies for sigma in sigmas]


def responses(images: Tensor, frequencies: tuple[float, ...], sigmas: tuple[float, ...], stride: int) -> Tensor:
    """uint8 images [N, C, H, W] -> float32 [N, F, H', W']: the grey image (0..1) convolved with each filter.

    At the pixels stride // 2 + stride * i, H' x W' of them; the image is continued by reflection. Filters are even, so
    convolution and correlation agree. Ours: grey is the mean of the channels.
    """
    radius = min(math.ceil(3 * max(sigmas)), *(size - 1 for size in images.shape[2:]))  # a reflection is no longer
    grey = images.float().mean(1, keepdim=True) / 255
    around = functional.pad(grey, (radius,) * 4, mode="reflect")
    from_first = around[:, :, stride // 2 :, stride // 2 :]
    return functional.conv2d(from_first, filters(frequencies, sigmas, radius), stride=stride)


def filters(frequencies: tuple[float, ...], sigmas: tuple[float, ...], radius: int) -> Tensor:
    """-> float32 [F, 1, 2*radius+1, 2*radius+1], ordered by frequency, sigma, angle; sum |g| = 1.

    g = exp(-(x'^2 + y'^2) / (2 sigma^2)) cos(2 pi f x'), x' = x cos t + y sin t, y' = -x sin t + y cos t; its mean is
    not removed. Source: "From Linearity to Non-Linearity", Eq. 8, with phi = 0, gamma = 1; Ours: the L1 norm, and
    |x|, |y| <= radius.
    """
    line = torch.arange(-radius, radius + 1, dtype=torch.float64)
    f = torch.tensor(frequencies, dtype=torch.float64).view(-1, 1, 1, 1, 1)
    sigma = torch.tensor(sigmas, dtype=torch.float64).view(-1, 1, 1, 1)
    t = torch.tensor(ANGLES, dtype=torch.float64).deg2rad().view(-1, 1, 1)
    along = line * t.cos() + line[:, None] * t.sin()
    across = -line * t.sin() + line[:, None] * t.cos()
    g = torch.exp(-(along**2 + across**2) / (2 * sigma**2)) * torch.cos(2 * math.pi * f * along)
    g = g.flatten(0, 2)[:, None]
    return (g / g.abs().sum((2, 3), keepdim=True)).float()
