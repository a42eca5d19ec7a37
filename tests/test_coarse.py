"""Coarse units: whole units are hidden, the last in part, each alike; and a unit of one patch is `uniform`."""

import pytest
import torch
from torch import Tensor

from maebench.models.patches import hidden_count, hide_top
from maebench.plugins import ask, find, load
from maebench.seeding import stream

MANY = 20_000


def scores(name: str, grid: tuple[int, int], count: int, **settings: int) -> Tensor:
    offered = {"images": torch.zeros(count, 1, 1, 1), "grid": grid, "rng": stream(0, "scores"), **settings}
    return ask(load(find("maskings", name)).scores, offered)


def hidden(grid: tuple[int, int], ratio: float, unit: int, count: int = 64) -> Tensor:
    return hide_top(scores("coarse", grid, count, unit=unit), ratio, stream(0, "ties"))


def test_a_unit_of_one_patch_is_uniform():
    assert torch.equal(scores("coarse", (6, 8), 50, unit=1), scores("uniform", (6, 8), 50))


@pytest.mark.parametrize("unit", [2, 4])
@pytest.mark.parametrize("grid", [(8, 8), (4, 16)], ids=str)
def test_units_are_hidden_whole(grid, unit):
    h, w = grid[0] // unit, grid[1] // unit
    kept = (~hidden(grid, 0.75, unit)).view(64, h, unit, w, unit).sum((2, 4))
    assert ((kept == 0) | (kept == unit**2)).all()
    assert ((kept > 0).sum((1, 2)) == h * w // 4).all()
    assert len((kept > 0).flatten(1).unique(dim=0)) > 3, "every image hides the same units"


def test_only_the_last_unit_is_hidden_in_part_and_at_random():
    masks = hidden((8, 8), 0.5 + 3 / 64, 2, 2000).view(2000, 4, 2, 4, 2).movedim(2, 3).flatten(3).flatten(1, 2)
    counts = masks.sum(2)
    assert ((counts > 0) & (counts < 4)).sum(1).tolist() == [1] * 2000
    assert (counts == 4).sum(1).tolist() == [8] * 2000
    cut = masks[counts == 3].float().mean(0)
    assert (cut - 0.75).abs().max() < 4 * (0.75 * 0.25 / 2000) ** 0.5, "which patch of a unit is left falls at random"


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("unit", [2, 4])
def test_every_position_of_whole_units_is_hidden_equally_often(unit, ratio):
    share = hidden_count(ratio, 64) / 64
    rate = hidden((8, 8), ratio, unit, MANY).double().mean(0)
    assert (rate - share).abs().max() < 4.5 * (share * (1 - share) / MANY) ** 0.5


@pytest.mark.parametrize(("grid", "unit"), [((3, 5), 2), ((7, 4), 3), ((4, 6), 4)], ids=str)
def test_units_at_the_right_and_the_bottom_are_cut(grid, unit):
    values = scores("coarse", grid, 10, unit=unit)
    assert values.shape == (10, *grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            first = values[:, row - row % unit, column - column % unit]
            assert torch.equal(values[:, row, column], first)
    assert len(values[0].unique()) == -(-grid[0] // unit) * -(-grid[1] // unit)


def test_a_unit_as_large_as_the_grid_hides_patches_at_random():
    rate = hidden((4, 4), 0.5, 8, MANY).double().flatten(1)
    both = rate.T @ rate / MANY
    known = (8 * 7) / (16 * 15)
    off = both[~torch.eye(16, dtype=torch.bool)]
    assert (off - known).abs().max() < 4.5 * (known * (1 - known) / MANY) ** 0.5


@pytest.mark.parametrize("unit", [0, -1])
def test_a_unit_below_one_patch_is_refused(unit):
    with pytest.raises(ValueError, match=f"at least 1 patch a side, not {unit}"):
        scores("coarse", (8, 8), 1, unit=unit)
