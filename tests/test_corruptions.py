"""Corruptions: none at severity 0, worse from one severity to the next, and an image's own whatever its mates."""

from itertools import pairwise

import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from maebench.checks.subject import pictures
from maebench.seeding import stream
from maebench.tasks.readouts.content import fingerprint
from maebench.tasks.readouts.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from maebench.tasks.readouts.similarity import smoothing

IMAGES = pictures(60, (3, 36, 36))[:, :, 2:34, 3:35].contiguous()  # no block lies as a cell of a smaller image does
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "haze")


def error(name: str, severity: int, images: Tensor = IMAGES) -> float:
    return float((corrupt(images, name, severity).float() - images.float()).square().mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_changes_nothing_and_each_next_one_more(name):
    errors = [error(name, severity) for severity in range(SEVERITIES + 1)]
    assert errors[0] == 0
    assert all(less < more for less, more in pairwise(errors))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 48), (4, 9, 7)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_image_keeps_its_shape_type_and_memory(name, shape):
    images = pictures(4, (shape[0], 48, 48))[:, :, : shape[1], : shape[2]]
    before = images.clone()
    worse = corrupt(images, name, 3)
    assert (worse.shape, worse.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert corrupt(images[:0], name, 3).shape == (0, *shape)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_black_and_white_do_not_wrap_round(name, value):
    flat = torch.full((2, 3, 32, 32), value, dtype=torch.uint8)
    moved = (corrupt(flat, name, 5).float() - value).abs()
    assert moved.median() < 255 / 2 + 80, "the better part of the pixels stays on its side"
    if name in ("gaussian_blur", "motion_blur", "contrast", "pixelate"):
        assert moved.max() <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_changed_in_its_own_way_whatever_its_place_and_mates(name):
    before = torch.get_rng_state()
    together = corrupt(IMAGES, name, 4)
    assert torch.equal(together, torch.cat([corrupt(IMAGES[40:], name, 4), corrupt(IMAGES[:40], name, 4)]).roll(40, 0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RANDOM)
def test_two_images_have_different_random_numbers(name):
    grey = torch.full((2, 3, 32, 32), 120, dtype=torch.uint8)
    grey[1, 0, 0, 0] = 121
    one, other = corrupt(grey, name, 5)[:, :, 1:]
    assert not torch.equal(one, other)


def test_noise_has_the_strength_it_says():
    grey = torch.arange(100, 140, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    moved = {name: (corrupt(grey, name, 3).double() - grey) / 255 for name in RANDOM}
    light = grey.double() / 255
    assert float(moved["gaussian_noise"].std()) == pytest.approx(0.09, rel=0.03)
    assert float((moved["shot_noise"] / light.sqrt()).std()) == pytest.approx(60**-0.5, rel=0.03)
    assert float((moved["impulse_noise"] != 0).double().mean()) == pytest.approx(0.06, rel=0.05)
    assert float((moved["haze"] / (1 - light)).std((1, 2, 3)).mean()) > 0.02, "thicker here than there"


def test_blur_and_contrast_keep_the_light():
    mean = IMAGES.float().mean((1, 2, 3))
    for name in ("gaussian_blur", "motion_blur", "contrast", "pixelate"):
        torch.testing.assert_close(corrupt(IMAGES, name, 3).float().mean((1, 2, 3)), mean, rtol=0.03, atol=0)


def test_lengths_grow_with_the_image():
    large = IMAGES.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for name in ("gaussian_blur", "motion_blur"):
        assert error(name, 5, large) == pytest.approx(error(name, 5), rel=0.15)


@pytest.mark.parametrize(("length", "sd"), [(32, 1.5), (7, 1.5), (3, 2.0), (16, 0.4)])
def test_smoothing_is_that_of_scipy(length, sd):
    line = torch.rand(length, generator=stream(0, "line"))
    wanted = gaussian_filter1d(line.double().numpy(), sd, mode="reflect", truncate=3.5)
    torch.testing.assert_close(smoothing(length, sd, 3.5) @ line, torch.from_numpy(wanted).float())


def test_a_fingerprint_is_of_the_pixels_alone():
    assert fingerprint(IMAGES[3]) == fingerprint(IMAGES[3].clone()) != fingerprint(IMAGES[4])
    assert fingerprint(IMAGES[3, :, ::2]) == fingerprint(IMAGES[3, :, ::2].contiguous())
