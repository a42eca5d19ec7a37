"""Clocks that wait for the device, phases, peak memory, energy, and floating-point operations."""

import math
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from maebench.contracts import Variant
from maebench.seeding import stream

MATMUL = {"cuda": 8192, "cpu": 2048}  # rows of the square product that gives the matmul rate; smaller ones are slower


def now(device: torch.device) -> float:
    """Seconds on a steady clock, once the device has finished all work given to it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """Charges every second from its start to exactly one phase, so that the phases add up to the wall time."""

    def __init__(self, device: torch.device, phase: str = "other") -> None:
        self.device, self.current, self.since = device, phase, now(device)
        self.seconds: dict[str, float] = defaultdict(float)

    def switch(self, phase: str) -> str:
        """Charge the time until now to the phase so far and begin another; gives the one so far."""
        time_now, before = now(self.device), self.current
        self.seconds[before] += time_now - self.since
        self.current, self.since = phase, time_now
        return before

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to this phase, then go on with the one before."""
        before = self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add what an earlier process spent."""
        for phase, spent in seconds.items():
            self.seconds[phase] += spent

    def read(self, *phases: str) -> float:
        """Seconds of these phases so far. Does not wait for the device, so that a training step may ask."""
        running = time.perf_counter() - self.since if self.current in phases else 0.0
        return running + sum(self.seconds[phase] for phase in phases)


def middle(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Median and interquartile range; None with fewer than two values."""
    if len(values) < 2:
        return None, None
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, high - low


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory. On Linux the process's own peak is reset; elsewhere it cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Peak MiB since the reset: allocated on a GPU, resident set of the process on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_rss()


def peak_reserved(device: torch.device) -> float | None:
    """Peak MiB that torch took from a GPU since the reset, its cache included; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else None


def peak_rss() -> float:
    """Peak MiB of the process's resident set since the reset."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def energy(device: torch.device) -> float | None:
    """Joules that the GPU has used since its driver was loaded, by NVML; None without a GPU or without nvidia-ml-py."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:  # older than Volta, or no access
        return None


def _convolution_backward(
    grad: torch.Size, image: torch.Size, weight: torch.Size, *settings: Any, out_shape: object = None
) -> float:
    """Each gradient that is asked for takes what the convolution does; torch counts those of groups as of none."""
    *_others, transposed, _output_padding, _groups, asked = settings
    known = image if transposed else grad
    return 2.0 * math.prod(known) / known[1] * math.prod(weight) * (asked[0] + asked[1])  # type: ignore[no-any-return]


def _distances(left: torch.Size, right: torch.Size, *_settings: Any, out_shape: object = None) -> float:
    return 2.0 * math.prod(left) * right[-2]


def _eigenvectors(matrix: torch.Size, *_settings: Any, out_shape: object = None) -> float:
    """9 n^3 of a symmetric matrix. Source: Golub and Van Loan, Matrix Computations, 8.3."""
    return 9.0 * math.prod(matrix) * matrix[-1]


FORMULAS = {
    torch.ops.aten.convolution_backward: _convolution_backward,
    torch.ops.aten._euclidean_dist: _distances,
    torch.ops.aten._linalg_eigh: _eigenvectors,
}
"""what torch's counter has wrong or leaves out, by operator"""


def flops_per_image(variant: Variant, images: Tensor) -> float:
    """Floating-point operations (a multiply-add is 2) of the loss of images [B, C, H, W], per image, forward only.

    Attention is counted in its plain form, which does the same arithmetic as the fused kernels.
    """
    with torch.no_grad():
        return counted(lambda: variant.loss(images, stream(0, "flops"))) / len(images)


def counted(work: Callable[[], object]) -> float:
    """Floating-point operations of some work, as `flops_per_image` counts them."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """float32 products in full precision for "float32", else in TF32 where the device has it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def matmul_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of a large square product on this device, the best of ten: what utilisation is a share of."""
    size = MATMUL[device.type]
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left = torch.randn(size, size, generator=stream(0, "matmul")).to(device, dtype)
    times = []
    with matmul_precision(precision):
        for _ in range(10):
            start = now(device)
            left @ left
            times.append(now(device) - start)
    return 2 * size**3 / min(times)
