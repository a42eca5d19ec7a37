"""Masks for one batch of 128: the scores of each strategy, and the choice of the patches to hide."""

import pytest
import torch

from maebench.discovery import ask, find, load, names
from maebench.patches import hide_top
from maebench.seeding import stream

BATCH = 128


@pytest.mark.parametrize("grid", [(8, 8), (16, 16)], ids=str)
@pytest.mark.parametrize("name", names("maskings"))
def test_masks_of_a_batch(benchmark, name, grid):
    scores = load(find("maskings", name)).scores
    rng = stream(0, "masking")
    offered = {"images": torch.zeros(BATCH, 3, 32, 32), "grid": grid, "rng": rng}
    hidden = benchmark(lambda: hide_top(ask(scores, offered), 0.75, rng))
    assert (hidden.sum((1, 2)) == 0.75 * grid[0] * grid[1]).all()
