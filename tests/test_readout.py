"""The exact read-out against least squares on the images themselves."""

import pytest
import torch

from maebench.seeding import stream
from maebench.theory.closed_form import clean, noisy, optimum
from maebench.theory.readout import explained, variance

D = 12


def random(*shape, words):
    return torch.randn(*shape, generator=stream(0, "readout", words), dtype=torch.float64)


MIX, TARGET = random(D, D, words="mix"), random(5, D, words="target")
DATA = {name: random(80, D, words=name) @ MIX + shift for name, shift in {"train": 3.0, "test": 2.5}.items()}


def of(x):
    return x.mean(0), torch.cov(x.T, correction=0)


def scores(encoder):
    """Mean squared error and variance of each target on test."""
    total = variance(TARGET, of(DATA["test"]))
    return total - explained(encoder, TARGET, of(DATA["train"]), of(DATA["test"])), total


@pytest.mark.parametrize("k", [1, 4, 11])
def test_it_is_least_squares_on_train_and_its_error_on_test(k):
    encoder = random(k, D, words="encoder")
    inputs = {name: torch.cat([x @ encoder.T, torch.ones(len(x), 1)], 1) for name, x in DATA.items()}
    wanted = {name: x @ TARGET.T for name, x in DATA.items()}
    weight = torch.linalg.lstsq(inputs["train"], wanted["train"]).solution
    error, total = scores(encoder)
    torch.testing.assert_close(error, (inputs["test"] @ weight - wanted["test"]).square().mean(0))
    torch.testing.assert_close(total, wanted["test"].var(0, correction=0))


def test_a_code_of_everything_leaves_no_error_and_one_of_nothing_the_mean():
    error, total = scores(torch.eye(D, dtype=torch.float64))
    torch.testing.assert_close(error, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-9 * float(total.max()))
    error, total = scores(torch.zeros(1, D, dtype=torch.float64))
    shift = (DATA["test"].mean(0) - DATA["train"].mean(0)) @ TARGET.T
    torch.testing.assert_close(error, total + shift.square())


def test_only_the_directions_that_a_code_spans_count():
    encoder = random(4, D, words="encoder")
    torch.testing.assert_close(scores(random(4, 4, words="gauge") @ encoder)[0], scores(encoder)[0])
    torch.testing.assert_close(scores(torch.cat([encoder, encoder]))[0], scores(encoder)[0])
    C = of(DATA["train"])[1]
    plain = scores(optimum(C, clean(C), 4).encoder)[0]
    torch.testing.assert_close(scores(optimum(C, noisy(C, 0.8), 4).encoder)[0], plain)
