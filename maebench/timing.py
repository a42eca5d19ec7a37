"""Clocks that wait for the device, peak memory, and floating-point operations."""

import resource
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from maebench.contracts import Variant
from maebench.seeding import stream


def now(device: torch.device) -> float:
    """Seconds on a steady clock, once the device has finished all work given to it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Pace:
    """Images per second, from the times of equal blocks of steps; the first block warms up and does not count."""

    def __init__(self, device: torch.device, every: int) -> None:
        self.device, self.every = device, every
        self.marks: list[float] = []

    def step(self, number: int) -> None:
        """Say that `number` steps are done."""
        if number % self.every == 0:
            self.marks.append(now(self.device))

    def per_second(self, images_per_step: int) -> tuple[float, float] | None:
        """Median and interquartile range of images/s over the blocks; None with fewer than two blocks."""
        rates = [self.every * images_per_step / (b - a) for a, b in zip(self.marks, self.marks[1:], strict=False)]
        if len(rates) < 2:
            return None
        low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
        return middle, high - low


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory. On Linux the process's own peak is reset; elsewhere it cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Peak MiB since the reset: allocated on a GPU, resident set of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def flops_per_image(variant: Variant, images: Tensor) -> float:
    """Floating-point operations (a multiply-add is 2) of the loss of images [B, C, H, W], per image, forward only.

    Attention is counted in its plain form, which does the same arithmetic as the fused kernels.
    """
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        variant.loss(images, stream(0, "flops"))
    return counter.get_total_flops() / len(images)
