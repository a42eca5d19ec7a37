"""First-order losses against the closed form of linear models, and against enumeration of every mask."""

from itertools import product

import pytest
import torch

from maebench.models.patches import patch_of_pixel
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.seeding import stream
from maebench.theory.closed_form import bernoulli, loss
from maebench.theory.first_order import BATCH, first_order, monte_carlo

SHAPE, PATCHES, D = (2, 4, 4), 4, 32
INDEX = patch_of_pixel(SHAPE, 2)
IMAGE = torch.randn(SHAPE, generator=stream(0, "image"), dtype=torch.float64)
MATRIX = torch.randn(D, D, generator=stream(0, "matrix"), dtype=torch.float64) / D**0.5
SETTINGS = {
    "patch": 2,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
}
VIT = seeded(find("variants", "vit_ae"), {"shape": SHAPE, **SETTINGS}, 0).double()
MODELS = {
    "perceptron": lambda images: ((images.flatten(1) @ MATRIX).tanh() @ MATRIX.T).view(images.shape),
    "vit_ae": lambda images: VIT.reconstruct(images, stream(0)).pixels,
}
every_model = pytest.mark.parametrize("f", MODELS.values(), ids=MODELS)
both = pytest.mark.parametrize("about", ["mean", "image"])


def linear(images):
    return (images.flatten(1) @ MATRIX.T).view(images.shape)


@torch.no_grad()
def error_of(f, seen):
    """||x - f(x~)||^2 with so much of each patch seen, [PATCHES]."""
    return float((IMAGE - f((IMAGE.flatten() * seen[INDEX]).view(1, *SHAPE))[0]).square().sum())


def exact(f, ratio):
    """The mean over all masks of the patches."""
    masks = [torch.tensor(seen).double() for seen in product([0.0, 1.0], repeat=PATCHES)]
    return sum(
        (1 - ratio) ** float(seen.sum()) * ratio ** float(PATCHES - seen.sum()) * error_of(f, seen) for seen in masks
    )


def limit(f):
    """The error of a first-order loss per unit of ratio, as the ratio vanishes: a hidden patch is no small step."""
    x, tangents = IMAGE.flatten(), torch.eye(PATCHES, dtype=torch.float64)[:, INDEX] * IMAGE.flatten()
    J = torch.autograd.functional.jacobian(lambda flat: f(flat.view(1, *SHAPE)).flatten(), x)
    value = f(IMAGE[None]).flatten().detach()
    hidden = [1 - row for row in torch.eye(PATCHES, dtype=torch.float64)]
    straight = [float((x - value + J @ tangent).square().sum()) for tangent in tangents]
    return sum(straight) - sum(error_of(f, seen) for seen in hidden)


@both
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.75])
def test_exact_for_a_linear_model(about, ratio):
    x = IMAGE.flatten()
    C = torch.outer(x, x)
    expected = loss(MATRIX, C, bernoulli(C, INDEX, ratio))
    assert exact(linear, ratio) == pytest.approx(expected, rel=1e-10)
    assert first_order(linear, IMAGE, INDEX, ratio, about=about) == pytest.approx(expected, rel=1e-10)


@both
@every_model
def test_nothing_hidden_is_the_plain_error(f, about):
    assert first_order(f, IMAGE, INDEX, 0.0, about=about) == pytest.approx(error_of(f, torch.ones(PATCHES)), rel=1e-12)


@both
@every_model
def test_the_error_vanishes_with_the_ratio_at_the_rate_that_single_hidden_patches_give(f, about):
    ratios = (0.02, 0.01, 0.005, 0.0001)
    errors = [first_order(f, IMAGE, INDEX, ratio, about=about) - exact(f, ratio) for ratio in ratios]
    assert abs(errors[0]) > abs(errors[1]) > abs(errors[2]) > abs(errors[3])
    assert errors[3] / ratios[3] == pytest.approx(limit(f), rel=0.01)
    assert abs(limit(f)) > 0.5


@every_model
def test_the_two_expansions_differ_in_second_order_of_the_ratio(f):
    about_the_mean, about_the_image = (
        torch.tensor([first_order(f, IMAGE, INDEX, m, about=about) for m in (0.02, 0.01, 0.005)], dtype=torch.float64)
        for about in ("mean", "image")
    )
    apart = (about_the_mean - about_the_image).abs()
    slopes = (apart[:-1] / apart[1:]).log2()
    assert ((slopes > 1.8) & (slopes < 2.2)).all()


@every_model
def test_the_memory_limit_changes_no_number(f):
    losses = [first_order(f, IMAGE, INDEX, 0.5, memory=memory) for memory in (0, 1024)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@every_model
@pytest.mark.parametrize("ratio", [0.1, 0.75])
def test_drawn_masks_agree_with_all_masks(f, ratio):
    draws = 25 * BATCH + 3
    mean, error = monte_carlo(f, IMAGE, INDEX, ratio, draws, stream(0, "masks"))
    assert abs(mean - exact(f, ratio)) < 4 * error
    assert 0 < error < 0.02 * mean


def test_the_standard_error_is_that_of_independent_draws():
    means, errors = zip(
        *(monte_carlo(linear, IMAGE, INDEX, 0.5, 300, stream(0, "masks", number)) for number in range(200)), strict=True
    )
    assert torch.tensor(means).std() == pytest.approx(sum(errors) / len(errors), rel=0.2)


def test_one_draw_is_refused():
    with pytest.raises(ValueError, match="ask for at least 2"):
        monte_carlo(linear, IMAGE, INDEX, 0.5, 1, stream(0, "masks"))
