"""CKA against its form in Gram matrices and what must not change it; effective rank of features whose rank is known."""

import math

import pytest
import torch

from maebench.seeding import stream
from maebench.theory.similarity import effective_rank, linear_cka


def random(*shape, words="values"):
    return torch.randn(*shape, generator=stream(0, words), dtype=torch.float64)


def rotation(d):
    return torch.linalg.qr(random(d, d, words="rotation")).Q


def hsic(K, L):
    """tr(K H L H) with H the centring matrix: HSIC up to its factor, which CKA divides out."""
    N = len(K)
    centring = torch.eye(N, dtype=torch.float64) - 1 / N
    return float((K @ centring @ L @ centring).trace())


@pytest.mark.parametrize("sizes", [(40, 5, 7), (40, 7, 39), (12, 30, 50), (12, 3, 50), (12, 50, 3)], ids=str)
def test_cka_is_the_normalised_hsic_of_the_gram_matrices(sizes):
    N, D1, D2 = sizes
    X = random(N, D1, words="X") + 2
    Y = random(N, D2, words="Y") + X[:, :1] - 5
    K, L = X @ X.T, Y @ Y.T
    known = hsic(K, L) / math.sqrt(hsic(K, K) * hsic(L, L))
    assert linear_cka(X, Y) == pytest.approx(known, abs=1e-12)
    assert linear_cka(Y, X) == pytest.approx(known, abs=1e-12)
    assert 0.01 < known < 0.99


@pytest.mark.parametrize("sizes", [(50, 8), (8, 50)], ids=str)
def test_cka_is_one_for_features_turned_scaled_and_shifted(sizes):
    X = random(*sizes)
    assert linear_cka(X, X) == pytest.approx(1, abs=1e-12)
    assert linear_cka(X, -3 * X @ rotation(sizes[1]) + 100) == pytest.approx(1, abs=1e-9)


def test_cka_is_not_one_where_directions_are_stretched():
    X = random(500, 4) @ torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]).double())
    stretched = X @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]).double())
    assert linear_cka(X, stretched) < 0.9


def test_cka_of_independent_features_falls_with_the_number_of_images():
    values = [linear_cka(random(N, 10, words="X"), random(N, 10, words="Y")) for N in (100, 1000, 10_000)]
    assert values[0] > values[1] > values[2]
    assert values[2] < 2 * 10 / 10_000


def test_cka_counts_a_direction_by_its_variance():
    """Features that share one of two directions: ||X'Y||^2 = 1 of 4^2 + 1 and of 4^2 + 9^2 on exact white features."""
    white = torch.linalg.qr(random(300, 3) - random(300, 3).mean(0)).Q
    X = white[:, [0, 1]] * torch.tensor([2.0, 1.0]).double()
    Y = white[:, [0, 2]] * torch.tensor([2.0, 3.0]).double()
    assert linear_cka(X, Y) == pytest.approx(16 / math.sqrt((16 + 1) * (16 + 81)), abs=1e-12)


def test_effective_rank_of_isotropic_features_is_their_number():
    white = torch.linalg.qr(random(200, 12) - random(200, 12).mean(0)).Q
    assert effective_rank(white) == pytest.approx(12, rel=1e-12)
    assert effective_rank(5 * white @ rotation(12) + 40) == pytest.approx(12, rel=1e-10)
    assert effective_rank(white[:, :3] @ random(3, 3, words="square")) < 3 - 1e-3
    wide = torch.cat([white[:, :4], torch.full((200, 6), 7.0).double()], 1)  # constant features add no direction
    assert effective_rank(wide) == pytest.approx(4, rel=1e-10)


def test_effective_rank_of_one_direction_is_one():
    assert effective_rank(torch.outer(random(50), random(9, words="row")) + random(9, words="mean")) == pytest.approx(1)


def test_effective_rank_of_two_directions_is_that_of_their_standard_deviations():
    white = torch.linalg.qr(random(200, 2) - random(200, 2).mean(0)).Q
    p = 0.75  # of the standard deviations 3 and 1
    known = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert effective_rank(white * torch.tensor([3.0, 1.0]).double()) == pytest.approx(known, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.3])
def test_constant_features_are_refused(value):
    constant, varied = torch.full((7, 3), value), random(7, 3)
    for call in (
        lambda: effective_rank(constant),
        lambda: linear_cka(constant, varied),
        lambda: linear_cka(varied, constant),
    ):
        with pytest.raises(ValueError, match="all 7 rows of the features are equal"):
            call()
