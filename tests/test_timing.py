"""Pace, peak memory and counted operations."""

from pathlib import Path

import pytest
import torch
from toys import CPU, encoder, images, write_all

from maebench.assemble import assemble
from maebench.batches import standardise
from maebench.plan import Part
from maebench.timing import Pace, flops_per_image, now, peak_memory, reset_peak_memory


def pace_of(*marks: float) -> Pace:
    pace = Pace(CPU, every=10)
    pace.marks = list(marks)
    return pace


def test_the_pace_is_the_median_and_iqr_over_blocks() -> None:
    # 10 steps of 5 images in 1, 2 and 4 seconds: 50, 25 and 12.5 images a second
    assert pace_of(100, 101, 103, 107).per_second(5) == pytest.approx((25.0, 37.5 - 18.75))
    assert pace_of(0, 2, 4, 6).per_second(8) == pytest.approx((40.0, 0.0))


@pytest.mark.parametrize("marks", [(), (1.0,), (1.0, 2.0)])
def test_one_block_is_no_pace(marks: tuple[float, ...]) -> None:
    assert pace_of(*marks).per_second(5) is None


def test_a_mark_is_set_after_each_block_so_that_the_first_only_warms_up() -> None:
    pace = Pace(CPU, every=10)
    before = now(CPU)
    for number in range(1, 36):
        pace.step(number)
    assert len(pace.marks) == 3
    assert before <= pace.marks[0] <= pace.marks[1] <= pace.marks[2] <= now(CPU)


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
    dense = assemble(encoder(Part("toy_dense", {"width": 5}, "")), (3, 8, 8), write_all(tmp_path))
    inner, outer = 2 * 192 * 5, 2 * 5 * 192
    assert flops_per_image(dense, standardise(images(count))) == inner + outer


def block_flops(tokens: int, width: int) -> int:
    qkv, mix, heads, mlp = 6 * width**2, 2 * width**2, 4 * tokens * width, 16 * width**2
    return tokens * (qkv + mix + heads + mlp)


@pytest.mark.parametrize("ratio", [0.5, 0.75])
def test_a_masked_vit_is_counted_with_its_attention_and_visible_tokens_only(tmp_path: Path, ratio: float) -> None:
    settings = {"patch": 2, "width": 16, "depth": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
    masking = Part("toy_random", {"tilt": 0.0}, "")
    spec = encoder(Part("vit_mae", settings, ""), masking=masking, ratio=ratio)
    variant = assemble(spec, (3, 8, 8), write_all(tmp_path))
    visible = round(16 * (1 - ratio))
    expected = visible * 2 * 12 * 16 + 2 * block_flops(visible, 16)  # embedding, encoder
    expected += visible * 2 * 16 * 8 + block_flops(16, 8) + 16 * 2 * 8 * 12  # to decoder, decoder, head
    assert flops_per_image(variant, standardise(images(4))) == expected


def test_counting_leaves_no_gradient_and_no_random_trace(tmp_path: Path) -> None:
    dense = assemble(encoder(Part("toy_dense", {}, "")), (3, 8, 8), write_all(tmp_path))
    before = torch.get_rng_state()
    flops_per_image(dense, standardise(images(2)))
    assert all(weight.grad is None for weight in dense.parameters())
    assert torch.equal(torch.get_rng_state(), before)
