"""The steps of a budget, its micro-batches, and how the rate follows from the batch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from maebench.training.devices import World
from maebench.training.optimiser import peak_rate

PASSES = 3  # forward and backward take three times the operations of a forward pass


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
