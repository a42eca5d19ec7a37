"""How far pixels go together in images, and how far a model looks: measures on the distance between two pixels.

Axes: N images, C channels, H W pixels, O outputs of a model, n distances. Tensors are on the CPU; distances are
Euclidean and in pixels. Ours: pairs of pixels are counted at their distance rounded to the nearest whole pixel, so that
every distance from 0 to the largest has pairs.
Source: "From Linearity to Non-Linearity" (arXiv 2508.15404), Eq. 5 and 11, Figures 3, 5, 6 and 9.
"""

import torch
from torch import Tensor

from maebench.theory.frequency import power_spectrum


def autocorrelation(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps, float [N, H, W] -> distances [n] and correlation rho [n], both float64.

    The mean of f(a) f(b) over all pairs of pixels a, b at a distance, and over all images, divided by its value at
    distance 0. The caller centres the maps: what is subtracted (a mean per pixel, or one of all) is what "correlation"
    means here. Lags are summed by a Fourier transform padded with zeros, so that no pair wraps round an edge.
    Source: Eq. 5; the normalisation is ours. Raises ValueError where all maps are 0.
    """
    H, W = maps.shape[1:]
    size = (2 * H - 1, 2 * W - 1)
    sums = torch.fft.fftshift(torch.fft.ifft2(power_spectrum(maps, padded=size)).real)  # per lag, up to one factor
    y, x = (torch.arange(1 - length, length, dtype=torch.float64) for length in (H, W))
    pairs = torch.outer(H - y.abs(), W - x.abs())
    distance = torch.hypot(y[:, None], x).round().long().flatten()
    mean = distance.bincount(sums.flatten()) / distance.bincount(pairs.flatten())
    if mean[0] == 0:
        raise ValueError("every map is 0 everywhere; an autocorrelation needs images that vary")
    return torch.arange(len(mean), dtype=torch.float64), mean / mean[0]


def pixel_distances(shape: tuple[int, int]) -> Tensor:
    """Image size (H, W) -> float64 [H*W, H*W], the distance between two pixels in row-major order, not rounded."""
    H, W = shape
    y, x = torch.arange(H, dtype=torch.float64).repeat_interleave(W), torch.arange(W, dtype=torch.float64).repeat(H)
    return torch.hypot(y[:, None] - y, x[:, None] - x)


def shares(jacobian: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Derivatives [..., O, C*H*W] of O outputs by an image (C, H, W) -> each pixel's share of an output [..., O, H*W].

    |J| summed over the channels of a pixel, divided by its sum over the image. The Jacobian of a linear map is the map.
    Ours: an output that depends on no pixel keeps shares of 0, and so a mean distance and an entropy of 0.
    """
    C, H, W = shape
    weight = jacobian.abs().reshape(*jacobian.shape[:-1], C, H * W).sum(-2)
    total = weight.sum(-1, keepdim=True)
    return weight / total.masked_fill(total == 0, 1)


def influence(shares: Tensor, outputs: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Shares [O, H*W] -> distances [n] and the mean share of the pairs (output, pixel) at each, both float64.

    `outputs` int64 [O] says which of the C*H*W values of an image (C, H, W) each row is the output for; all of a map
    are `torch.arange(C * H * W)`. For several images, give the mean of their shares. Source: Fig. 5 and 6.
    """
    distance = pixel_distances(shape[1:]).round().long()[_pixel(outputs, shape)].flatten()
    mean = distance.bincount(shares.double().flatten()) / distance.bincount()
    return torch.arange(len(mean), dtype=torch.float64), mean


def mean_distance(shares: Tensor, outputs: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Shares [..., O, H*W] -> float64 [..., O]: sum_i p_i dist(i, j), how far output j looks on average, in pixels.

    `outputs` int64 [O] as for `influence`. Ours: the distance is not rounded here.
    """
    return (shares * pixel_distances(shape[1:])[_pixel(outputs, shape)]).sum(-1)


def entropy(shares: Tensor) -> Tensor:
    """Shares [..., O, H*W] -> spatial entropy [..., O] in [0, log(H*W)] nats: -sum_i p_i log p_i, 0 where p_i is 0.

    0 where an output looks at one pixel, log(H*W) where it looks at all alike. Source: Eq. 11; nats are ours.
    """
    terms: Tensor = torch.special.entr(shares)
    return terms.sum(-1)


def _pixel(outputs: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Flattened index in (C, H, W) -> index of its pixel in (H, W)."""
    return outputs % (shape[1] * shape[2])
