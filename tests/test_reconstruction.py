"""Reconstruction under given masks: errors by hand, SSIM by its formula, the same masks for all."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from maebench.checks.subject import pictures
from maebench.contracts import SPREAD, standardise
from maebench.models import patches
from maebench.seeding import stream
from maebench.tasks.readouts.similarity import ssim
from maebench.tasks.reconstruction import check, compared, fit, hidden_count, in_pixels, masks, measure, per_image

IMAGES = pictures(40, (3, 16, 16))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(0, "noise"))


def test_as_many_patches_are_hidden_as_in_pretraining():
    for count in (2, 4, 16, 49, 64):
        for ratio in (0.1, 0.3, 0.5, 0.75, 0.9, 0.99):
            assert hidden_count(ratio, count) == patches.hidden_count(ratio, count)
    assert set(masks(IMAGES, 0.75, 4).flatten(1).sum(1).tolist()) == {12}


def test_a_mask_is_the_images_own_whatever_its_place_and_mates():
    before = torch.get_rng_state()
    whole = masks(IMAGES, 0.75, 4)
    assert torch.equal(whole, torch.cat([masks(IMAGES[:7], 0.75, 4), masks(IMAGES[7:], 0.75, 4)]))
    assert torch.equal(whole.flip(0), masks(IMAGES.flip(0), 0.75, 4))
    assert len(whole.flatten(1).unique(dim=0)) > 30
    assert torch.equal(torch.get_rng_state(), before)


def test_each_patch_is_hidden_as_often_as_another():
    often = masks(pictures(800, (1, 16, 16)), 0.5, 4).float().mean(0)
    assert (often - 0.5).abs().max() < 0.07  # 4 standard deviations


def test_all_pixels_of_a_patch_share_its_mask():
    hidden = masks(IMAGES, 0.5, 4)
    assert torch.equal(in_pixels(hidden, 4), patches.to_pixels(hidden[:, None], 4))


def test_errors_are_those_of_hidden_and_of_visible_pixels():
    hidden = in_pixels(masks(IMAGES, 0.75, 4), 4)
    pixels = standardise(IMAGES) + noise(*IMAGES.shape)
    found = compared(IMAGES, pixels, hidden)
    for row in range(len(IMAGES)):
        off = (pixels[row] - standardise(IMAGES)[row]).square()
        there = hidden[row].expand_as(off)
        assert found[row, :2].tolist() == pytest.approx([float(off[there].mean()), float(off[~there].mean())], rel=1e-5)


def test_hidden_scores_do_not_depend_on_what_is_painted_over_visible_pixels():
    hidden = in_pixels(masks(IMAGES, 0.75, 4), 4)
    pixels = standardise(IMAGES) + noise(*IMAGES.shape)
    other = torch.where(hidden, pixels, -1.0)
    one, two = compared(IMAGES, pixels, hidden), compared(IMAGES, other, hidden)
    torch.testing.assert_close(one[:, [0, 2]], two[:, [0, 2]])
    assert not torch.equal(one[:, 1], two[:, 1])


def by_scipy(one: Tensor, other: Tensor) -> Tensor:
    """SSIM of one channel, float64, by another library's filter: Wang et al. 2004 with sd 1.5 on 11 x 11 pixels."""

    def mean(values):
        return gaussian_filter(values, 1.5, truncate=3.5, mode="reflect")

    x, y = one.double().numpy(), other.double().numpy()
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return torch.from_numpy(
        (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))
    ).float()


@pytest.mark.parametrize("size", [(16, 16), (32, 20), (5, 7)])
def test_ssim_is_its_formula(size):
    one, other = torch.rand(2, 1, 2, *size, generator=stream(0, "pair"))
    wanted = torch.stack([by_scipy(a, b) for a, b in zip(one[0], other[0], strict=True)])
    torch.testing.assert_close(ssim(one, other)[0], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ssim(one, other), ssim(other, one))
    torch.testing.assert_close(ssim(one, one), torch.ones_like(one))


def test_ssim_is_that_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    one, other = torch.rand(2, 3, 32, 32, generator=stream(0, "pair"))
    _, wanted = metrics.structural_similarity(
        *(image.double().numpy() for image in (one, other)),
        **{"channel_axis": 0, "data_range": 1.0, "full": True},
        **{"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    )
    torch.testing.assert_close(ssim(one[None], other[None])[0], torch.from_numpy(wanted).float(), rtol=1e-4, atol=1e-4)


def scores(masked) -> dict[str, float]:
    return measure(fit(masked)(IMAGES), IMAGES, 0.75, 4)


def test_a_perfect_reconstruction_reaches_the_ceiling_and_the_mean_image_the_floor():
    perfect = scores(lambda images, hidden: standardise(images))
    assert perfect["mse"] == perfect["mse@ceiling"] == perfect["mse@visible"] == 0
    assert perfect["ssim"] == perfect["ssim@visible"] == pytest.approx(1)
    assert perfect["psnr"] == pytest.approx(10 * math.log10(12 * 255**2))
    mean = standardise(IMAGES).mean(0)
    assert scores(lambda images, hidden: mean.expand(len(images), -1, -1, -1))["mse"] == pytest.approx(
        perfect["mse@floor"], rel=1e-5
    )


def test_psnr_is_of_values_from_0_to_1():
    off = scores(lambda images, hidden: standardise(images) + 0.1 / SPREAD)
    assert off["psnr"] == pytest.approx(20, abs=1e-3)
    assert off["mse"] == pytest.approx(0.16, rel=1e-3)


def test_the_headline_is_the_mean_over_images():
    guess = fit(lambda images, hidden: standardise(images) + noise(*images.shape))(IMAGES)
    assert float(per_image(guess).mean()) == pytest.approx(measure(guess, IMAGES, 0.75, 4)["mse"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 5}, "patch 5 does not divide an image of 16 x 16 pixels"),
        ({"patch": 0}, "patch 0 does not divide"),
        ({"ratio": 0.0}, "ratio 0.0 hides none or all of 16 patches"),
        ({"ratio": 1.0}, "ratio 1.0 hides none or all of 16 patches"),
        ({"ratio": 0.01}, "ratio 0.01 hides none or all of 16 patches"),
        ({"patch": 16}, "hides none or all of 1 patches"),
        ({"mask_grid": (2, 2)}, "the variant hides 2 x 2 patches, on which masks of 4 x 4 do not fit"),
        ({"mask_grid": (6, 6)}, "set patch to a multiple of the variant's"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    given = {"shape": (3, 16, 16), "ratio": 0.75, "patch": 4}
    for fine in ({}, {"mask_grid": (4, 4)}, {"mask_grid": (8, 8)}):
        check(**given, **fine)
    with pytest.raises(ValueError, match=message):
        check(**{**given, **changes})
