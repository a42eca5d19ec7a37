"""What a pretraining is, costs and follows: its state, the budget in steps, the learning rate, the micro-batches."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from maebench.contracts import Variant
from maebench.optimiser import peak_rate
from maebench.parallel import ALONE, World
from maebench.plan import Encoder
from maebench.store import Checkpoints
from maebench.timing import Stopwatch, Tally

PASSES = 3  # forward and backward take three times the operations of a forward pass


@dataclass
class Training:
    """What a pretraining has cost and where it stands; a checkpoint keeps it."""

    steps: int = 0
    """steps done"""
    resumes: int = 0
    loss: float | None = None
    """of the last step looked at"""
    seconds: dict[str, float] = field(default_factory=dict)
    """by phase: "data", "warmup" (the first steps after each start, compilation with them), "train", "save" """
    rates: list[float] = field(default_factory=list)
    """images/s of each block of steps, warm-up left out"""
    snapshots: dict[int, float] = field(default_factory=dict)
    """step -> seconds of training until then"""
    memory: float | None = None
    """peak MiB: allocated on a GPU, resident set on a CPU"""
    reserved: float | None = None
    """peak MiB that torch took from a GPU"""
    rss: float | None = None
    """peak MiB of the process's resident set"""
    energy: float | None = None
    """joules of the GPU"""
    mask_seconds: float = 0.0
    """of the host, drawing masks"""

    @property
    def trained(self) -> float:
        """Seconds of warm-up and training, without data, checkpoints and probes."""
        return self.seconds.get("warmup", 0.0) + self.seconds.get("train", 0.0)


@dataclass(frozen=True)
class Job:
    """One pretraining: what is trained, where, and what watches over it."""

    variant: Variant
    spec: Encoder
    device: torch.device
    clock: Stopwatch
    masks: Tally = field(default_factory=Tally)
    keep: Checkpoints | None = None
    world: World = ALONE
    on_step: Callable[[int, int], None] = lambda done, of: None
    """how much of the budget is used: steps, or seconds where the budget is in seconds"""


def micro_batches(budget: Mapping[str, Any]) -> list[slice]:
    """The parts of an effective batch that go through the variant one by one; the last may be smaller."""
    batch, size = budget["batch"], budget.get("micro_batch", budget["batch"])
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def total_steps(budget: Mapping[str, Any], images: int, flops: Callable[[], float]) -> int | None:
    """Steps of a budget in steps, epochs of so many images, or FLOPs (`flops()` an image, forward); None: seconds."""
    if "steps" in budget:
        return int(budget["steps"])
    batch = int(budget["batch"])
    if "epochs" in budget:
        return max(1, math.ceil(float(budget["epochs"]) * images / batch))
    if "flops" in budget:
        return max(1, round(float(budget["flops"]) / (PASSES * flops() * batch)))
    return None


def protocol(budget: Mapping[str, Any], world: World) -> str:
    """How the rate follows from the batch, in one line. ValueError where the processes cannot share a batch evenly."""
    parts, batch, base = len(micro_batches(budget)), budget["batch"], budget["base_lr"]
    if parts % world.size:
        raise ValueError(
            f"{world.size} processes cannot share {parts} micro-batches a step evenly; "
            f"set pretrain.micro_batch to {max(1, batch // world.size)}"
        )
    return (
        f"effective batch {batch} = {budget.get('micro_batch', batch)} images x {parts // world.size} micro-batches x "
        f"{world.size} processes; peak lr {peak_rate(base, batch):.3g} = {base:.3g} x {batch} / 256"
    )
