"""Solid textures with a natural spectrum: periodic volumes of noise whose plane sections have amplitude 1/f."""

import torch
from torch import Generator, Tensor

SIDE = 64  # texels a side of a volume; 64**3 floats are 2 MB, so a lookup stays in the processor's cache


def volumes(count: int, rng: Generator) -> Tensor:
    """-> float64 [count, SIDE, SIDE, SIDE], periodic Gaussian noise of mean 0 and sd 1.

    A plane section of noise with power f**-3 has power f**-2, the spectrum of natural images.
    Source: Field 1987 (amplitude 1/f); Ours: sections of a volume, so that a solid needs no unfolding.
    """
    line = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    squared = line[:, None, None] ** 2 + line[None, :, None] ** 2 + torch.fft.rfftfreq(SIDE, dtype=torch.float64) ** 2
    squared[0, 0, 0] = torch.inf  # the mean
    white = torch.randn(count, SIDE, SIDE, SIDE, generator=rng, dtype=torch.float64)
    noise: Tensor = torch.fft.irfftn(
        torch.fft.rfftn(white, dim=(1, 2, 3)) * squared**-0.75, s=(SIDE,) * 3, dim=(1, 2, 3)
    )
    return noise.div_(noise.flatten(1).std(1).view(-1, 1, 1, 1))


def sample(bank: Tensor, volume: Tensor, texel: Tensor) -> Tensor:
    """The nearest texels: bank [V, SIDE, SIDE, SIDE], volume int64 [P], texel float [3, P], any real -> [P]."""
    x, y, z = texel.floor().to(torch.int64) & (SIDE - 1)
    return bank.flatten()[((volume * SIDE + x) * SIDE + y) * SIDE + z]
