"""Hide square units of several patches at random, each as likely as any other."""

import torch
from torch import Generator, Tensor

from maebench.models.patches import to_pixels

FREQUENCY = "flat"
"""Every position of a grid of even sides is hidden equally often."""


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    *,
    unit: int = 2,  # patches a side of a unit; Ours: the least that is not `uniform`
) -> Tensor:
    """-> [B, h, w], one number in [0, 1) for each unit of unit x unit patches, repeated over it.

    Units lie side by side from the top left; those that the grid cuts at the right and the bottom are smaller. The
    count stays exact: the last unit is hidden in part, by patches at random, where the ratio asks for no whole number
    of units; so a unit as large as the grid hides patches as `uniform` does. Source: Xie et al. 2022 (SimMIM), 32
    pixels over patches of 4; Kong et al. 2023, 8, 16 and 32 pixels over patches of 8. Ours: SimMIM hides the last
    unit whole. Raises ValueError for a unit below 1.
    """
    if unit < 1:
        raise ValueError(f"coarse needs a unit of at least 1 patch a side, not {unit}")
    h, w = grid
    return to_pixels(torch.rand(len(images), -(-h // unit), -(-w // unit), generator=rng), unit)[:, :h, :w]
