"""Phases, peak memory and counted operations."""

import time
from pathlib import Path

import pytest
import torch
from builders.plugins import CPU, encoder, images, write_all
from torch import nn

from maebench.contracts import standardise
from maebench.runs.build import assemble
from maebench.runs.plan import Plugin
from maebench.seeding import stream
from maebench.training.timing import (
    Stopwatch,
    counted,
    energy,
    flops_per_image,
    matmul_precision,
    matmul_rate,
    middle,
    peak_memory,
    peak_reserved,
    peak_rss,
    reset_peak_memory,
)


def test_every_second_belongs_to_one_phase() -> None:
    start = time.perf_counter()
    clock = Stopwatch(CPU)
    begun = clock.since
    time.sleep(0.02)
    with clock.phase("train"):
        time.sleep(0.2)
        with clock.phase("save"):
            time.sleep(0.05)
        assert 0.2 <= clock.read("train") <= time.perf_counter() - start - 0.02 - 0.05
        clock.switch("late")
        time.sleep(0.03)
    with pytest.raises(ZeroDivisionError), clock.phase("train"):
        raise ZeroDivisionError
    assert clock.current == "other"
    clock.switch("other")
    assert sum(clock.seconds.values()) == pytest.approx(clock.since - begun)
    assert clock.since - begun <= time.perf_counter() - start
    expected = {"other": 0.02, "train": 0.2, "save": 0.05, "late": 0.03}
    assert clock.seconds.keys() == expected.keys()
    for phase, due in expected.items():
        assert due <= clock.seconds[phase], phase


def test_a_sleep_is_timed_from_its_start_to_its_end() -> None:
    before = time.perf_counter()
    clock = Stopwatch(CPU, "sleep")
    time.sleep(0.1)
    clock.switch("other")
    assert 0.1 <= clock.seconds["sleep"] <= time.perf_counter() - before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_work_that_a_gpu_still_has_to_do_is_timed_within_two_percent() -> None:
    device = torch.device("cuda")
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(1000)
    clock = Stopwatch(device, "kernel")
    begin.record()
    torch.cuda._sleep(1_000_000_000)
    end.record()
    clock.switch("other")
    assert clock.seconds["kernel"] == pytest.approx(begin.elapsed_time(end) / 1000, rel=0.02)


def test_an_earlier_process_counts() -> None:
    clock = Stopwatch(CPU)
    clock.add({"train": 5.0, "data": 1.0})
    assert clock.read("train", "data", "unknown") == 6.0


def test_the_middle_is_the_median_and_iqr() -> None:
    assert middle([50, 25, 12.5]) == pytest.approx((25.0, 37.5 - 18.75))
    assert middle([40, 40, 40]) == (40.0, 0.0)
    assert middle([1.0]) == middle([]) == (None, None)


def test_the_matmul_rate_is_that_of_a_product_timed_by_hand() -> None:
    left = torch.randn(2048, 2048, generator=stream(0))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        left @ left
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    rate = matmul_rate.__wrapped__(CPU, "float32") / (2 * 2048**3)  # products a second, the best of ten
    assert 10 / (time.perf_counter() - start) < rate < 5 / min(times)  # other programs may run


def test_a_precision_holds_inside_and_not_after() -> None:
    before = torch.get_float32_matmul_precision()
    with matmul_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
        with matmul_precision("float32"):
            assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == before


def test_what_a_cpu_lacks_is_none() -> None:
    assert energy(CPU) is peak_reserved(CPU) is None
    assert peak_memory(CPU) == peak_rss()


def test_peak_memory_rises_by_what_is_allocated_and_is_reset() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    block = torch.ones(100, 2**18)  # 100 MiB
    held = peak_memory(CPU)
    assert held - before > 90
    assert block.sum() == 100 * 2**18
    del block
    assert peak_memory(CPU) > held - 10
    if Path("/proc/self/clear_refs").exists():
        reset_peak_memory(CPU)
        assert peak_memory(CPU) < held - 90


@pytest.mark.parametrize("count", [1, 8])
def test_a_linear_layer_is_two_operations_a_weight(tmp_path: Path, count: int) -> None:
    dense = assemble(encoder(Plugin("toy_dense", {"width": 5}, "")), (3, 8, 8), write_all(tmp_path))
    inner, outer = 2 * 192 * 5, 2 * 5 * 192
    assert flops_per_image(dense, standardise(images(count))) == inner + outer


def backward(part: nn.Module, *shape: int) -> float:
    """Operations of a step over those of its forward pass, of images that need a gradient."""
    images = torch.randn(shape, generator=stream(0, "backward"), requires_grad=True)
    return counted(lambda: part(images).sum().backward()) / counted(lambda: part(images))


@pytest.mark.parametrize(
    "part",
    [
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Conv2d(8, 8, 5, groups=8, padding=2),
        nn.ConvTranspose2d(8, 4, 2, stride=2, groups=4),
    ],
    ids=str,
)
def test_a_convolution_of_any_groups_is_counted_forward_and_twice_backward(part: nn.Module) -> None:
    assert backward(part, 2, 8, 16, 16) == 3
    frozen = part.requires_grad_(False)
    assert backward(frozen, 2, 8, 16, 16) == 2


def test_distances_and_eigenvectors_are_counted() -> None:
    rows = torch.randn(2, 64, 32, generator=stream(0, "rows"))
    assert counted(lambda: torch.cdist(rows, rows[:, :6])) == 2 * 2 * 64 * 6 * 32
    assert counted(lambda: torch.linalg.eigh(torch.eye(20).expand(3, 20, 20))) == 3 * 9 * 20**3


def block_flops(tokens: int, width: int, asked: int) -> int:
    qkv, mix, heads, mlp = 4 * tokens * width**2 + 2 * asked * width**2, 2 * width**2, 4 * tokens * width, 16 * width**2
    return qkv + asked * (mix + heads + mlp)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.75])
def test_a_masked_vit_is_counted_with_its_attention_and_what_the_loss_needs(tmp_path: Path, ratio: float) -> None:
    settings = {"patch": 2, "width": 16, "depth": 2, "decoder_width": 8, "decoder_depth": 2, "decoder_heads": 2}
    masking = Plugin("toy_random", {"tilt": 0.0}, "")
    spec = encoder(Plugin("vit_mae", settings, ""), masking=masking, ratio=ratio)
    variant = assemble(spec, (3, 8, 8), write_all(tmp_path))
    visible = round(16 * (1 - ratio))
    asked = 16 - visible or 16
    expected = visible * 2 * 12 * 16 + 2 * block_flops(visible, 16, visible)  # embedding, encoder
    expected += visible * 2 * 16 * 8 + block_flops(16, 8, 16) + block_flops(16, 8, asked) + asked * 2 * 8 * 12
    assert flops_per_image(variant, standardise(images(4))) == expected == variant.flops()


@pytest.mark.parametrize("name", ["vit_ae", "vit_dae"])
def test_an_unmasked_vit_knows_its_operations(name: str) -> None:
    variant = assemble(encoder(Plugin(name, {"patch": 4, "width": 32, "depth": 3}, "")), (3, 16, 16))
    assert variant.flops() == flops_per_image(variant, standardise(images(2, (3, 16, 16))))


def test_counting_leaves_no_gradient_and_no_random_trace(tmp_path: Path) -> None:
    dense = assemble(encoder(Plugin("toy_dense", {}, "")), (3, 8, 8), write_all(tmp_path))
    before = torch.get_rng_state()
    flops_per_image(dense, standardise(images(2)))
    assert all(weight.grad is None for weight in dense.parameters())
    assert torch.equal(torch.get_rng_state(), before)
