"""Hide several blocks, and show one large context around them: the masks of a joint-embedding predictor."""

import math

import torch
from torch import Generator, Tensor

from maebench.models.patches import from_middle


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    *,
    targets: int = 4,  # Assran et al. 2023 (I-JEPA), as the next five
    min_area: float = 0.15,  # of a target, as a share of the grid
    max_area: float = 0.2,
    aspect: float = 0.75,  # height / width of a target is in aspect to 2 aspect, its logarithm uniform
    min_context: float = 0.85,  # of the context, a square, as a share of the grid
    max_context: float = 1.0,
) -> Tensor:
    """-> [B, h, w]: 2 in a target, 1 more outside of the context, and a random number below 1.

    So targets are hidden first, then what lies outside of the context, then patches of the context at random; a ratio
    below their share shows some of the targets. The masks as published leave about 0.47 of an 8x8 grid visible: a ratio
    of 0.5 is nearest. Every place where a block fits is as likely, the last row and column included. Source: Assran et
    al. 2023. Raises ValueError for areas outside of (0, 1], in the wrong order, or an aspect of 0 or less.
    """
    if not (0 < min_area <= max_area <= 1 and 0 < min_context <= max_context <= 1 and aspect > 0 and targets > 0):
        raise ValueError(
            "multi_block needs targets above 0, areas of 0 < min <= max <= 1 and an aspect above 0, not "
            f"{targets} of {min_area} to {max_area}, {min_context} to {max_context} and {aspect}"
        )
    drawn = torch.rand(4, len(images), targets + 1, generator=rng)
    target = _blocks(grid, drawn[..., :targets], min_area, max_area, (aspect, 2 * aspect)).any(1)
    context = _blocks(grid, drawn[..., targets:], min_context, max_context, (1, 1)).any(1)
    return 2.0 * target + 1.0 * ~context + torch.rand(len(images), *grid, generator=rng)


def _blocks(grid: tuple[int, int], drawn: Tensor, least: float, most: float, aspects: tuple[float, float]) -> Tensor:
    """Random numbers [4, B, R] in [0, 1) -> bool [B, R, h, w], inside of each block."""
    size, shape, top, left = drawn
    area = (least + (most - least) * size) * grid[0] * grid[1]
    low, high = (math.log(one) for one in aspects)
    stretch = ((low + (high - low) * shape) / 2).exp()  # the root of height / width
    y = from_middle(area.sqrt() * stretch, grid[0], top) < 1
    x = from_middle(area.sqrt() / stretch, grid[1], left) < 1
    return y[..., :, None] & x[..., None, :]
