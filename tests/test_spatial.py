"""Spatial measures against loops over all pairs of pixels, and on images and maps whose answer is known."""

import math
from itertools import product

import pytest
import torch

from maebench.seeding import stream
from maebench.theory.spatial import autocorrelation, entropy, influence, mean_distance, pixel_distances, shares

SHAPE = (2, 3, 5)
C, H, W = SHAPE
PIXELS = list(product(range(H), range(W)))
ALL = torch.arange(C * H * W)


def random(*shape, words="values"):
    return torch.randn(*shape, generator=stream(0, words), dtype=torch.float64)


def close(one, other, atol=1e-12):
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def means(pairs):
    """Pairs (rounded distance, value), in any order -> the distances and the mean value at each."""
    known = sorted({distance for distance, _ in pairs})
    lists = [[value for distance, value in pairs if distance == one] for one in known]
    return torch.tensor(known, dtype=torch.float64), torch.tensor(
        [sum(each) / len(each) for each in lists], dtype=torch.float64
    )


def test_autocorrelation_is_the_mean_over_all_pairs_of_pixels():
    maps = random(4, H, W) + 0.3
    pairs = [
        (round(math.dist(a, b)), float((maps[:, a[0], a[1]] * maps[:, b[0], b[1]]).mean()))
        for a, b in product(PIXELS, PIXELS)
    ]
    distances, mean = means(pairs)
    got = autocorrelation(maps)
    close(got[0], distances)
    close(got[1], mean / mean[0])
    close(autocorrelation(-7 * maps)[1], got[1])


def test_autocorrelation_of_more_images_than_are_transformed_at_once():
    maps = random(150_000, 2, 2).float() + 0.5
    a, b, c, d = maps.double().flatten(1).T
    near = (a * b + a * c + a * d + b * c + b * d + c * d).mean() / 6
    close(autocorrelation(maps)[1], torch.stack([torch.ones(()), near / maps.double().square().mean()]), atol=1e-9)


def test_autocorrelation_of_white_noise_is_zero_but_at_distance_zero():
    distances, rho = autocorrelation(random(2000, 8, 8))
    assert distances.tolist() == list(range(11))
    assert rho[0] == 1
    far = (pixel_distances((8, 8)).round() == 10).sum() / 2  # the fewest pairs: the widest spread
    assert rho[1:].abs().max() < 5 / math.sqrt(2000 * far)


def test_autocorrelation_of_a_wave_is_a_cosine():
    phases = torch.arange(5, dtype=torch.float64)[:, None, None] * 2 * math.pi / 5
    waves = torch.cos(
        2 * math.pi * 0.07 * torch.arange(40).double() + phases
    )  # over evenly spread phases, pairs are exact
    assert waves.shape == (5, 1, 40)
    distances, rho = autocorrelation(waves)
    close(rho, torch.cos(2 * math.pi * 0.07 * distances))


def test_maps_of_zeros_are_refused():
    with pytest.raises(ValueError, match="images that vary"):
        autocorrelation(torch.zeros(2, H, W))


def test_pixel_distances_are_euclidean():
    known = [[math.dist(a, b) for b in PIXELS] for a in PIXELS]
    close(pixel_distances((H, W)), torch.tensor(known, dtype=torch.float64))


def test_shares_are_the_absolute_values_of_a_pixel_in_all_channels():
    J = random(2, 7, C * H * W)
    p = shares(J, SHAPE)
    assert p.shape == (2, 7, H * W)
    close(p.sum(-1), torch.ones(2, 7).double())
    close(p[1, 3, 4], (J[1, 3, 4].abs() + J[1, 3, H * W + 4].abs()) / J[1, 3].abs().sum())
    close(shares(-3 * J[0], SHAPE), p[0])


def test_an_output_that_depends_on_nothing_has_no_shares():
    J = random(3, C * H * W)
    J[1] = 0
    p = shares(J, SHAPE)
    close(p.sum(-1), torch.tensor([1.0, 0.0, 1.0]).double())
    assert entropy(p)[1] == mean_distance(p, ALL[:3], SHAPE)[1] == 0


@pytest.mark.parametrize("outputs", [ALL, torch.tensor([0, 7, 22, 29]), torch.tensor([7])], ids=["all", "some", "one"])
def test_influence_is_the_mean_over_all_pairs_of_output_and_pixel(outputs):
    p = shares(random(len(outputs), C * H * W), SHAPE)
    where = [PIXELS[int(output) % (H * W)] for output in outputs]
    pairs = [
        (round(math.dist(a, b)), float(p[j, i])) for (j, a), (i, b) in product(enumerate(where), enumerate(PIXELS))
    ]
    for got, known in zip(influence(p, outputs, SHAPE), means(pairs), strict=True):
        close(got, known)
    far = [sum(float(p[j, i]) * math.dist(a, b) for i, b in enumerate(PIXELS)) for j, a in enumerate(where)]
    close(mean_distance(p, outputs, SHAPE), torch.tensor(far, dtype=torch.float64))


def test_influence_of_maps_that_are_known():
    copy = shares(torch.eye(C * H * W).double(), SHAPE)
    mean = influence(copy, ALL, SHAPE)[1]
    close(mean, torch.eye(len(mean))[0].double())
    close(mean_distance(copy, ALL, SHAPE), torch.zeros(C * H * W).double())
    alike = shares(torch.ones(C * H * W, C * H * W).double(), SHAPE)
    close(influence(alike, ALL, SHAPE)[1], torch.full((len(mean),), 1 / (H * W), dtype=torch.float64))


def test_mean_distance_of_a_shift_is_its_length():
    across = torch.eye(H * W, dtype=torch.float64).view(H, W, H, W)[:, 2:].reshape(-1, H * W)  # looks 2 to the right
    outputs = torch.arange(H * W).view(H, W)[:, :-2].reshape(-1)
    close(mean_distance(across, outputs, SHAPE), torch.full((len(outputs),), 2.0).double())


def test_measures_of_several_images_are_those_of_each():
    p = shares(random(3, 4, C * H * W), SHAPE)
    outputs = torch.tensor([1, 4, 16, 20])
    close(mean_distance(p, outputs, SHAPE), torch.stack([mean_distance(each, outputs, SHAPE) for each in p]))
    close(entropy(p), torch.stack([entropy(each) for each in p]))
    each = torch.stack([influence(one, outputs, SHAPE)[1] for one in p])
    close(influence(p.mean(0), outputs, SHAPE)[1], each.mean(0))


@pytest.mark.parametrize("count", [1, 3, H * W])
def test_entropy_of_pixels_that_count_alike_is_the_logarithm_of_their_number(count):
    p = torch.zeros(2, H * W, dtype=torch.float64)
    p[0, :count] = p[1, -count:] = 1 / count
    close(entropy(p), torch.full((2,), math.log(count), dtype=torch.float64))


def test_entropy_grows_as_shares_are_mixed():
    p = shares(random(50, C * H * W), SHAPE)
    known = [-sum(float(value) * math.log(value) for value in row) for row in p]
    close(entropy(p), torch.tensor(known, dtype=torch.float64))
    mixed = entropy(0.5 * (p + p.flip(1)))
    assert (entropy(p) < mixed).all()
    assert (mixed < math.log(H * W)).all()
