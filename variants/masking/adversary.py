"""Hide what a small network has learnt to be hard to reconstruct, or show it."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.models.scorers import ConvScorer, gumbel, policy_loss

FOLLOWS = "high"


def scores(
    images: Tensor,
    network: nn.Module,
    rng: Generator,
    *,
    hide: Literal["high", "low"] = "high",  # high: the hard is hidden, as ADIOS does; low: it is shown, as AdaMAE does
) -> Tensor:
    """-> [B, h, w]: patches drawn without replacement, as likely as the network's softmax says, to be hidden or shown.

    Source: Shi et al. 2022 (ADIOS), whose penalty on the size of a mask an exact count makes needless; Bandara et al.
    2023 (AdaMAE).
    """
    logits = network(images)
    drawn = logits + gumbel(torch.rand(logits.shape, generator=rng)).to(images.device)
    return drawn if hide == "high" else -drawn


def network(shape: tuple[int, int, int], grid: tuple[int, int], *, hidden_width: int = 32) -> nn.Module:
    """Images to scores. Ours: three convolutions."""
    return ConvScorer(shape, grid, hidden_width)


def learn(images: Tensor, network: nn.Module, hidden: Tensor, patch_loss: Tensor) -> Tensor:
    """A patch of more loss than the image's others gets likelier."""
    return policy_loss(network(images), patch_loss, hidden)
