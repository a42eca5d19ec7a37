"""Spectra of masks in closed form against the Fourier transform of the mask itself, and Parseval's theorem."""

import math
from itertools import product

import pytest
import torch

from maebench.models.patches import to_pixels
from maebench.seeding import stream
from maebench.theory.frequency import mask_spectrum, power_spectrum, pulse_spectrum, radial

GRIDS = pytest.mark.parametrize(
    ("grid", "patch"), [((4, 4), 8), ((3, 5), 4), ((7, 2), 3), ((6, 9), 1), ((1, 4), 2), ((1, 1), 5)], ids=str
)


def random(*shape, words="values"):
    return torch.randn(*shape, generator=stream(0, words), dtype=torch.float64)


def hidden(grid, ratio, words="mask"):
    return torch.rand(*grid, generator=stream(0, words)) < ratio


def visible_pixels(grid, patch):
    return 1 - to_pixels(grid[None, None].double(), patch)[0, 0]


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("starts", "width", "length"),
    [
        ([0], 1, 8),
        ([0, 8, 24], 8, 32),
        ([3, 11, 17], 5, 37),
        ([0], 16, 16),
        ([0, 4, 8], 4, 12),
        ([30], 4, 32),
        ([], 3, 9),
    ],
    ids=str,
)
def test_spectrum_of_pulses_is_that_of_the_mask(starts, width, length):
    mask = torch.zeros(length, dtype=torch.float64)
    for start, step in product(starts, range(width)):
        mask[(start + step) % length] += 1
    got = pulse_spectrum(torch.tensor(starts, dtype=torch.int64), width, length)
    close(got, torch.fft.fft(mask))
    assert got[0] == width * len(starts)


@GRIDS
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.75, 1.0])
def test_spectrum_of_a_patch_mask_is_that_of_its_visible_pixels(grid, patch, ratio):
    mask = hidden(grid, ratio)
    got = mask_spectrum(mask, patch)
    close(got, torch.fft.fft2(visible_pixels(mask, patch)))
    assert got[0, 0] == (~mask).sum() * patch**2


@GRIDS
def test_a_mask_of_one_column_is_a_product_of_two_masks_of_pulses(grid, patch):
    mask = torch.ones(grid, dtype=torch.bool)
    mask[:, -1] = False
    h, w = grid
    rows = pulse_spectrum(torch.arange(0, h * patch, patch), patch, h * patch)
    columns = pulse_spectrum(torch.tensor([(w - 1) * patch]), patch, w * patch)
    close(mask_spectrum(mask, patch), torch.outer(rows, columns))


@pytest.mark.parametrize(("grid", "patch"), [((2, 3), 4), ((4, 4), 2), ((3, 2), 3)], ids=str)
def test_masking_an_image_convolves_its_spectrum_with_that_of_the_mask(grid, patch):
    mask = hidden(grid, 0.6)
    image = random(grid[0] * patch, grid[1] * patch)
    spectrum, kernel = torch.fft.fft2(image), mask_spectrum(mask, patch)
    convolved = sum(
        kernel[k, m] * spectrum.roll((k, m), (0, 1)) for k, m in product(range(image.shape[0]), range(image.shape[1]))
    )
    close(torch.fft.fft2(image * visible_pixels(mask, patch)), convolved / image.numel())


@pytest.mark.parametrize("shape", [(8, 8), (5, 8), (8, 5), (7, 9), (1, 6), (6, 1)], ids=str)
def test_power_spectrum_is_the_mean_square_of_the_transforms(shape):
    images = random(3, *shape) + 0.5
    psd = power_spectrum(images)
    close(psd, torch.fft.fft2(images).abs().square().mean(0) / images[0].numel())
    assert float(psd.mean()) == pytest.approx(float(images.square().mean()), rel=1e-12)  # Parseval


def test_power_spectrum_of_padded_images_is_that_of_images_with_zeros_round_them():
    images = random(3, 4, 6)
    wide = torch.zeros(3, 9, 11, dtype=torch.float64)
    wide[:, :4, :6] = images
    close(power_spectrum(images, padded=(9, 11)), power_spectrum(wide))


def test_power_spectrum_of_more_images_than_are_transformed_at_once():
    images = random(300_000, 2, 2).float()
    known = torch.fft.fft2(images.double()).abs().square().mean(0) / 4
    close(power_spectrum(images), known)


def test_white_noise_has_its_variance_at_every_frequency():
    psd = power_spectrum(3 * random(4000, 8, 6))
    assert (psd - 9).abs().max() < 5 * 9 * math.sqrt(2 / 4000)  # a real frequency's power has a variance of 2 * 9^2
    _, power = radial(psd)
    assert (power - 9).abs().max() < 5 * 9 * math.sqrt(2 / 4000)


def test_a_wave_has_its_power_at_its_frequency():
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    wave = torch.cos(2 * math.pi * (3 * y + 4 * x) / 32)
    psd = power_spectrum(wave[None])
    assert psd[3, 4] == psd[-3, -4] == pytest.approx(32 * 32 / 4, rel=1e-5)
    frequencies, power = radial(psd)
    assert frequencies[power.argmax()] == 5 / 32  # 3, 4, 5


@pytest.mark.parametrize("shape", [(8, 8), (5, 8), (9, 4), (1, 7), (31, 64)], ids=str)
def test_rings_hold_each_frequency_once(shape):
    psd = random(*shape).square()
    frequencies, power = radial(psd)
    rings = torch.zeros(len(frequencies), dtype=torch.float64)
    counts = torch.zeros(len(frequencies), dtype=torch.float64)
    for k, m in product(range(shape[0]), range(shape[1])):
        f = math.hypot(min(k, shape[0] - k) / shape[0], min(m, shape[1] - m) / shape[1])
        nearest = int((frequencies - f).abs().argmin())
        rings[nearest] += psd[k, m]
        counts[nearest] += 1
    assert counts.min() >= 1
    close(power, rings / counts)
