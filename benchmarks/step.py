"""What the benchmarks share: the device, images, the one place that builds a ViT, and the training step."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import count

import torch
from torch import Tensor, nn

from maebench.contracts import Variant, standardise
from maebench.runs.build import assemble
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.seeding import stream
from maebench.training.budget import FITTED
from maebench.training.devices import pick_device
from maebench.training.masker import Masker

SHAPE = (3, 32, 32)
DEVICE = pick_device("auto")
STEPS = {"cpu": 1, "cuda": 10}[DEVICE.type]  # steps a turn; on a GPU the host must not wait after each
WARM_UP = 3  # turns before the clock starts: optimiser state, caches, compilation

Loss = Callable[[int], Tensor]
"""The number of the step -> a scalar."""


def images(number: int) -> Tensor:
    """uint8 [number, C, H, W] of random pixels in [0, 128): dark, so that there is a mean to learn at once."""
    return torch.randint(0, 128, (number, *SHAPE), generator=stream(0, "images"), dtype=torch.uint8)


def vit_mae(
    *,
    patch: int = 4,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    decoder_width: int = 192,
    decoder_depth: int = 4,
    decoder_heads: int = 3,
    ratio: float = 0.75,
    masker: Masker | None = None,
) -> Variant:
    """The variant `vit_mae` with uniform masks, on the device. Defaults: the base around which the axes vary."""
    encoder = {"patch": patch, "width": width, "depth": depth, "heads": heads}
    decoder = {"decoder_width": decoder_width, "decoder_depth": decoder_depth, "decoder_heads": decoder_heads}
    variant = Plugin("vit_mae", {**encoder, **decoder}, "")
    spec = EncoderSpec(Plugin("random", {}, ""), variant, Plugin("uniform", {}, ""), ratio, FITTED, 0)
    return assemble(spec, SHAPE, masker=masker).to(DEVICE).train()


def masked_loss(variant: Variant, batch: int, compiled: str = "none") -> Loss:
    """The loss of `variant` on one fixed batch, with new masks each step; compiled is "none" or a mode of torch."""
    pixels = standardise(images(batch).to(DEVICE))
    loss = variant.loss
    if compiled != "none":
        with torch.no_grad():  # as the training loop does: what a variant keeps from its first pass
            loss(pixels, stream(0, "compile"))
        loss = torch.compile(loss, mode=compiled)
    return lambda step: loss(pixels, stream(0, "masking", step))


def trainer(parameters: Iterable[nn.Parameter], loss: Loss, precision: str = "float32") -> Callable[[], float]:
    """-> a turn: STEPS steps of AdamW, and the last loss; reading it waits for the device."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    numbers = count()

    def turn() -> float:
        for _ in range(STEPS):
            with nullcontext() if precision == "float32" else torch.autocast(DEVICE.type, torch.bfloat16):
                value = loss(next(numbers))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        return value.item()

    return turn


def assert_learnt(losses: list[float]) -> None:
    """Finite, and lower at the end than at the start."""
    assert torch.tensor(losses).isfinite().all()
    assert losses[-1] < losses[0]


def note_rate(benchmark, number: int) -> None:
    """Add images per second (median) to what is saved, where `number` images take one call."""
    if benchmark.stats is not None:  # None under --benchmark-disable
        benchmark.extra_info["images_per_second"] = number / benchmark.stats.stats.median
