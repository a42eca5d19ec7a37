"""Training an encoder further with a classifier on top: which parts learn, how fast, and on which pictures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Variant
from maebench.training.optimiser import CHECK_EVERY, Part

STRONGEST = 30  # torchvision counts RandAugment's magnitudes from 0 to 30


class Classifier(nn.Module):
    """A variant with a linear layer on its pooled features, (pooled - centre) * scale, zero at the start.

    Ours: the features are centred and scaled by constants, so that the classifier learns as fast on a code of small
    numbers as on one of large ones, and without batch statistics.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, variant: Variant, centre: Tensor, scale: Tensor, classes: int) -> None:
        """centre [D], scale [D]: of the variant's pooled features."""
        super().__init__()
        self.variant = variant
        self.head = nn.Linear(len(centre), classes, device="meta").to_empty(device="cpu")  # draws no default weights
        for weight in self.head.parameters():
            nn.init.zeros_(weight)
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] in standard units -> logits [B, K]."""
        pooled = self.variant.encode(images).mean((2, 3))
        return self.head((pooled - self.centre) * self.scale)  # type: ignore[no-any-return]


def learning_parts(
    variant: Variant, tune: Literal["whole", "last", "head"], blocks: int, layer_decay: float
) -> list[Part]:
    """Freeze the variant but for the parts to tune: all, the last `blocks` of its `stages()`, or none.

    Stage i of n learns at layer_decay ** (n - i), i from 0. Source: Bao et al. 2022 (BEiT), He et al. 2022 (MAE). A
    variant without `stages()` is one part at the full rate. Raises ValueError for last stages that it does not have.
    """
    parts = _stages(variant, layer_decay)
    if tune == "last":
        if not hasattr(variant, "stages"):
            raise ValueError(
                f"{type(variant).__name__} has no stages(), so its last blocks are unknown; set tune to whole or head"
            )
        if not 1 <= blocks <= len(parts):
            raise ValueError(f"blocks is {blocks}, but {type(variant).__name__} has 1 to {len(parts)} stages to tune")
        parts = parts[-blocks:]
    if tune == "head":
        parts = []
    variant.eval().requires_grad_(False)
    for part, _ in parts:
        part.train().requires_grad_(True)
    return parts


def _stages(variant: Variant, layer_decay: float) -> list[Part]:
    if stages := getattr(variant, "stages", None):
        modules = list(stages())
        return [(module, layer_decay ** (len(modules) - i)) for i, module in enumerate(modules)]
    return [(variant, 1.0)]


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


@contextmanager
def drawing_from(rng: Generator) -> Iterator[None]:
    """Let what draws from torch's global CPU generator draw from `rng`'s state; afterwards both are as before."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng.get_state())
        yield


def rand_augment(images: Tensor, magnitude: int, operations: int, rng: Generator) -> Tensor:
    """uint8 [B, C, H, W] -> the same, each image through its own random operations of this magnitude, 0 to 30.

    Source: Cubuk et al. 2020 (RandAugment), as torchvision has it. Magnitude 0 = off. Raises ValueError for another
    magnitude, or for images that are neither grey nor RGB.
    """
    from torchvision.transforms import v2

    if not magnitude:
        return images
    if not 0 < magnitude <= STRONGEST or images.shape[1] not in (1, 3):
        raise ValueError(
            f"RandAugment takes a magnitude of 0 to {STRONGEST} and 1 or 3 channels, not {magnitude} and "
            f"{images.shape[1]}; set randaugment to 0 for images without it"
        )
    change = v2.RandAugment(operations, magnitude, STRONGEST + 1)
    with drawing_from(rng):  # torchvision knows no other generator than torch's global one
        return torch.stack([change(image) for image in images])
