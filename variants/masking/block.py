"""Hide blocks: a union of random rectangles, drawn until the ratio is reached."""

import math

import torch
from torch import Generator, Tensor

from maebench.models.patches import from_middle

RECTANGLES = 16  # Ours: they cover about 90% of the grid; what a higher ratio needs beyond that is hidden at random


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    *,
    min_area: float = 0.08,  # of the grid; BEiT: 16 of 196 patches
    max_area: float = 0.38,  # of the grid; BEiT: up to what is still to hide, at first 75 of 196 patches
    aspect: float = 0.3,  # height / width is in aspect to 1 / aspect, its logarithm uniform; BEiT: 0.3
) -> Tensor:
    """-> [B, h, w]: the earlier the first rectangle that covers a patch was drawn, the higher.

    The first rectangles are hidden whole; the last is cut to a smaller one around its centre, to meet the exact count.
    Every place where a rectangle fits is as likely, the last row and column included, so patches in the middle of the
    grid are hidden more often than those at its edge. Source: Bao et al. 2022 (BEiT), Algorithm 1. Ours: a side longer
    than the grid is cut to it instead of drawn again, and areas do not depend on the ratio.
    Raises ValueError unless 0 < min_area <= max_area <= 1 and 0 < aspect <= 1.
    """
    if not (0 < min_area <= max_area <= 1 and 0 < aspect <= 1):
        raise ValueError(
            f"block needs 0 < min_area <= max_area <= 1 and 0 < aspect <= 1, not {min_area}, {max_area} and {aspect}"
        )
    h, w = grid
    size, shape, top, left = torch.rand(4, len(images), RECTANGLES, generator=rng)
    area = (min_area + (max_area - min_area) * size) * h * w
    stretch = (math.log(aspect) * (shape - 0.5)).exp()  # the root of height / width
    y = _distance(area.sqrt() * stretch, h, top)
    x = _distance(area.sqrt() / stretch, w, left)
    return -torch.maximum(y[..., :, None], x[..., None, :]).amin(1)


def _distance(side: Tensor, length: int, place: Tensor) -> Tensor:
    """Sides in patches, places in [0, 1), both [B, R] -> [B, R, length], how far each patch is from a side's middle.

    In half sides, so [0, 1) inside, plus the number of the rectangle; infinite outside.
    """
    distance = from_middle(side, length, place)
    return torch.where(distance < 1, distance, torch.inf) + torch.arange(side.shape[1])[:, None]
