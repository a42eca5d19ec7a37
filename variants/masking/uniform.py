"""Hide patches at random, each as likely as any other."""

import torch
from torch import Generator, Tensor

FREQUENCY = "flat"
"""Every position is hidden equally often."""


def scores(grid: tuple[int, int], rng: Generator, images: Tensor) -> Tensor:
    """-> [B, h, w], independent and uniform in [0, 1). Source: He et al. 2022 (MAE), random sampling."""
    return torch.rand(len(images), *grid, generator=rng)
