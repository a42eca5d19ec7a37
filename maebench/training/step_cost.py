"""What one training step takes, masks included, and so how many a budget buys."""

from dataclasses import replace
from functools import partial
from statistics import median

import torch
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.seeding import stream
from maebench.training.budget import Budget
from maebench.training.masker import Masker
from maebench.training.timing import counted, now
from maebench.training.visible import visible_tokens

TRIES = 10  # calls that tell how long masks take


def step_flops(variant: Variant, masker: Masker, images: Tensor) -> tuple[float, float]:
    """Floating-point operations of a step on images [B, C, H, W], per image: all of them, and those of the masks.

    Forward, backward, and what the masks take and learn; a teacher counts once, as it has no backward pass. Where the
    ratio changes: the mean over the training. Weights and gradients are left as they are.
    """

    def step() -> None:
        loss = variant.loss(images, stream(0, "flops"))
        if loss.requires_grad:
            torch.autograd.backward(loss)
        masker.learn(1.0)

    gradients = [(weight, weight.grad) for weight in (*variant.parameters(), *masker.weights)]
    whole, masks = masker.mean(lambda: counted(step)), masker.mean(lambda: counted(masker.again))
    for weight, gradient in gradients:
        weight.grad = gradient
    return whole / len(images), masks / len(images)


def total_steps(
    budget: Budget, variant: Variant, masker: Masker, sample: Tensor, images: int, prepared: float = 0.0
) -> int | None:
    """The steps of a budget with so many images an epoch, by a sample of them, uint8 [N, C, H, W]; None for seconds.

    Of a budget in FLOPs those of `prepare` are gone already.
    """
    if budget.kind == "flops":
        budget = replace(budget, amount=budget.amount - prepared)
    few = standardise(sample)
    tokens = partial(masker.mean, lambda: visible_tokens(variant, few))
    return budget.steps(images, lambda: step_flops(variant, masker, few)[0], tokens)


def masking_seconds(variant: Variant, masker: Masker, images: Tensor) -> float:
    """Seconds that the masks of images [B, C, H, W] take, teacher and learning included: the median of TRIES calls.

    Each is waited for, so that on a GPU these are its own seconds, not those of the host.
    """
    with torch.no_grad():
        variant.loss(images, stream(0, "masks"))
    times = []
    for _ in range(TRIES):
        begun = now(images.device)
        masker.again()
        times.append(now(images.device) - begun)
    return median(times)
