"""The patch grid: counts, order, and what is hidden, scored and seen."""

import pytest
import torch
from torch import Tensor

from maebench.models.patches import (
    grid_of,
    hidden_count,
    hide_nothing,
    hide_top,
    patch_of_pixel,
    patchify,
    scored_pixels,
    seen_pixels,
    to_pixels,
    unpatchify,
)
from maebench.seeding import stream

GRIDS = [(1, 1), (1, 5), (4, 4), (8, 8), (7, 3)]
RATIOS = [0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.99]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(0, "patches"))


@pytest.mark.parametrize(("shape", "patch"), [((3, 8, 8), 2), ((1, 6, 9), 3), ((2, 4, 4), 4), ((3, 5, 7), 1)])
def test_unpatchify_inverts_patchify(shape: tuple[int, int, int], patch: int) -> None:
    images = random(4, *shape)
    patches = patchify(images, patch)
    height, width = grid_of(shape, patch)
    assert patches.shape == (4, height * width, shape[0] * patch**2)
    assert torch.equal(unpatchify(patches, patch, (height, width)), images)


def test_patches_are_the_squares_of_the_image_row_by_row() -> None:
    images = random(2, 3, 4, 6)
    patches = patchify(images, 2)
    for row in range(2):
        for column in range(3):
            square = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[:, 3 * row + column], square.flatten(1))


@pytest.mark.parametrize(("shape", "patch"), [((3, 8, 8), 2), ((1, 6, 9), 3), ((2, 4, 4), 1)])
def test_patch_of_pixel_agrees_with_patchify(shape: tuple[int, int, int], patch: int) -> None:
    where = patch_of_pixel(shape, patch)
    pixel = torch.arange(len(where)).float().view(1, *shape)
    for number, pixels in enumerate(patchify(pixel, patch)[0]):
        assert where[pixels.long()].eq(number).all()


@pytest.mark.parametrize("patch", [0, -1, 3])
def test_a_patch_that_does_not_divide_the_image_is_refused(patch: int) -> None:
    with pytest.raises(ValueError, match=f"patch {patch} does not divide an image of 8 x 8"):
        grid_of((3, 8, 8), patch)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_every_image_has_exactly_the_due_number_of_hidden_patches(grid: tuple[int, int], ratio: float) -> None:
    patches = grid[0] * grid[1]
    hidden = hide_top(random(16, *grid), ratio, stream(0, "ties"))
    assert hidden.shape == (16, *grid)
    assert hidden.dtype == torch.bool
    assert hidden.flatten(1).sum(1).tolist() == [hidden_count(ratio, patches)] * 16
    assert abs(hidden_count(ratio, patches) - ratio * patches) <= 0.5 or hidden_count(ratio, patches) == patches - 1


@pytest.mark.parametrize("grid", GRIDS)
def test_one_patch_stays_visible_at_the_highest_ratio(grid: tuple[int, int]) -> None:
    hidden = hide_top(random(8, *grid), 0.99, stream(0, "ties"))
    assert (~hidden).flatten(1).any(1).all()


def test_ratio_zero_hides_nothing_as_hide_nothing_does() -> None:
    images = random(5, 3, 8, 8)
    assert torch.equal(hide_top(random(5, 4, 4), 0.0, stream(0)), hide_nothing(images, (4, 4), stream(0)))
    assert not hide_nothing(images, (4, 4), stream(0)).any()


def test_the_highest_scores_are_hidden() -> None:
    scores = random(32, 6, 6)
    hidden = hide_top(scores, 0.6, stream(0, "ties"))
    lowest_hidden = scores.masked_fill(~hidden, torch.inf).flatten(1).amin(1)
    highest_visible = scores.masked_fill(hidden, -torch.inf).flatten(1).amax(1)
    assert (lowest_hidden > highest_visible).all()


def test_ties_fall_at_random_and_are_fixed_by_the_stream() -> None:
    equal = torch.zeros(4000, 2, 4)
    hidden = hide_top(equal, 0.5, stream(3, "ties"))
    assert torch.equal(hidden, hide_top(equal, 0.5, stream(3, "ties")))
    assert not torch.equal(hidden, hide_top(equal, 0.5, stream(4, "ties")))
    share = hidden.float().mean(0)
    assert share.sub(0.5).abs().max() < 0.04  # five standard deviations of 4000 fair draws


def test_ties_never_push_a_lower_score_into_hiding() -> None:
    scores = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 0.0]).repeat(200, 1).view(200, 2, 3)
    hidden = hide_top(scores, 0.5, stream(0, "ties")).flatten(1)
    assert hidden[:, 0].all()
    assert not hidden[:, 5].any()
    assert (hidden.float().mean(0)[1:5] - 0.5).abs().max() < 0.15


def test_scored_pixels_are_the_hidden_ones_or_all_where_nothing_is_hidden() -> None:
    hidden = torch.zeros(3, 2, 2, dtype=torch.bool)
    hidden[1, 0, 1] = True
    scored = scored_pixels(hidden, 3)
    assert scored.shape == (3, 1, 6, 6)
    assert scored[[0, 2]].all()
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[:3, 3:] = True
    assert torch.equal(scored[1, 0], expected)


def test_scored_pixels_at_ratio_zero_are_all_pixels() -> None:
    assert scored_pixels(hide_top(random(4, 3, 3), 0.0, stream(0)), 2).all()


def test_seen_pixels_are_missing_exactly_where_hidden() -> None:
    images, hidden = random(6, 3, 8, 8), hide_top(random(6, 4, 4), 0.5, stream(0))
    before = images.clone()
    seen = seen_pixels(images, hidden, 2)
    gone = to_pixels(hidden[:, None], 2).expand_as(images)
    assert torch.equal(seen.isnan(), gone)
    assert torch.equal(seen[~gone], images[~gone])
    assert torch.equal(images, before)


def test_the_highest_are_hidden_whatever_their_sign_and_size() -> None:
    size = 10.0 ** torch.randint(-40, 38, (200, 4, 4), generator=stream(1))
    scores = torch.randn(200, 4, 4, generator=stream(0)) * size
    scores[0, 0] = torch.tensor([torch.inf, -torch.inf, torch.inf, -torch.inf])
    hidden = hide_top(scores, 0.5, stream(2)).flatten(1)
    for row, chosen in zip(scores.flatten(1), hidden, strict=True):
        assert chosen.sum() == 8
        assert row[chosen].min() >= row[~chosen].max()


def test_minus_zero_is_as_high_as_zero() -> None:
    scores = torch.tensor([0.0, -0.0]).repeat(2000, 1, 8).view(2000, 4, 4)
    share = hide_top(scores, 0.5, stream(0)).flatten(1)[:, ::2].float().mean()
    assert float(share) == pytest.approx(0.5, abs=0.02)
