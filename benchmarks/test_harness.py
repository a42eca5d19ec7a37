"""What the training loop costs beside a bare loop of the same step: the two take turns on twin models."""

import statistics
import time
from typing import Any

import pytest
import torch
from step import DEVICE, images, vit_mae

from maebench.contracts import standardise
from maebench.runs.build import strategy_of
from maebench.runs.config import Pretrain
from maebench.runs.plan import Plugin
from maebench.seeding import stream
from maebench.training.batches import indices
from maebench.training.loop import Job, pretrain
from maebench.training.masker import Masker
from maebench.training.optimiser import adamw, learning_rates
from maebench.training.step_cost import masking_seconds
from maebench.training.timing import Stopwatch, now

SIZES = {
    "quick": {"width": 64, "depth": 4, "heads": 4, "decoder_width": 64, "decoder_depth": 1, "decoder_heads": 4},
    "192x12": {},
}
STEPS = {"quick": 200, "192x12": 20}


@pytest.mark.parametrize("size", SIZES)
def test_overhead(benchmark: Any, capsys: pytest.CaptureFixture[str], size: str) -> None:
    masker, steps = Masker(strategy_of(Plugin("uniform", {}, "")), 0.75), STEPS[size]
    ours, bare = vit_mae(masker=masker, **SIZES[size]), vit_mae(**SIZES[size])
    data = images(2048)
    budget = Pretrain(steps=steps, batch=64, base_lr=4e-3).budget()
    optimiser = adamw([(bare, 1.0)], 0.05, (0.9, 0.95))
    rates, order, resident = learning_rates(steps, 1e-3, 0.1), indices(len(data), 64, 0), data.to(DEVICE)
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    last = 0.0

    def take_turns(done: int, of: int) -> None:
        nonlocal last
        times["ours"].append(now(DEVICE) - last)
        start = now(DEVICE)
        for group in optimiser.param_groups:
            group["lr"] = rates[done - 1]
        loss = bare.loss(standardise(resident[next(order)]), stream(0, "masking", done - 1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        times["bare"].append(now(DEVICE) - start)
        last = now(DEVICE)

    def run() -> None:
        nonlocal last
        last = time.perf_counter()
        pretrain(Job(ours, budget, 0, DEVICE, Stopwatch(DEVICE), masker, on_step=take_turns), data)

    benchmark.pedantic(run, rounds=1)
    medians = {name: statistics.median(values[5:]) for name, values in times.items()}
    masks = masking_seconds(ours, masker, standardise(data[: budget.batch].to(DEVICE)))
    overhead, share = medians["ours"] / medians["bare"] - 1, masks / medians["ours"]
    benchmark.extra_info.update(overhead=overhead, mask_share=share, seconds_per_step=medians["ours"])
    with capsys.disabled():
        print(
            f"\n{size}: overhead {overhead:+.2%}, masks {share:.2%} of the step, {medians['ours'] * 1e3:.1f} ms a step"
        )
    for mine, theirs in zip(ours.parameters(), bare.parameters(), strict=True):
        assert torch.equal(mine, theirs)
