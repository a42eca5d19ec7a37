"""Crops and flips: equal to torchvision's where it can do the same, inside the image, from the generator alone."""

import math
from typing import get_args

import pytest
import torch
from builders.plugins import images
from torch import Tensor
from torch.nn import functional

from maebench.contracts import standardise
from maebench.seeding import stream
from maebench.training.batches import Augment, augment, boxes, crop_flip, resized_crop_flip

WORDS = get_args(Augment)
RANDOM = [word for word in WORDS if word != "none"]
KEPT = 0.75  # a draw for flip that keeps the image; MIRRORED turns it round
MIRRORED = 0.25
WHOLE = (1.0, 0.5, 0.5, 0.5)  # area, stretch, top, left of the box that is the whole image


def rows(*draws: float, count: int) -> Tensor:
    """The same draws for each image, [count, k]."""
    return torch.tensor(draws).expand(count, -1).clone()


def box(top: int, left: int, height: int, length: int) -> tuple[float, ...]:
    """The draws of a box of so many pixels in a square image of `length`, itself square."""
    free = length - height
    return ((height**2 / length**2 - 0.2) / 0.8, 0.5, top / free, left / free)


def corners_of(draws: tuple[Tensor, ...]) -> Tensor:
    """Upper left and lower right corner of each box, [B, 4], in shares of the sides."""
    size, centre = draws
    return (torch.cat([centre - size, centre + size], dim=1) + 1) / 2


def mirrored_rows(draws: Tensor) -> Tensor:
    """The same draws with the flip, their last column, turned round."""
    return torch.cat([draws[:, :-1], 1 - draws[:, -1:]], dim=1)


def test_none_is_standardise_and_draws_nothing() -> None:
    rng = stream(0, "test")
    before = rng.get_state()
    assert torch.equal(augment(images(4), "none", rng), standardise(images(4)))
    assert torch.equal(rng.get_state(), before)


@pytest.mark.parametrize(
    ("how", "middle"), [(crop_flip, (0.5, 0.5)), (resized_crop_flip, WHOLE)], ids=["crop", "resized"]
)
def test_without_a_crop_there_is_only_the_flip(how, middle: tuple[float, ...]) -> None:
    pixels = images(3, (3, 16, 24))
    kept = how(pixels, rows(*middle, KEPT, count=3))
    torch.testing.assert_close(kept, standardise(pixels), rtol=0, atol=1e-5)
    mirrored = how(pixels, rows(*middle, MIRRORED, count=3))
    torch.testing.assert_close(mirrored, standardise(pixels.flip(3)), rtol=0, atol=1e-5)


def test_a_flip_is_the_exact_mirror_of_a_crop() -> None:
    pixels, draws = images(50), torch.rand(50, 3, generator=stream(0, "test"))
    assert torch.equal(crop_flip(pixels, mirrored_rows(draws)), crop_flip(pixels, draws).flip(3))


def test_a_flip_mirrors_a_resized_crop() -> None:
    pixels, draws = images(50), torch.rand(50, 5, generator=stream(0, "test"))
    turned, kept = resized_crop_flip(pixels, mirrored_rows(draws)), resized_crop_flip(pixels, draws)
    torch.testing.assert_close(turned, kept.flip(3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 24), (3, 7, 9)], ids=str)
def test_a_crop_is_torchvisions_of_the_padded_image(shape: tuple[int, int, int]) -> None:
    from torchvision.transforms.v2.functional import crop, pad

    _, H, W = shape
    up, side = H // 8, W // 8
    places = [(top, left) for top in range(2 * up + 1) for left in range(2 * side + 1)]
    pixels = images(len(places), shape)
    draws = [[(top + 0.5) / (2 * up + 1), (left + 0.5) / (2 * side + 1), KEPT] for top, left in places]
    got = crop_flip(pixels, torch.tensor(draws))
    padded = pad(pixels, [side, up], padding_mode="reflect")
    wanted = [crop(one, top, left, H, W) for one, (top, left) in zip(padded, places, strict=True)]
    assert torch.equal(got, standardise(torch.stack(wanted)))


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("side", [8, 32, 64, 224])
def test_the_outermost_draws_stay_in_the_padded_image(draw: float, side: int) -> None:
    pixels, padding = images(1, (1, side, side)), side // 8
    got = crop_flip(pixels, rows(draw, draw, KEPT, count=1))
    padded = functional.pad(standardise(pixels), [padding] * 4, mode="reflect")
    start = 0 if draw == 0 else 2 * padding
    assert torch.equal(got, padded[:, :, start : start + side, start : start + side])


def test_every_crop_is_equally_frequent() -> None:
    # A pixel that tells its place: in a crop by (top, left), the middle pixel is that of the image moved by as much.
    places = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(20_000, -1, -1, -1)
    draws = torch.rand(20_000, 3, generator=stream(0, "test"))
    draws[:, 2] = KEPT
    counts = crop_flip(places, draws)[:, 0, 8, 8].unique(return_counts=True)[1]
    assert len(counts) == 25
    assert (counts / 20_000 - 1 / 25).abs().max() < 5 * math.sqrt(1 / 25 / 20_000)


@pytest.mark.parametrize(("top", "left", "height"), [(0, 0, 16), (16, 16, 16), (4, 10, 20), (1, 0, 31)])
def test_a_resized_crop_is_interpolate_of_the_box(top: int, left: int, height: int) -> None:
    pixels = images(2, (3, 32, 32))
    got = resized_crop_flip(pixels, rows(*box(top, left, height, 32), KEPT, count=2))
    cut = standardise(pixels)[:, :, top : top + height, left : left + height]
    wanted = functional.interpolate(cut, size=(32, 32), mode="bicubic").clamp(-2, 2)
    rim = math.ceil(2 * 32 / height) + 1  # bicubic reads two pixels to each side, and ours those outside the box too
    inside = slice(rim, -rim)
    torch.testing.assert_close(got[:, :, inside, inside], wanted[:, :, inside, inside], rtol=0, atol=1e-3)
    assert (got - standardise(pixels)).abs().max() > 0.5


def test_boxes_lie_inside_and_cover_the_named_range() -> None:
    draws = torch.rand(20_000, 4, generator=stream(0, "test"))
    size, centre = boxes(draws)
    corners = corners_of((size, centre))
    assert corners.min() >= -1e-6
    assert corners.max() <= 1 + 1e-6
    area, stretch = size.prod(1), size[:, 1] / size[:, 0]
    torch.testing.assert_close(area, 0.2 + 0.8 * draws[:, 0], rtol=0, atol=1e-6)
    assert 3 / 4 - 1e-5 <= stretch.min() < 0.76
    assert 1.32 < stretch.max() <= 4 / 3 + 1e-5
    assert torch.equal(stretch > 1, draws[:, 1] > 0.5)
    assert abs(stretch.log().mean()) < 0.01
    torch.testing.assert_close(corners[:, :2], draws[:, 2:] * (1 - size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ends", [torch.zeros(1, 4), torch.ones(1, 4), torch.tensor([[0.0, 1, 1, 0]])], ids=str)
def test_the_outermost_boxes_lie_inside(ends: Tensor) -> None:
    corners = corners_of(boxes(ends))
    assert corners.min() >= -1e-6
    assert corners.max() <= 1 + 1e-6


@pytest.mark.parametrize("how", RANDOM)
def test_values_stay_in_the_range_of_pixels(how: Augment) -> None:
    extreme = images(64).gt(127).to(torch.uint8) * 255  # where bicubic overshoots most
    assert augment(extreme, how, stream(0, "test")).abs().max() <= standardise(extreme).abs().max()


@pytest.mark.parametrize("how", RANDOM)
def test_a_plain_image_stays_as_it_is(how: Augment) -> None:
    white = torch.full((64, 3, 16, 16), 255, dtype=torch.uint8)
    got = augment(white, how, stream(0, "test"))
    torch.testing.assert_close(got, standardise(white), rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", RANDOM)
def test_half_of_the_images_are_mirrored(how: Augment) -> None:
    # Brightness rises from left to right, and no crop changes that; a flip does.
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(4000, 1, 8, 32).contiguous()
    halves = augment(ramp, how, stream(0, "test")).unflatten(3, (2, 16)).mean((1, 2, 4))
    share = (halves[:, 0] > halves[:, 1]).float().mean()
    assert abs(share - 0.5) < 3 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("how", RANDOM)
def test_the_generator_alone_decides(how: Augment) -> None:
    pixels = images(32)
    before = pixels.clone(), torch.get_rng_state()
    first, again, other = (augment(pixels, how, stream(seed, "test")) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(pixels, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("how", RANDOM)
def test_images_of_a_batch_are_changed_differently(how: Augment) -> None:
    got = augment(images(1, (3, 32, 32)).expand(16, -1, -1, -1), how, stream(0, "test"))
    assert len(got.unique(dim=0)) > 12


@pytest.mark.parametrize("how", RANDOM)
@pytest.mark.parametrize("count", [1, 3, 17])
def test_an_image_depends_on_its_own_row_of_draws(how: Augment, count: int) -> None:
    pixels = images(32)
    alone = augment(pixels[:count], how, stream(0, "test"))
    torch.testing.assert_close(alone, augment(pixels, how, stream(0, "test"))[:count], rtol=0, atol=1e-6)


@pytest.mark.parametrize("how", WORDS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 16), (4, 5, 3)], ids=str)
def test_the_result_is_float32_of_the_same_shape(how: Augment, shape: tuple[int, int, int]) -> None:
    got = augment(images(2, shape), how, stream(0, "test"))
    assert got.dtype == torch.float32
    assert got.shape == (2, *shape)
    assert got.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("how", WORDS)
def test_a_gpu_gives_the_same_images(how: Augment) -> None:
    pixels = images(64, (3, 32, 32))
    there = augment(pixels.cuda(), how, stream(0, "test"))
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), augment(pixels, how, stream(0, "test")), rtol=0, atol=1e-4)


def test_an_unknown_word_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'flip' is unknown; one of none, crop_flip, resized_crop_flip"):
        augment(images(1), "flip", stream(0, "test"))  # type: ignore[arg-type]
