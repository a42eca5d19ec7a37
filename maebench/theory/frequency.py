"""Masks and images in the frequency domain.

Axes: N images, H W pixels, h w patches, n samples or frequencies. Spectra are discrete Fourier transforms without a
factor, F_k = sum_t f_t exp(-2 pi j k t / n), in the order of `torch.fft`, so that the zero frequency comes first.
Masking multiplies an image by a mask, so its spectrum is the circular convolution of theirs, divided by H*W.
Source: "From Linearity to Non-Linearity" (arXiv 2508.15404), appendix F.
"""

import torch
from torch import Tensor

CHUNK = 2**20
"""Values that are transformed at once. Ours: 8 MiB of spectra, whatever the number of images."""


def pulse_spectrum(starts: Tensor, width: int, length: int) -> Tensor:
    """Spectrum, complex128 [length], of the mask that is 1 on the pulses [start, start + width) and 0 elsewhere.

    `starts` int64, any number, of pulses that do not overlap; one past the end goes on at the beginning.
    sum_i exp(-j w n_i) (1 - exp(-j w P)) / (1 - exp(-j w)), w = 2 pi k / length: a sum of phases times a Dirichlet
    kernel. Source: Eq. 21.
    """
    return _phases(starts, length).sum(1) * _dirichlet(width, length)


def mask_spectrum(hidden: Tensor, patch: int) -> Tensor:
    """hidden bool [h, w] -> spectrum, complex128 [H, W], of the mask that is 1 on visible pixels and 0 on hidden ones.

    Each visible patch is a pulse along either axis, and a product over the axes. That 1 means visible is ours: it is
    the mask by which a masked image is multiplied.
    """
    sizes = [side * patch for side in hidden.shape]
    y, x = (_phases(torch.arange(0, size, patch), size) for size in sizes)
    kernel = torch.outer(*(_dirichlet(patch, size) for size in sizes))
    return y @ (~hidden).to(y.dtype) @ x.T * kernel


def power_spectrum(
    images: Tensor,
    *,
    padded: tuple[int, int] | None = None,  # none: the size of the images, whose opposite edges then meet
) -> Tensor:
    """Images, float [N, H, W] -> float64 [H, W], or of the padded size: the mean over the images of |F|^2 / (H*W).

    Its mean over all frequencies is the mean square of a pixel (Parseval), and white noise of variance v has v at each.
    The factor is ours. Zeros pad an image at its far ends. Nothing is subtracted: the zero frequency holds the images'
    mean, unless the caller centres them.
    """
    H, W = padded or (images.shape[1], images.shape[2])
    half = torch.zeros(H, W // 2 + 1, dtype=torch.float64)
    step = max(1, CHUNK // (H * W))
    for start in range(0, len(images), step):
        part = images[start : start + step].double()
        half += torch.fft.rfft2(part, s=(H, W), norm="ortho").abs().square().sum(0)
    mirrored = half[:, 1 : (W + 1) // 2].flip(0, 1).roll(1, 0)  # a real image has the same power at -k as at k
    return torch.cat([half, mirrored], 1) / len(images)


def radial(psd: Tensor) -> tuple[Tensor, Tensor]:
    """Power spectrum [H, W] -> frequencies [n] in cycles per pixel and the mean power over each ring [n], float64.

    Ours: rings are 1 / max(H, W) wide, around whole multiples of it, and go on to the corners at sqrt(1/2).
    """
    y, x = (torch.fft.fftfreq(side, dtype=torch.float64) for side in psd.shape)
    ring = (torch.hypot(y[:, None], x) * max(psd.shape)).round().long().flatten()
    mean = ring.bincount(psd.double().flatten()) / ring.bincount()
    return torch.arange(len(mean), dtype=torch.float64) / max(psd.shape), mean


def _phases(starts: Tensor, length: int) -> Tensor:
    """Starts int64 [n] -> exp(-j w start), complex128 [length, n]."""
    turns = torch.outer(torch.arange(length), starts) % length  # whole turns are taken off while they are exact
    return torch.exp(-2j * torch.pi * turns.double() / length)


def _dirichlet(width: int, length: int) -> Tensor:
    """Spectrum, complex128 [length], of one pulse of this width that starts at 0."""
    half = torch.pi * torch.arange(length, dtype=torch.float64) / length  # w / 2
    kernel = torch.exp(-1j * (width - 1) * half) * (width * half).sin() / half.sin()
    kernel[0] = width  # the limit of 0 / 0 at w = 0
    return kernel
