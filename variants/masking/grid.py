"""Keep a regular grid: at ratio 0.75, one patch of every 2x2 tile."""

from typing import Literal

import torch
from torch import Generator, Tensor

FREQUENCY = "flat"
"""Every position of a grid of even sides is hidden equally often, at the random phase."""
TILE = ((0, 2), (3, 1))
"""Rank of the cells of a tile, hidden from the highest down. Ours: ordered dithering, so 0.5 leaves a checkerboard."""


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    *,
    phase: Literal["random", "fixed"] = "random",  # Ours: with a fixed tile, position and geometry are confounded
    unit: int = 1,  # patches a side of a cell; 1 and 2 at ratio 0.5: the checkerboards of SymMIM (Nguyen 2024)
) -> Tensor:
    """-> [B, h, w], the rank of each patch in its tile; equal ranks are cut at random.

    "random" shifts the tiles by less than a tile each way, per image: where tiles fill the grid, every position is
    hidden equally often. "fixed" has the first cell of a tile at the top left of every image. Above ratio 0.75 a random
    part of the grid is kept. Source: He et al. 2022 (MAE), grid-wise sampling, which does not state the phase. Raises
    ValueError for a unit below 1.
    """
    if unit < 1:
        raise ValueError(f"grid needs a unit of at least 1 patch a side, not {unit}")
    shifts = 2 * unit if phase == "random" else 1
    down, right = torch.randint(shifts, (2, len(images), 1, 1), generator=rng)
    y = (torch.arange(grid[0])[:, None] + down) // unit % 2
    x = (torch.arange(grid[1]) + right) // unit % 2
    return torch.tensor(TILE, dtype=torch.float32)[y, x]
