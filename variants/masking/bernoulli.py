"""Hide each patch with the same probability, whatever happens to the others: the mask of the linear theory."""

import torch
from torch import Generator, Tensor

COUNT = "free"
FREQUENCY = "flat"
"""Every position is hidden equally often."""


def scores(grid: tuple[int, int], rng: Generator, images: Tensor) -> Tensor:
    """-> [B, h, w], independent and uniform in [0, 1): above 1 - ratio with probability `ratio`.

    Of N patches N m are hidden on average, with a standard deviation of sqrt(N m (1 - m)): 3.5 of 64 at 0.75. Source:
    "From Linearity to Non-Linearity" (arXiv 2508.15404), Lemma 1. Only for variants that see every position.
    """
    return torch.rand(len(images), *grid, generator=rng)
