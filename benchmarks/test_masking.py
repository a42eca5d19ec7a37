"""Masks for one batch of 128: the scores of each strategy, and the choice of the patches to hide."""

import pytest
from step import images

from maebench.models.patches import hidden_count
from maebench.plugins import names
from maebench.runs.build import hide_by
from maebench.runs.plan import Plugin
from maebench.seeding import stream

BATCH, RATIO = 128, 0.75


@pytest.mark.parametrize("grid", [(8, 8), (16, 16)], ids=str)
@pytest.mark.parametrize("name", names("maskings"))
def test_masks_of_a_batch(benchmark, name, grid):
    hide, batch, rng = hide_by(Plugin(name, {}, ""), RATIO), images(BATCH), stream(0, "masking")
    hidden = benchmark(lambda: hide(batch, grid, rng))
    assert hidden.shape == (BATCH, *grid)
    assert (hidden.sum((1, 2)) == hidden_count(RATIO, grid[0] * grid[1])).all()
