"""How weights learn: AdamW, a rate of base rate x batch, linear warm-up, then half a cosine."""

import math
from collections.abc import Sequence

from torch import nn, optim

CHECK_EVERY = 10  # steps between looks at the loss: often enough to stop early, seldom enough not to stall a GPU
LearningPart = tuple[nn.Module, float]
"""A module that learns, and its share of the learning rate."""


def adamw(parts: Sequence[LearningPart], weight_decay: float, betas: tuple[float, float]) -> optim.AdamW:
    """AdamW over the parts, each group with its "share" of the rate; what needs no gradient is left out.

    Norms, biases and tokens, all that is one-dimensional, do not decay.
    """
    groups = [
        {"params": weights, "share": share, "weight_decay": decay}
        for part, share in parts
        for learning in [[weight for weight in part.parameters() if weight.requires_grad]]
        for weights, decay in (
            ([weight for weight in learning if weight.ndim > 1], weight_decay),
            ([weight for weight in learning if weight.ndim <= 1], 0.0),
        )
    ]
    return optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def learning_rate(done: float, peak: float, warmup: float) -> float:
    """Rate when the share `done` of the budget is used: linear from 0 over `warmup`, then half a cosine down to 0."""
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


def learning_rates(steps: int, peak: float, warmup: float) -> list[float]:
    """The rate of each of so many steps, taken half-way through the step."""
    return [learning_rate((step + 0.5) / steps, peak, warmup) for step in range(steps)]
