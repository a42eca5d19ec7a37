"""Hide what a small network has learnt to be easy at first, and hard at the end."""

import torch
from torch import Generator, Tensor, nn

from maebench.models.scorers import ConvScorer, gumbel, policy_loss

FOLLOWS = "high"
"""at the end of a training"""


def scores(images: Tensor, network: nn.Module, rng: Generator) -> Tensor:
    """-> [B, h, w]: patches drawn without replacement, as likely to be hidden as the network's softmax says."""
    logits = network(images)
    return logits + gumbel(torch.rand(logits.shape, generator=rng)).to(images.device)


def network(shape: tuple[int, int, int], grid: tuple[int, int], *, hidden_width: int = 32) -> nn.Module:
    """Images to scores. Ours: three convolutions."""
    return ConvScorer(shape, grid, hidden_width)


def learn(images: Tensor, network: nn.Module, hidden: Tensor, patch_loss: Tensor, progress: float) -> Tensor:
    """A patch of more loss gets less likely at first, as a partner has it, and likelier at the end, as an adversary.

    Its gain is the loss times 2 progress - 1. Source: Madan et al. 2024 (CL-MAE). Ours: the policy gradient, and that
    one network does both.
    """
    return policy_loss(network(images), (2 * progress - 1) * patch_loss, hidden)
