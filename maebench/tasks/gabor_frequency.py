"""Gabor responses of the image from frozen features: which frequencies, and how far around, a linear map reads."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split
from maebench.tasks.readouts.dense import chunks, explained, first, refuse_none
from maebench.tasks.readouts.maps import fit_maps, refuse_components
from maebench.tasks.readouts.whole import Whole

VERSION = 2
NEEDS = None
METRICS = {"r2": ("", "higher")}

ANGLES = (0, 45, 90, 135)  # degrees; Ours, as are phi = 0 and gamma = 1


def check(
    shape: tuple[int, int, int],
    frequencies: tuple[float, ...],
    sigmas: tuple[float, ...],
    stride: int,
    fit_images: int,
    k: int | None,
    axis: tuple[int, ...],
) -> None:
    """Raises ValueError for filters that cannot be, or a stride that finds no pixel of an image (C, H, W)."""
    refuse_none(fit_images)
    refuse_components(k, axis)
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


def fit(
    encode: Encode,
    whole: Whole,
    train: Split,
    val: Split,
    *,
    frequencies: tuple[float, ...] = (0.05, 0.1, 0.2),  # cycles a pixel; Ours: periods of 20, 10 and 5 pixels
    sigmas: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0),  # pixels; Ours: how far the target reaches, from 1 pixel to 32
    stride: int = 8,  # Ours: responses at every 8th pixel; all 1024 would cost more than training
    fit_images: int = 4_000,  # Ours: the first of train; the components of so many take seconds
    k: int | None = 64,  # components that the headline reads. Ours: few, as with many any code gives 1, pixels do
    axis: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024),  # numbers of components that r2 is shown at
) -> Predict:
    """-> predict: images [N, C, H, W] -> responses [N, R, frequencies * sigmas * angles, H', W'] at the lattice pixels.

    R readings: the headline's, one each k of the axis, and for maps one per patch. Fitted on the first `fit_images` of
    train, penalties chosen on as many of val.
    """
    target = partial(responses, frequencies=frequencies, sigmas=sigmas, stride=stride)
    train, val = first(train, fit_images), first(val, fit_images)
    return fit_maps(encode, whole, train, val, lambda split: target(split.images), k, axis, stride)


def kept(guess: Tensor) -> Tensor:
    """Of the guess [N, R, ...] the headline's."""
    return guess[:, :1]


def measure(
    guess: Tensor,
    images: Tensor,
    frequencies: tuple[float, ...],
    sigmas: tuple[float, ...],
    stride: int,
    k: int | None,
    axis: tuple[int, ...],
) -> dict[str, float]:
    """guess [N, R, frequencies * sigmas * angles, H', W'] -> R^2 per (f, sigma), "r2@f=..,sigma=..", and their mean.

    One (f, sigma) pools its angles and pixels: squared errors over all of them, by their squares about the mean. "@k="
    and "@local" are the mean of the other readings. The ceiling is the best that k numbers an image can do.
    """
    wanted = _wanted(images, frequencies, sigmas, stride)
    names = _names(frequencies, sigmas)
    each = [_by_filter(guess[:, reading], wanted).mean(1) for reading in range(guess.shape[1])]
    means = [float(one.mean()) for one in each]
    details = {f"r2@k={count}": value for count, value in zip(axis, means[1:], strict=False)}
    if len(means) > 1 + len(axis):
        details["r2@local"] = means[-1]
    filters = dict(zip(names, each[0].tolist(), strict=True))
    return {"r2": means[0], **details, **filters, "r2@floor": 0.0, "r2@ceiling": _best(wanted, len(names), k)}


def per_image(
    guess: Tensor, images: Tensor, frequencies: tuple[float, ...], sigmas: tuple[float, ...], stride: int
) -> Tensor:
    """guess as in `measure` -> float64 [N], each image's share of r2; their mean is it."""
    return _by_filter(guess[:, 0], _wanted(images, frequencies, sigmas, stride)).mean(0)


def _wanted(images: Tensor, frequencies: tuple[float, ...], sigmas: tuple[float, ...], stride: int) -> Tensor:
    return torch.cat([responses(part.images, frequencies, sigmas, stride) for part in chunks(Split(images))])


def _by_filter(guess: Tensor, wanted: Tensor) -> Tensor:
    """Responses [N, T, H', W'] -> float64 [(f, sigma), N], `explained`."""
    pairs = zip(torch.split(guess, len(ANGLES), 1), torch.split(wanted, len(ANGLES), 1), strict=True)
    return torch.stack([explained(*pair) for pair in pairs])


def _best(wanted: Tensor, groups: int, k: int | None) -> float:
    """The r2 of the best linear code of k numbers for these very responses [N, T, H', W'] (Eckart and Young 1936)."""
    if k is None:
        return 1.0
    parts = (wanted - wanted.mean(0)).double().reshape(len(wanted), groups, len(ANGLES), *wanted.shape[2:])
    rows = (parts / parts.square().sum((0, 2, 3, 4), keepdim=True).sqrt()).nan_to_num().flatten(1)
    products = rows.T @ rows if rows.shape[1] <= len(rows) else rows @ rows.T  # the smaller one
    return float(torch.linalg.eigvalsh(products).flip(0)[:k].sum() / groups)


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
    g = (g / g.abs().sum((2, 3), keepdim=True)).float()
    return g.masked_fill(g.abs() < torch.finfo(g.dtype).tiny, 0)  # subnormal numbers make products ten times slower
