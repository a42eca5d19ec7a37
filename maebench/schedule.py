"""How fast to learn: base rate x batch, linear warm-up, then half a cosine."""

import math


def learning_rate(done: float, peak: float, warmup: float) -> float:
    """Rate when the share `done` of the budget is used: linear from 0 over `warmup`, then half a cosine down to 0."""
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


def peak_rate(base_lr: float, batch: int) -> float:
    """lr = base lr x effective batch / 256. Source: Goyal et al. 2017, as in He et al. 2022."""
    return base_lr * batch / 256


def learning_rates(steps: int, peak: float, warmup: float) -> list[float]:
    """The rate of each of so many steps, taken half-way through the step."""
    return [learning_rate((step + 0.5) / steps, peak, warmup) for step in range(steps)]
