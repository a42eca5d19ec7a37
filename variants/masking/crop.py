"""Show one window and hide all around it."""

import math

import torch
from torch import Generator, Tensor

from maebench.models.patches import from_middle


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    count: int,
    *,
    aspect: float = 0.75,  # height / width of the window is in aspect to 1 / aspect, its logarithm uniform
) -> Tensor:
    """-> [B, h, w], the distance from the middle of a window in half sides, the larger of the two axes.

    The window has about as many patches as are visible; one too many is hidden at its rim, one too few is shown there.
    Every place where it fits is as likely, the last row and column included, so the middle of the grid is
    shown most often. Source: the crop of He et al. 2022, as HPM (Wang et al. 2023) compares it; Ours: aspect and
    count as here. Raises ValueError unless 0 < aspect <= 1.
    """
    if not 0 < aspect <= 1:
        raise ValueError(f"crop needs 0 < aspect <= 1, not {aspect}")
    h, w = grid
    shape, top, left = torch.rand(3, len(images), generator=rng)
    visible = h * w - count
    stretch = (math.log(aspect) * (2 * shape - 1)).exp()
    height = (visible * stretch).sqrt().round().clamp(1, h)
    width = (visible / height).round().clamp(1, w)
    return torch.maximum(from_middle(height, h, top)[:, :, None], from_middle(width, w, left)[:, None, :])
