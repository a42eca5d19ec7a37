"""One training step of `vit_mae` over encoder depth, decoder depth, ratio and patch, one at a time around a base.

Base: 32x32 pixels, patch 4, encoder 192 wide, 12 deep, 3 heads; decoder 192, 4, 3; ratio 0.75; batch 32, so that the
slowest case takes seconds on 2 cores. A step is masks, loss, gradient and AdamW; the images lie on the device.
The axes are those over which Fig. 10 and 11 of the source paper give training times.
"""

import pytest
from step import STEPS, WARM_UP, assert_learnt, masked_loss, note_rate, trainer, vit_mae

BATCH = 32
AXES = {"depth": (2, 6), "decoder_depth": (1, 2), "ratio": (0.25, 0.5, 0.9), "patch": (2, 8)}
CASES = [{}, *({axis: value} for axis, values in AXES.items() for value in values)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "".join(f"{key}={case[key]}" for key in case) or "base")
def test_training_step(benchmark, case):
    variant = vit_mae(**case)
    turn = trainer(variant.parameters(), masked_loss(variant, BATCH))
    losses = [turn() for _ in range(WARM_UP)]
    losses.append(benchmark(turn))
    note_rate(benchmark, BATCH * STEPS)
    assert_learnt(losses)
