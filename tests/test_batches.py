"""Standard units, batches in a named order, exact moments."""

from itertools import islice

import numpy as np
import pytest
import torch
from builders.plugins import images
from torch import Tensor

from maebench.contracts import standardise
from maebench.theory.moments import moments
from maebench.training.batches import indices


def test_standard_units_are_what_the_words_say() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    standard = standardise(values)
    assert standard.dtype == torch.float32
    assert (standard - (values.double() / 255 - 0.5) / 0.25).abs().max() < 1e-6


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (13, 4), (3, 8), (1, 1), (5, 7)])
def test_every_image_comes_once_before_any_comes_again(count: int, batch: int) -> None:
    order = indices(count, batch, seed=0)
    batches = list(islice(order, 3 * count))  # 3 * batch epochs
    assert {len(one) for one in batches} == {batch}
    for epoch in torch.cat(batches).split(count):
        assert sorted(epoch.tolist()) == list(range(count))


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (13, 4), (3, 8)])
def test_the_order_can_be_entered_at_any_batch(count: int, batch: int) -> None:
    whole = list(islice(indices(count, batch, seed=3), 20))
    for start in range(15):
        assert torch.equal(next(indices(count, batch, seed=3, start=start)), whole[start])


def test_an_epoch_is_a_fresh_permutation() -> None:
    order = indices(32, 8, seed=0)
    first, second = (torch.cat(list(islice(order, 4))) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(32))


def test_the_order_depends_on_the_seed_alone() -> None:
    first = torch.stack(list(islice(indices(50, 10, seed=1), 12)))
    together = [indices(50, 10, seed=1), indices(50, 10, seed=2)]
    mixed = [(next(together[0]), next(together[1])) for _ in range(12)]
    assert torch.equal(first, torch.stack([pair[0] for pair in mixed]))
    assert not torch.equal(first, torch.stack([pair[1] for pair in mixed]))


def extremes(count: int) -> Tensor:
    """All black or all white pixels, some always black, some always white: the largest sums there can be."""
    pixels = images(count, (1, 4, 4)).gt(127).to(torch.uint8) * 255
    pixels[:, :, 0], pixels[:, :, 1] = 0, 255
    return pixels


@pytest.mark.parametrize(
    "data", [images(700, (3, 3, 3)), images(1, (1, 2, 2)), extremes(5000)], ids=["random", "one", "extreme"]
)
def test_moments_equal_those_of_float64(data: Tensor) -> None:
    mean, covariance = moments(data)
    exact = (data.flatten(1).double().numpy() / 255 - 0.5) / 0.25
    assert mean.dtype == covariance.dtype == torch.float64
    np.testing.assert_allclose(mean, exact.mean(0), rtol=0, atol=1e-10)
    np.testing.assert_allclose(covariance, np.cov(exact, rowvar=False, bias=True), rtol=0, atol=1e-10)
