"""The Jacobian against the matrix of a linear model, and against one backward pass for each output value."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from maebench.models.patches import hide_nothing, patch_of_pixel
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.seeding import stream
from maebench.theory.jacobian import jacobian, masked_by, rebuilding

SHAPE, D, PATCH, GRID = (2, 8, 8), 128, 2, (4, 4)
IMAGE = torch.randn(SHAPE, generator=stream(0, "image"))
HIDDEN = (torch.rand(GRID, generator=stream(0, "hidden")).flatten().argsort() < 11).view(GRID)
OF_HIDDEN = HIDDEN.flatten()[patch_of_pixel(SHAPE, PATCH)]
SMALL = {
    "patch": PATCH,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "decoder_width": 8,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


def built(name, **offered):
    def count(grid):
        return int(offered["hide"](torch.zeros(1, *SHAPE), grid, torch.Generator()).sum())

    return seeded(find("variants", name), {"shape": SHAPE, "count": count, "report": None, **offered}, 0)


def convolutions():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 2, 3, padding=1))


CASES = {
    "vit_mae masked": rebuilding(built("vit_mae", hide=masked_by(HIDDEN), **SMALL), "choices"),
    "vit_mae normalised": rebuilding(built("vit_mae", hide=masked_by(HIDDEN), **SMALL, target="normalised"), "choices"),
    "vit_mae whole": rebuilding(built("vit_mae", hide=hide_nothing, **SMALL), "choices"),
    "convolutions": convolutions(),
}
every_case = pytest.mark.parametrize("f", CASES.values(), ids=CASES)


def one_by_one(f):
    """One backward pass for each output value, by plain autograd."""
    image = IMAGE.clone().requires_grad_()
    outputs = f(image[None]).flatten()
    return torch.stack([torch.autograd.grad(output, image, retain_graph=True)[0].flatten() for output in outputs])


@every_case
def test_each_row_is_the_gradient_of_one_output(f):
    torch.testing.assert_close(jacobian(f, IMAGE), one_by_one(f), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["linear_ae", "linear_mae"])
def test_that_of_a_linear_model_is_decoder_times_encoder(name):
    variant = built(name, k=7, **({"patch": PATCH} if name == "linear_mae" else {}))
    with torch.no_grad():  # no projection any more, so that J differs from its transpose
        variant.model.encoder.add_(torch.randn(7, D, generator=stream(0, "encoder")))
    seen = ~variant.reconstruct(IMAGE[None], stream(0, "choices")).seen.flatten().isnan()
    assert bool(seen.all()) == (name == "linear_ae")
    expected = variant.model.decoder @ variant.model.encoder * seen
    torch.testing.assert_close(jacobian(rebuilding(variant, "choices"), IMAGE), expected.detach(), rtol=0, atol=1e-5)


def test_hidden_pixels_and_only_they_have_columns_of_zeros():
    J = jacobian(CASES["vit_mae masked"], IMAGE)
    assert torch.equal((J == 0).all(0), OF_HIDDEN)
    assert 0 < OF_HIDDEN.sum() < D


def test_a_mask_is_that_of_every_image():
    hidden = masked_by(HIDDEN)(torch.zeros(3, *SHAPE), GRID, stream(0))
    assert torch.equal(hidden, torch.stack([HIDDEN] * 3))
    with pytest.raises(ValueError, match=r"mask is for patches \[4, 4\], the model has \[2, 2\]"):
        masked_by(HIDDEN)(torch.zeros(3, *SHAPE), (2, 2), stream(0))


@every_case
def test_rows_come_in_the_order_asked_for(f):
    whole = jacobian(f, IMAGE)
    for number in (5, 60):  # few are done by rows, many by columns where most are 0
        rows = torch.randint(0, D, (number,), generator=stream(0, "rows"))
        torch.testing.assert_close(jacobian(f, IMAGE, rows=rows), whole[rows], rtol=0, atol=1e-6)


class Largest(TorchDispatchMode):
    """The bytes of the largest result that torch makes."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        results = result if isinstance(result, (tuple, list)) else [result]
        self.bytes = max([self.bytes, *(part.nbytes for part in results if isinstance(part, torch.Tensor))])
        return result


@every_case
def test_memory_bounds_what_is_made_at_a_time_and_changes_no_number(f):
    whole = jacobian(f, IMAGE)
    largest = []
    for memory in (0, 0.25, 1024):  # MiB; 0: one direction at a time
        with Largest() as seen:
            torch.testing.assert_close(jacobian(f, IMAGE, memory=memory), whole, rtol=0, atol=1e-6)
        largest.append(seen.bytes)
    J = D * D * 4
    assert largest[0] == J
    assert J <= largest[1] < 2**18
    assert largest[2] > largest[1]


def test_an_output_that_depends_on_nothing_has_rows_of_zeros():
    J = jacobian(lambda images: torch.ones_like(images), IMAGE)
    assert torch.equal(J, torch.zeros(D, D))


@pytest.mark.parametrize("rows", [[], [-1], [D]])
def test_rows_that_no_output_has_are_refused(rows):
    with pytest.raises(ValueError, match="each in 0 to 127"):
        jacobian(CASES["convolutions"], IMAGE, rows=torch.tensor(rows, dtype=torch.int64))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    variant = built("vit_mae", hide=masked_by(HIDDEN), **SMALL).train(training)
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    image = IMAGE.clone().requires_grad_()
    assert not jacobian(rebuilding(variant, "choices"), image).requires_grad
    assert image.grad is None
    assert all(weights.grad is None and weights.requires_grad for weights in variant.parameters())
    assert all(module.training is training for module in variant.modules())
    assert all(torch.equal(before[name], value) for name, value in variant.state_dict().items())
