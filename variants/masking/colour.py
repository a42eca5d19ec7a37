"""Hide where noise of one colour is high: low frequencies make blobs, high ones scatter, a band clusters loosely."""

import math
from typing import Literal

import torch
from torch import Generator, Tensor

FREQUENCY = "flat"
"""Every position is hidden equally often."""
PAIR = {"colour": {"red": 0.67, "blue": 0.118, "green": 0.341, "purple": 0.156}}
"""How often the right or lower neighbour of a visible patch is visible, at ratio 0.75 on 8x8 patches of a torus."""


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    *,
    colour: Literal["red", "blue", "green", "purple"] = "green",  # Hinojosa et al. 2024: the best of the four
    narrow: float = 0.5,  # patches, sd of the Gaussian that takes the finest out. Ours: the paper's are not stated
    wide: float = 1.5,  # patches, of the one that leaves the coarse. Ours
) -> Tensor:
    """-> [B, h, w]: white noise less what is finer than `narrow` or coarser than `wide`, or the other way round.

    red: the coarse alone; blue: all but the coarse of it; green: what lies between; purple: all but that. Smoothed on
    a torus, so that no position differs from another. Source: Hinojosa et al. 2024 (ColorMAE). Raises ValueError
    unless 0 < narrow < wide.
    """
    if not 0 < narrow < wide:
        raise ValueError(f"colour needs 0 < narrow < wide, not {narrow} and {wide}")
    noise = torch.randn(len(images), *grid, generator=rng)
    low, fine = _smooth(noise, wide), _smooth(noise, narrow)
    return {"red": low, "blue": noise - fine, "green": fine - low, "purple": noise - fine + low}[colour]


def _smooth(noise: Tensor, sigma: float) -> Tensor:
    """[B, h, w] -> the same after a periodic Gaussian of sd `sigma` patches, by its spectrum exp(-2 pi^2 s^2 f^2)."""
    h, w = noise.shape[1:]
    squared = torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2
    spectrum = torch.fft.rfft2(noise) * (-2 * math.pi**2 * sigma**2 * squared).exp()
    return torch.fft.irfft2(spectrum, s=(h, w))
