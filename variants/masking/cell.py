"""Keep the same number of patches of each 2x2 cell, each cell for itself: at ratio 0.75 one."""

import torch
from torch import Generator, Tensor

FREQUENCY = "flat"
"""Every position of a grid of even sides is hidden equally often."""
PAIR = 0.126
"""How often the right or lower neighbour of a visible patch is visible, at ratio 0.75 on 8x8 patches of a torus."""


def scores(grid: tuple[int, int], rng: Generator, images: Tensor) -> Tensor:
    """-> [B, h, w], the rank of a patch in its cell, in a random order; equal ranks are cut at random.

    Cells lie side by side from the top left. Source: Li et al. 2022 (UM-MAE), uniform sampling. Ours: cells are
    independent; its code draws them from one pool.
    """
    h, w = grid
    rows, columns = -(-h // 2), -(-w // 2)
    ranks = torch.rand(len(images), rows, columns, 4, generator=rng).argsort(-1).float()
    return ranks.unflatten(3, (2, 2)).transpose(2, 3).reshape(len(images), 2 * rows, 2 * columns)[:, :h, :w]
