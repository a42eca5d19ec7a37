"""Hide the patches of an image that have the most edges, or the fewest, with some chance."""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from maebench.models.scorers import gumbel

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def scores(
    grid: tuple[int, int],
    rng: Generator,
    images: Tensor,
    *,
    hide: Literal["high", "low"] = "high",  # the patches with many edges, or with few
    noise: float = 0.5,  # of the Gumbel noise, where the mean of an image is 1; 0: no chance at all
) -> Tensor:
    """-> [B, h, w], the mean gradient length in a patch over that of its image, plus Gumbel noise.

    Gradients are those of the grey image (mean of the channels) by 3x3 Sobel filters, continued at the rim by its last
    pixels. Ours: the strategy, which needs no network to look at the content. Raises ValueError for noise below 0.
    """
    if noise < 0:
        raise ValueError(f"edges needs noise of 0 or more, not {noise}")
    grey = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor(SOBEL, device=images.device, dtype=images.dtype)
    gradient = functional.conv2d(grey, torch.stack([across, across.T])[:, None])
    edges = functional.adaptive_avg_pool2d(gradient.square().sum(1, keepdim=True).sqrt(), grid)[:, 0]
    relative = edges / edges.mean((1, 2), keepdim=True).clamp_min(1e-12)
    chance = gumbel(torch.rand(edges.shape, generator=rng)).to(images.device)
    return (relative if hide == "high" else -relative) + noise * chance
