"""Top-1 accuracy after training the encoder further on labels: all of it, its last blocks, or a new head alone."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split, Variant, standardise
from maebench.seeding import stream
from maebench.tasks.readouts import labels
from maebench.tasks.readouts.dense import first, refuse_none
from maebench.tasks.readouts.descent import descend
from maebench.tasks.readouts.pooling import pool
from maebench.tasks.readouts.ridge import inverse_sd
from maebench.training.batches import indices
from maebench.training.budget import peak_rate
from maebench.training.optimiser import LearningPart, adamw, learning_rates
from maebench.training.timing import now, peak_memory, reset_peak_memory

VERSION = 1
NEEDS = "label"
METRICS = {
    "top1": ("%", "higher"),
    "tune_seconds": ("s", "lower"),
    "tune_peak_memory": ("MiB", "lower"),
    "tuned_parameters": ("", "lower"),
}
BETAS = (0.9, 0.999)  # He et al. 2022 (MAE), fine-tuning
BATCH = 100  # images a forward pass when it guesses


class WithHead(nn.Module):
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


@dataclass(frozen=True)
class Classify:
    """A `Predict` of classes, int64 [N]."""

    model: WithHead
    classes: Tensor
    """int64 [K], the labels that train has"""
    device: torch.device
    costs: Mapping[str, float]
    """metrics that fit measured"""
    readout: str = "pooled"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> int64 [N], the class of each."""
        parts = (standardise(part.to(self.device)) for part in torch.split(images, BATCH))
        return self.classes[torch.cat([self.model(part).argmax(1) for part in parts]).cpu()]


def check(
    shape: tuple[int, int, int],
    stages: int | None,
    tune: str,
    blocks: int,
    epochs: int,
    batch: int,
    base_lr: float,
    warmup: float,
    layer_decay: float,
    weight_decay: float,
    randaugment: int,
    randaugment_operations: int,
    label_smoothing: float,
    fit_images: int | None,
) -> None:
    """Raises ValueError for a setting out of its range, given images (C, H, W) and the variant's number of stages."""
    refuse_none(fit_images)
    if tune == "last" and stages is None:
        raise ValueError("the variant has no stages(), so its last blocks are unknown; set tune to whole or head")
    if randaugment and shape[0] not in (1, 3):
        raise ValueError(f"RandAugment takes images of 1 or 3 channels, not {shape[0]}; set randaugment to 0")
    most = f"1 to {stages}, the stages of the variant" if stages else "1 or more"
    ranges = [
        ("epochs", epochs, epochs >= 1, "1 or more"),
        ("batch", batch, batch >= 1, "1 or more"),
        ("base_lr", base_lr, base_lr > 0, "more than 0"),
        ("warmup", warmup, 0 <= warmup < 1, "0 or more, below 1"),
        ("layer_decay", layer_decay, layer_decay > 0, "more than 0"),
        ("weight_decay", weight_decay, weight_decay >= 0, "0 or more"),
        ("randaugment", randaugment, 0 <= randaugment <= STRONGEST, f"0 to {STRONGEST}"),
        ("randaugment_operations", randaugment_operations, randaugment_operations >= 1, "1 or more"),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing <= 1, "0 to 1"),
        ("blocks", blocks, 1 <= blocks <= (stages or blocks), most),
    ]
    for name, value, allowed, wanted in ranges:
        if not allowed:
            raise ValueError(f"{name} is {value}; set it to {wanted}")


def fit(
    encode: Encode,
    trainable: Callable[[], Variant],
    train: Split,
    seed: int,
    *,
    tune: Literal["whole", "last", "head"] = "whole",  # what fine-tuning means where nothing else is said
    blocks: int = 1,  # stages that "last" tunes; the source paper finds one to be within 2 points of all
    epochs: int = 10,  # Ours: minutes on a CPU; the source paper has 100
    batch: int = 128,  # Ours: enough steps in few epochs; the source paper has 1024
    base_lr: float = 4e-3,  # lr = base_lr * batch / 256. Ours: at the 1e-3 of 100 epochs, 10 of few images fall short
    warmup: float = 0.05,  # share of the steps; the source paper's 5 epochs of 100
    layer_decay: float = 0.75,  # He et al. 2022 (MAE), after BEiT
    weight_decay: float = 0.05,  # He et al. 2022 (MAE)
    randaugment: int = 0,  # magnitude of 0 to 30, 0 = off: Ours, as few epochs do not repay it; 9 is usual for many
    randaugment_operations: int = 2,  # an image; Cubuk et al. 2020
    label_smoothing: float = 0.1,  # He et al. 2022 (MAE)
    fit_images: int | None = None,  # all of train; a number takes the first ones, for a table of few labels
) -> Predict:
    """-> predict: images [N, C, H, W] -> classes int64 [N], by `WithHead` as it is after the last step.

    AdamW, linear warm-up, cosine; no choice is made on val. Its `costs` are the seconds, the peak MiB and the number of
    weights of the tuning. Raises ArithmeticError when the loss is not finite.
    """
    train = first(train, fit_images)
    model, classes, device = _model(encode, trainable(), train)
    parts = [*learning_parts(model.variant, tune, blocks, layer_decay), (model.head, 1.0)]
    batch = min(batch, len(train.images))
    batches = _batches(train, classes, device, batch, seed, (randaugment, randaugment_operations))

    def loss_of() -> Tensor:
        seen, wanted = next(batches)
        return functional.cross_entropy(model(seen), wanted, label_smoothing=label_smoothing)

    rates = learning_rates(math.ceil(epochs * len(train.images) / batch), peak_rate(base_lr, batch), warmup)
    with drawing_from(stream(seed, "dropout")):
        costs = _costs(lambda: descend(loss_of, adamw(parts, weight_decay, BETAS), rates), model, device)
    return Classify(model.eval(), classes, device, costs)


def _model(encode: Encode, variant: Variant, train: Split) -> tuple[WithHead, Tensor, torch.device]:
    """The variant with its classifier, the classes that train has, int64 [K], and the device of both."""
    device = next((weight.device for weight in variant.parameters()), torch.device("cpu"))
    variance, centre = torch.var_mean(pool(encode, train.images), 0, correction=0)
    classes = torch.unique(train.targets["label"])
    model = WithHead(variant, centre, inverse_sd(centre, variance), len(classes))
    return model.to(device), classes, device


def _batches(
    train: Split, classes: Tensor, device: torch.device, batch: int, seed: int, randaugment: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless images [B, C, H, W] in standard units, each with the number of its class, int64 [B]."""
    images, wanted = train.images.to(device), torch.searchsorted(classes, train.targets["label"]).to(device)
    for step, rows in enumerate(indices(len(images), batch, seed)):
        chosen = rows.to(device)
        seen = rand_augment(images[chosen], *randaugment, stream(seed, "randaugment", step))
        yield standardise(seen), wanted[chosen]


def _costs(work: Callable[[], None], model: WithHead, device: torch.device) -> dict[str, float]:
    """Do the work; seconds and peak MiB of it, and the number of weights that it trained."""
    reset_peak_memory(device)
    start = now(device)
    work()
    return {
        "tune_seconds": now(device) - start,
        "tune_peak_memory": peak_memory(device),
        "tuned_parameters": sum(weight.numel() for weight in model.parameters() if weight.grad is not None),
    }


def measure(guess: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
    """guess [N] and targets["label"] [N] -> the share that agrees, in per cent."""
    return labels.measure(guess, targets)


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N] and targets["label"] [N] -> float64 [N], 100 where they agree and 0 where not."""
    return labels.right(guess, targets["label"])


STRONGEST = 30  # torchvision counts RandAugment's magnitudes from 0 to 30


def learning_parts(
    variant: Variant, tune: Literal["whole", "last", "head"], blocks: int, layer_decay: float
) -> list[LearningPart]:
    """Freeze the variant but for the parts to tune: all, the last `blocks` of its `stages()`, or none.

    Stage i of n learns at layer_decay ** (n - i), i from 0. Source: Bao et al. 2022 (BEiT), He et al. 2022 (MAE). A
    variant without `stages()` is one part at the full rate.
    """
    parts = _stages(variant, layer_decay)
    if tune == "last":
        parts = parts[-blocks:]
    if tune == "head":
        parts = []
    variant.eval().requires_grad_(False)
    for part, _ in parts:
        part.train().requires_grad_(True)
    return parts


def _stages(variant: Variant, layer_decay: float) -> list[LearningPart]:
    if stages := getattr(variant, "stages", None):
        modules = list(stages())
        return [(module, layer_decay ** (len(modules) - i)) for i, module in enumerate(modules)]
    return [(variant, 1.0)]


@contextmanager
def drawing_from(rng: Generator) -> Iterator[None]:
    """Let what draws from torch's global CPU generator draw from `rng`'s state; afterwards both are as before."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng.get_state())
        yield


def rand_augment(images: Tensor, magnitude: int, operations: int, rng: Generator) -> Tensor:
    """uint8 [B, C, H, W] -> the same, each image through its own random operations of this magnitude, 0 to 30.

    Source: Cubuk et al. 2020 (RandAugment), as torchvision has it, for grey and RGB images. Magnitude 0 = off.
    """
    from torchvision.transforms import v2

    if not magnitude:
        return images
    change = v2.RandAugment(operations, magnitude, STRONGEST + 1)
    with drawing_from(rng):  # torchvision knows no other generator than torch's global one
        return torch.stack([change(image) for image in images])
