"""The chain against enumeration of all its states, and the encoders of the paper's Figure 4 as numbers."""

import math
from itertools import product

import pytest
import torch

from maebench.seeding import stream
from maebench.theory.closed_form import bernoulli, clean, optimum
from maebench.theory.ising import boundary_ratio, correlation, samples


def states(d, coupling):
    """All states [2^d, d] of the chain, and the probability of each."""
    spins = torch.tensor(list(product([-1.0, 1.0], repeat=d)), dtype=torch.float64)
    weights = (coupling * (spins[:, 1:] * spins[:, :-1]).sum(1)).exp()
    return spins, weights / weights.sum()


@pytest.mark.parametrize("d", [1, 2, 5, 9])
@pytest.mark.parametrize("coupling", [-0.7, 0.0, 0.4, 1.0])
def test_correlation_is_the_mean_over_all_states(d, coupling):
    spins, weights = states(d, coupling)
    exact = spins.T @ (weights[:, None] * spins)
    torch.testing.assert_close(correlation(d, coupling), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("coupling", [-0.7, 0.0, 1.0])
def test_samples_come_as_often_as_their_probability(coupling):
    spins, weights = states(4, coupling)
    drawn = samples(20_000, 4, coupling, stream(0, "chains", str(coupling)))
    counts = (drawn[:, None] == spins).all(2).sum(0).double()
    assert counts.sum() == 20_000  # each chain is one of the states
    expected = 20_000 * weights
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < 45  # of 15 degrees of freedom: exceeded once in 10,000 seeds


def test_samples_have_the_exact_correlation_within_their_error():
    exact = correlation(32, 1.0)
    drawn = samples(20_000, 32, 1.0, stream(0, "chains")).double()
    error = ((1 - exact**2) / 20_000).sqrt()  # of a mean of products that are -1 or 1
    assert ((drawn.T @ drawn / 20_000 - exact).abs() <= 5 * error + 1e-12).all()
    assert drawn.mean(0).abs().max() < 5 / math.sqrt(20_000)


def test_samples_depend_on_nothing_but_the_generator():
    one, same, other = (samples(50, 8, 1.0, stream(seed, "chains")) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def encoders():
    C, patch_index = correlation(32, 1.0), torch.arange(32) // 8
    return optimum(C, bernoulli(C, patch_index, 0.75), 6).encoder, optimum(C, clean(C), 6).encoder


def test_the_masked_encoder_prefers_patch_borders_and_the_plain_one_does_not():
    masked, plain = encoders()
    assert boundary_ratio(masked, 8) == pytest.approx(2.14, abs=0.1)
    assert boundary_ratio(plain, 8) == pytest.approx(1.00, abs=0.05)


def test_boundary_ratio_is_that_of_the_rows_span():
    masked, _ = encoders()
    for number in range(5):
        T = torch.randn(6, 6, generator=stream(number, "T"), dtype=torch.float64)
        assert boundary_ratio(T @ masked, 8) == pytest.approx(boundary_ratio(masked, 8), rel=1e-9)


def test_boundary_ratio_of_one_row_is_read_off_it():
    row = torch.tensor([[50.0, 1, 2, 6, -4, 3, 3, 9, 8, 2, -2, 70]])  # patches of 4; both ends are left out
    border, inside = (6 + 4 + 9 + 8) / 4, (1 + 2 + 3 + 3 + 2 + 2) / 6
    assert boundary_ratio(row, 4) == pytest.approx(border / inside)
    assert boundary_ratio(torch.eye(12), 4) == pytest.approx(1)


@pytest.mark.parametrize("patch", [1, 2, 5, 12, 24])
def test_a_chain_without_borders_or_without_an_inside_is_refused(patch):
    with pytest.raises(ValueError, match=f"patch {patch} on a chain of 12"):
        boundary_ratio(torch.eye(12), patch)
