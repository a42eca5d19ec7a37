"""A frozen copy of a network that follows it: the exponential moving average of its weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)
MEMORY = 0.05  # share of the budget. Ours: decays in print are per step, 0.996 to 0.9999, and do not fit short budgets


def frozen_copy(student: M) -> M:
    """A copy in evaluation mode that gets no gradient, and is marked as one that follows."""
    copied = copy.deepcopy(student).eval().requires_grad_(False)
    copied.follows = True  # type: ignore[assignment]
    return copied


def following(module: nn.Module) -> list[nn.Parameter]:
    """The weights of the copies that a module keeps: they follow, and never learn."""
    return [weight for part in module.modules() if getattr(part, "follows", False) for weight in part.parameters()]


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, advance: float, memory: float = MEMORY) -> None:
    """teacher = d teacher + (1 - d) student, d = max(0, 1 - advance / memory), after a step; buffers are taken over.

    `advance` is the share of the budget that the step used, so that one memory goes with every kind of budget.
    """
    decay = max(0.0, 1 - advance / memory)
    for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for buffer, value in zip(teacher.buffers(), student.buffers(), strict=True):
        buffer.copy_(value)
