"""A read-out that is trained step by step, where it has no closed form and no convex solver."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from maebench.training.optimiser import CHECK_EVERY


def descend(loss_of: Callable[[], Tensor], optimiser: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    """One step a rate, down the loss of the next batch. Raises ArithmeticError when it is no longer finite."""
    for step, rate in enumerate(rates, 1):
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if (step % CHECK_EVERY == 0 or step == len(rates)) and not loss.isfinite():
            raise ArithmeticError(f"the tuning loss became {loss.item()} at step {step}; lower the task's base_lr")
    if not all(weight.isfinite().all() for group in optimiser.param_groups for weight in group["params"]):
        raise ArithmeticError("a weight is not finite after the last tuning step; lower the task's base_lr")
