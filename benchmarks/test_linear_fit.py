"""Closed-form linear models of 32x32 images, k = 256: the moments of 10,000 images, and the optimum for a covariance.

d = 1024 (grey) or 3072 (colour). The covariance is that of a first-order Markov field, near that of natural images.
"""

import pytest
import torch
from torch import Tensor

from maebench.contracts import standardise
from maebench.models.patches import patch_of_pixel
from maebench.seeding import stream
from maebench.theory.closed_form import clean, fixed_count, loss, optimum
from maebench.theory.moments import moments

IMAGES, K, PATCH, VISIBLE, ROUNDS = 10_000, 256, 8, 4, 3
LINE = 0.95 ** (torch.arange(32.0)[:, None] - torch.arange(32.0)).abs().double()


def colours(channels: int) -> Tensor:
    """Covariance [C, C] of the channels of one pixel: correlation 0.9."""
    return torch.full((channels, channels), 0.9).fill_diagonal_(1).double()


def covariance(channels: int) -> Tensor:
    """[d, d], d = channels * 32 * 32."""
    return torch.kron(colours(channels), torch.kron(LINE, LINE))


@pytest.mark.parametrize("channels", [1, 3])
def test_moments(benchmark, channels):
    images = torch.randint(0, 256, (IMAGES, channels, 32, 32), generator=stream(0, "images"), dtype=torch.uint8)
    mean, C = benchmark(lambda: moments(images))
    some = standardise(images).double().flatten(1)[:, ::16]
    torch.testing.assert_close(mean[::16], some.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(C[::16, ::16], torch.cov(some.T, correction=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_linear_ae_optimum(benchmark, channels):
    C = covariance(channels)
    best = benchmark.pedantic(lambda: optimum(C, clean(C), K), rounds=ROUNDS)
    line, colour = torch.linalg.eigvalsh(LINE), torch.linalg.eigvalsh(colours(channels))
    spectrum = (colour[:, None, None] * line[:, None] * line).flatten()  # the eigenvalues of a Kronecker product
    assert best.loss == pytest.approx(float(spectrum.sum() - spectrum.topk(K).values.sum()), rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_linear_mae_optimum(benchmark, channels):
    C, index = covariance(channels), patch_of_pixel((channels, 32, 32), PATCH)
    best = benchmark.pedantic(lambda: optimum(C, fixed_count(C, index, VISIBLE), K), rounds=ROUNDS)
    assert 0 < best.loss < float(C.trace())
    A = best.decoder @ best.encoder
    assert best.loss == pytest.approx(loss(A, C, fixed_count(C, index, VISIBLE)), rel=1e-9)
