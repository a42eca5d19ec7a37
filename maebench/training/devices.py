"""Which device, and how many processes share one training: those that torchrun starts."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def pick_device(name: str) -> torch.device:
    """ "auto", "cpu" or "cuda" -> the device. Raises ValueError for a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name}: is none of auto, cpu, cuda")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no GPU here; use --device cpu, or auto")
    return torch.device(name)


@dataclass(frozen=True)
class World:
    """The processes of one command. Only the first (rank 0) writes, evaluates and talks."""

    rank: int = 0
    size: int = 1

    def add_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, total in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def first(self, value: float, device: torch.device) -> float:
        """What the first process says."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(said, 0)
        return float(said)

    def announce(self, text: str) -> None:
        """Tell the others what comes next; nothing where there are none."""
        if self.size > 1:
            dist.broadcast_object_list([text], 0)

    def heard(self) -> str:
        """What the first process announces; nothing where it has ended, since it has said why."""
        box: list[str] = [""]
        try:
            dist.broadcast_object_list(box, 0)
        except RuntimeError:
            return ""
        return box[0]

    def leave(self) -> None:
        """Part from the others, when all of them are done."""
        if self.size > 1:
            with suppress(RuntimeError):  # one that has ended before
                dist.barrier()  # or the first to leave may abort those that still read what it said
            dist.destroy_process_group()


ALONE = World()


def join(device: torch.device) -> World:
    """The world that torchrun's environment describes; a process started without it is alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():  # others wait while the first evaluates, which may take long
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
    return World(dist.get_rank(), size)
