"""How alike two images are: SSIM at every pixel, and the Gaussian smoothing that it takes."""

import torch
from torch import Tensor

SD, REACH = 1.5, 3.5  # a window of 11 pixels; Wang et al. 2004
FAINT = 0.01**2, 0.03**2  # K1, K2 of Wang et al. 2004, squared, for values in [0, 1]


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Images [B, C, H, W] in [0, 1] -> [B, C, H, W] at most 1, the structural similarity around each pixel.

    Source: Wang et al. 2004, Eq. 13, moments weighted by a Gaussian. Images go on beyond their edge as mirrored.
    """
    vertical, horizontal = (smoothing(length, SD, REACH) for length in one.shape[2:])

    def mean(values: Tensor) -> Tensor:
        return vertical @ values @ horizontal.T

    means = mean(one), mean(other)
    variances = [mean(image**2) - about**2 for image, about in zip((one, other), means, strict=True)]
    shared = mean(one * other) - means[0] * means[1]
    light = (2 * means[0] * means[1] + FAINT[0]) / (means[0] ** 2 + means[1] ** 2 + FAINT[0])
    return light * (2 * shared + FAINT[1]) / (variances[0] + variances[1] + FAINT[1])


def smoothing(length: int, sd: float, reach: float) -> Tensor:
    """-> float32 [length, length], the matrix that smooths a line by a Gaussian of this sd, cut off at reach * sd.

    Beyond its ends the line goes on as its mirror image, the last value twice.
    """
    radius = int(reach * sd + 0.5)
    steps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (steps / sd).double().square())
    place = (torch.arange(length)[:, None] + steps) % (2 * length)
    place = torch.minimum(place, 2 * length - 1 - place)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, place, (weights / weights.sum()).expand(length, -1)).float()
