"""What one pretraining may use, and by which optimiser. Starts without torch, since plans are made of budgets."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal["steps", "epochs", "tokens", "flops", "seconds"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Augment = Literal["none", "crop_flip", "resized_crop_flip"]
Precision = Literal["float32", "tf32", "bfloat16"]
Compile = Literal["none", "default", "reduce-overhead"]
"""torch.compile's modes"""
Ratio = float | str
"""A masking ratio: one, or "0.5 to 0.9", linear in progress, or "0.1 to 0.9 at random", drawn anew each step."""


@dataclass(frozen=True)
class Budget:
    """All that makes weights, beside variant, images and seed: an amount of one kind, and the optimiser."""

    kind: Kind | Literal["none"]
    amount: float
    batch: int = 128  # images a step, over all micro-batches and processes. Ours: see base_lr
    micro_batch: int | None = None  # images that go through the variant at once; None: the batch
    base_lr: float = 2e-3  # a batch of 256. Ours: of those tried the best that never diverged
    warmup: float = 0.1  # share of the budget; He et al. 2022 use 0.05 to 0.1
    weight_decay: float = 0.05  # He et al. 2022
    augment: Augment = "none"  # Ours: short budgets see few images twice
    precision: Precision = "float32"
    compile: Compile = "none"
    memory: float | None = None  # share of the budget that a masking's teacher goes back; None: teacher.MEMORY

    @property
    def fitted(self) -> bool:
        """Whether there is none, since the variant has a closed form or nothing to learn."""
        return self.kind == "none"

    @property
    def untrained(self) -> bool:
        """Whether the weights stay as they were drawn: the floor of a trainable variant."""
        return self.kind == "steps" and self.amount == 0

    @property
    def trained(self) -> bool:
        """Whether the training loop is run."""
        return not self.fitted and not self.untrained

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        return peak_rate(self.base_lr, self.batch)

    @property
    def micro_batches(self) -> list[slice]:
        """The parts of an effective batch that go through the variant one by one; the last may be smaller."""
        size = self.micro_batch or self.batch
        return [slice(start, min(start + size, self.batch)) for start in range(0, self.batch, size)]

    def steps(self, images: int, flops: Callable[[], float], tokens: Callable[[], float]) -> int | None:
        """Its steps, with so many images an epoch; None for seconds: nobody knows.

        `flops()` and `tokens()` tell what an image takes: operations of a step, and positions that the encoder sees.
        """
        if self.kind == "epochs":
            return max(1, math.ceil(self.amount * images / self.batch))
        if self.kind == "tokens":
            return max(1, round(self.amount / (tokens() * self.batch)))
        if self.kind == "flops":
            return max(1, round(self.amount / (flops() * self.batch)))
        return int(self.amount) if self.kind == "steps" else None

    def protocol(self, processes: int) -> str:
        """How the rate follows from the batch, in one line. ValueError where the processes cannot share it evenly."""
        parts = len(self.micro_batches)
        if parts % processes:
            raise ValueError(
                f"{processes} processes cannot share {parts} micro-batches a step evenly; "
                f"set pretrain.micro_batch to {max(1, self.batch // processes)}"
            )
        return (
            f"effective batch {self.batch} = {self.micro_batch or self.batch} images x {parts // processes} "
            f"micro-batches x {processes} processes; peak lr {self.peak_rate:.3g} = {self.base_lr:.3g} x "
            f"{self.batch} / 256"
        )

    def content(self) -> dict[str, Any]:
        """As ids and records have it: nothing for a closed form, {"steps": 0} for a floor, else all that is set."""
        if not self.trained:
            return {} if self.fitted else {"steps": 0}
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {given.pop("kind"): given.pop("amount"), **given}


FITTED = Budget("none", 0)
UNTRAINED = Budget("steps", 0)


def read_budget(content: Mapping[str, Any]) -> Budget:
    """The budget of a record; the inverse of `Budget.content`."""
    kind = next((kind for kind in KINDS if kind in content), None)
    if kind is None:
        return FITTED
    return Budget(kind, content[kind], **{name: value for name, value in content.items() if name != kind})


def peak_rate(base_lr: float, batch: int) -> float:
    """lr = base lr x effective batch / 256. Source: Goyal et al. 2017, as in He et al. 2022."""
    return base_lr * batch / 256
