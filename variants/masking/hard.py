"""Hide, more and more, the patches that a small predictor expects to be hard to reconstruct."""

import torch
from torch import Generator, Tensor, nn

from maebench.models.scorers import order_loss

FOLLOWS = "high"


def scores(
    features: Tensor,
    network: nn.Module,
    progress: float,
    count: int,
    rng: Generator,
    *,
    most: float = 0.5,  # share of the hidden patches that are the hardest at the end; Wang et al. 2023 (HPM)
) -> Tensor:
    """features [B, D, h, w] -> [B, h, w]: 1 more for the `most * progress * count` of the highest expected loss.

    All else is random. Source: Wang et al. 2023 (HPM), easy to hard. Raises ValueError for `most` outside of [0, 1].
    """
    if not 0 <= most <= 1:
        raise ValueError(f"hard needs most in 0 to 1, not {most}")
    guess = network(features.movedim(1, -1))[..., 0]
    hardest = guess.flatten(1).topk(round(most * progress * count), dim=1).indices
    first = torch.zeros_like(guess).flatten(1).scatter(1, hardest, 1.0).view_as(guess)
    return first + torch.rand(guess.shape, generator=rng).to(guess.device)


def network(width: int, *, hidden_width: int = 64) -> nn.Module:
    """-> features [..., width] to one expected loss [..., 1], on its own scale. Ours: sizes; HPM has a decoder."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden_width), nn.GELU(), nn.Linear(hidden_width, 1))


def learn(features: Tensor, network: nn.Module, hidden: Tensor, patch_loss: Tensor) -> Tensor:
    """The order of the losses of hidden patches. Ours: from the teacher's features, which this does not train."""
    return order_loss(network(features.movedim(1, -1))[..., 0], patch_loss, hidden)
