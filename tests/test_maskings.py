"""Every masking strategy: exact counts, declared frequencies, chance from its generator alone; then each its shape."""

import pytest
import torch

from maebench.models.patches import hidden_count, hide_top
from maebench.plugins import ask, find, load, names
from maebench.seeding import stream

STRATEGIES = [name for name, found in names("maskings").items() if found.asks <= {"images", "grid", "rng", "count"}]
GRIDS = [(8, 8), (16, 16), (3, 5), (7, 4), (2, 2), (1, 1)]
MANY = 20_000


def scores(name, grid, count=64, seed=0, **settings):
    offered = {"images": torch.zeros(count, 1, 1, 1), "grid": grid, "rng": stream(seed, "scores")}
    offered["count"] = grid[0] * grid[1] * 3 // 4
    return ask(load(find("maskings", name)).scores, {**offered, **settings})


def hidden(name, grid, ratio, count=64, **settings):
    return hide_top(scores(name, grid, count, **settings), ratio, stream(0, "ties"))


def frequency(name, grid, ratio, **settings):
    """How often each position is hidden [h, w], and four standard errors of that at the mean frequency."""
    share = hidden_count(ratio, grid[0] * grid[1]) / (grid[0] * grid[1])
    rate = hidden(name, grid, ratio, MANY, **settings).double().mean(0)
    return rate, share, 4 * (share * (1 - share) / MANY) ** 0.5


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_count_is_exact_on_every_grid_at_every_ratio(name, grid):
    values = scores(name, grid)
    assert values.shape == (64, *grid)
    assert not values.isnan().any()
    patches = grid[0] * grid[1]
    for ratio in (0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.99):
        count = hide_top(values, ratio, stream(0)).sum((1, 2))
        assert (count == min(round(ratio * patches), patches - 1)).all(), ratio


@pytest.mark.parametrize("name", STRATEGIES)
def test_chance_comes_from_the_generator_alone(name):
    drawn = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn.append(scores(name, (8, 8)))
    first = drawn[0]
    assert torch.equal(drawn[1], first)
    assert not torch.equal(scores(name, (8, 8), seed=1), first)
    assert len(first.flatten(1).unique(dim=0)) > 3, "every image has the same mask"


@pytest.mark.parametrize(("name", "ratio"), [("uniform", 0.3), ("uniform", 0.75), ("grid", 0.25), ("grid", 0.75)])
@pytest.mark.parametrize("grid", [(8, 8), (4, 6)], ids=str)
def test_every_position_is_hidden_equally_often(name, ratio, grid):
    rate, share, margin = frequency(name, grid, ratio)
    assert (rate - share).abs().max() < margin


@pytest.mark.parametrize("grid", [(8, 8), (16, 16), (14, 14), (6, 10)], ids=str)
def test_blocks_reach_every_edge_alike(grid):
    """A corner drawn with an exclusive bound never reaches the last row and column."""
    rate, _, margin = frequency("block", grid, 0.75)
    assert rate.min() > 0.05
    assert rate[-1].mean() > 0.2
    assert rate[:, -1].mean() > 0.2
    assert (rate - rate.flip(0)).abs().max() < 2 * margin
    assert (rate - rate.flip(1)).abs().max() < 2 * margin
    assert rate[grid[0] // 2, grid[1] // 2] > rate[0, 0] + 0.2


def test_the_first_block_is_a_whole_rectangle_of_the_declared_area_and_shape():
    h, w = grid = (16, 16)
    first = scores("block", grid, 2000, min_area=0.1, max_area=0.3, aspect=0.5) > -1
    rows, columns = first.any(2), first.any(1)
    height, width = rows.sum(1).double(), columns.sum(1).double()
    assert torch.equal(first, rows[:, :, None] & columns[:, None])
    assert ((rows.int().diff() != 0).sum(1) <= 2).all()
    assert ((columns.int().diff() != 0).sum(1) <= 2).all()
    low, high = (share * h * w for share in (0.1, 0.3))
    slack = 0.5 * (height + width) + 0.25  # both sides are rounded to whole patches
    assert ((height * width > low - slack) & (height * width < high + slack)).all()
    assert ((height + 0.5) / (width - 0.5)).min() >= 0.5
    assert ((height - 0.5) / (width + 0.5)).max() <= 2
    assert abs(float((height / width).log().mean())) < 0.05


def test_a_block_that_is_cut_stays_one_block_without_holes():
    cut = hidden("block", (16, 16), 0.05, 500)
    rows, columns = cut.any(2).sum(1), cut.any(1).sum(1)
    assert (rows * columns <= 2.5 * cut.sum((1, 2))).all()


@pytest.mark.parametrize("settings", [{"min_area": 0.0}, {"min_area": 0.5}, {"max_area": 1.1}, {"aspect": 0.0}])
def test_block_refuses_impossible_rectangles(settings):
    with pytest.raises(ValueError, match="block needs"):
        scores("block", (8, 8), **settings)


@pytest.mark.parametrize("phase", ["random", "fixed"])
def test_grid_keeps_one_patch_of_every_tile_and_a_checkerboard(phase):
    kept = ~hidden("grid", (8, 6), 0.75, phase=phase)
    assert (kept.view(64, 4, 2, 3, 2).sum((2, 4)) == 1).all()
    assert (kept.any(2).sum(1) == 4).all()
    assert (kept.any(1).sum(1) == 3).all()
    half = ~hidden("grid", (8, 6), 0.5, phase=phase)
    assert (half[:, 1:] != half[:, :-1]).all()
    assert (half[:, :, 1:] != half[:, :, :-1]).all()
    if phase == "fixed":
        assert kept[:, 0, 0].all()


def test_uniform_masks_of_two_patches_are_independent_but_for_the_count():
    pair = hidden("uniform", (4, 4), 0.5, MANY).flatten(1).double()
    both = pair.T @ pair / MANY
    known = (8 * 7) / (16 * 15)
    off = both[~torch.eye(16, dtype=torch.bool)]
    assert (off - known).abs().max() < 4.5 * (known * (1 - known) / MANY) ** 0.5


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.97, 0.999, 1.0])
def test_a_share_is_hidden_inside_of_every_part_and_the_rest_is_whole_parts(progress):
    many, rng = 2000, stream(0, "scores")
    features = torch.randn(many, 3, 8, 8, generator=stream(0, "features"))
    values = scores("parts", (8, 8), features=features, progress=progress, parts=4, power=2.0)
    torch.rand(3, many, 8, 8, generator=rng)  # what `scores` draws before
    part = load(find("maskings", "parts"))._clusters(features.flatten(2).transpose(1, 2), 4, rng)
    every = torch.nn.functional.one_hot(part, 4).double()
    size, inside = every.sum(1), (every * (values >= 2).flatten(1)[..., None]).sum(1)  # scored above whole parts
    quota = (1 - progress**2) * 0.75 * size
    gap = inside - quota
    assert float(gap.abs().max()) < 1
    assert float(gap.mean()) == pytest.approx(0, abs=0.02)
    hides = hide_top(values, 0.75, stream(0, "ties")).flatten(1).double()
    hidden_of = (every * hides[..., None]).sum(1)
    partly = ((hidden_of > inside) & (hidden_of < size)).sum(1)
    assert float((partly <= 1).double().mean()) > 0.99, "but for one, a part is hidden whole or by its share"
