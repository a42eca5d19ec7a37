"""The training loop: AdamW, linear warm-up, cosine decay; a closed form is fitted instead."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.batches import indices, standardise
from maebench.contracts import Variant
from maebench.plan import Encoder
from maebench.seeding import stream
from maebench.timing import Pace, now, peak_memory, reset_peak_memory

CHECK_EVERY = 10  # steps between looks at the loss: often enough to stop early, seldom enough not to stall a GPU


@dataclass(frozen=True)
class Training:
    """What a pretraining cost and where it ended."""

    seconds: float = 0.0
    images_per_second: float | None = None
    """median over blocks of steps; None where there were no steps"""
    images_per_second_iqr: float | None = None
    peak_memory: float | None = None
    """MiB"""
    loss: float | None = None
    """of the last step"""


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Rate at a step: linear from 0 over the first `warmup` share of the steps, then half a cosine down to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def pretrain(
    variant: Variant, images: Tensor, spec: Encoder, device: torch.device, on_step: Callable[[int], None]
) -> Training:
    """Train the variant in place on uint8 images [N, C, H, W]; labels are not passed.

    A variant with `fit` is fitted; an untrained floor or a variant without weights returns at once. Raises
    ArithmeticError when the loss is no longer finite.
    """
    variant.to(device).train()
    resident = images.to(device)
    reset_peak_memory(device)
    start = now(device)
    if fit := getattr(variant, "fit", None):
        fit(resident)
        return Training(now(device) - start, peak_memory=peak_memory(device))
    if not spec.budget["steps"] or not any(weight.requires_grad for weight in variant.parameters()):
        return Training()
    pace = Pace(device, CHECK_EVERY)
    loss = _train(variant, resident, spec, pace, on_step)
    seconds = now(device) - start
    median, iqr = pace.per_second(min(spec.budget["batch"], len(images))) or (None, None)
    return Training(seconds, median, iqr, peak_memory(device), loss)


def _train(variant: Variant, images: Tensor, spec: Encoder, pace: Pace, on_step: Callable[[int], None]) -> float:
    budget, seed = spec.budget, spec.seed or 0
    optimiser = _adamw(variant, budget["weight_decay"])
    order = indices(len(images), budget["batch"], seed)
    value = math.nan
    for step in range(budget["steps"]):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, budget["steps"], budget["lr"], budget["warmup"])
        batch = standardise(images[next(order).to(images.device)])
        loss = variant.loss(batch, stream(seed, "masking", step))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        pace.step(step + 1)
        on_step(step + 1)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == budget["steps"]:
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ArithmeticError(
                    f"the loss became {value} at step {step + 1}; lower pretrain.lr or mend the variant"
                )
    if not all(weight.isfinite().all() for weight in variant.parameters()):
        raise ArithmeticError("a weight is not finite after the last step; lower pretrain.lr or mend the variant")
    return value


def _adamw(variant: Variant, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with betas (0.9, 0.95), as He et al. 2022; norms, biases and tokens (one-dimensional) do not decay."""
    weights = [weight for weight in variant.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))
