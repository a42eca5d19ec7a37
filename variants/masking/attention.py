"""Hide what the encoder attends to, or what it does not, by the attention of a teacher that follows it."""

from typing import Literal

import torch
from torch import Generator, Tensor

from maebench.models.scorers import gumbel

FOLLOWS = "high"
TOP = 0.1  # share of the patches, those with the most attention, of which `hints` shows some. Kakogeorgiou et al. 2022


def scores(
    attention: Tensor,
    rng: Generator,
    progress: float,
    *,
    hide: Literal["high", "low"] = "high",  # Kakogeorgiou et al. 2022 (AttMask): high
    hints: float = 0.0,  # the chance of each of the TOP to be shown after all; AttMask-Hint
    draw: Literal["rank", "chance"] = "rank",  # chance: hidden patches are drawn, as likely as they have attention
    start: float = 0.0,  # share of the budget before which masks are uniform; AMT (Liu et al. 2023): 0.1, with chance
) -> Tensor:
    """attention [B, h, w] -> [B, h, w].

    "chance" draws without replacement, in proportion to attention, or for "low" to its inverse, by Gumbel noise on the
    logarithm. Source: Kakogeorgiou et al. 2022 (AttMask), whose attention is a class token's; Liu et al. 2023 (AMT).
    Ours: AMT throws some tokens away besides, here none is. Raises ValueError for hints or a start outside of [0, 1].
    """
    if not (0 <= hints <= 1 and 0 <= start <= 1):
        raise ValueError(f"attention needs hints and start in 0 to 1, not {hints} and {start}")
    noise, chance = torch.rand(2, *attention.shape, generator=rng).to(attention.device)
    if progress < start:
        return noise
    order = (1 if hide == "high" else -1) * attention.clamp_min(1e-12).log()
    if draw == "chance":
        order = order + gumbel(noise)
    top = order >= order.flatten(1).quantile(1 - TOP, 1)[:, None, None]
    return order.masked_fill(top & (chance < hints), -torch.inf)
