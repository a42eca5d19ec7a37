"""The linear variants, fitted and trained, against the closed form on their own training images; and the floors."""

from dataclasses import replace

import pytest
import torch
from builders.plugins import CPU, encoder, to_uint8

from maebench.contracts import standardise
from maebench.plugins import find, load
from maebench.runs.build import assemble
from maebench.runs.plan import Plugin
from maebench.seeding import stream
from maebench.theory.closed_form import clean, loss, noisy, optimum
from maebench.theory.moments import moments
from maebench.training.loop import Job, pretrain
from maebench.training.timing import Stopwatch

SHAPE, D, K = (2, 8, 8), 128, 12
COUNT = 300
LINEAR = ["linear_ae", "linear_dae", "linear_mae"]
CASES = [
    ("linear_dae", {"sigma": 0.5}),
    ("linear_mae", {"patch": 4}),
    ("linear_mae", {"patch": 2, "ratio": 0.6}),
    ("linear_mae", {"patch": 4, "ratio": 0.4, "masking": "bernoulli"}),
]


@pytest.fixture(scope="module")
def images():
    """uint8 [300, 2, 8, 8] with smooth content, so that what is hidden can be guessed, and a mean that is not grey."""
    coarse = torch.randn(COUNT, 2, 3, 3, generator=stream(0, "images"))
    smooth = torch.nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear")
    return to_uint8(smooth + torch.linspace(-1, 1, 8) + 0.1 * torch.randn(smooth.shape, generator=stream(0, "noise")))


def built(name, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return load(find("variants", name)).build(SHAPE, **settings)


def expected_loss(variant, images, rounds=200):
    """Mean loss over the training images, and its standard error over rounds of fresh masks or noise."""
    batch = standardise(images)
    with torch.no_grad():
        losses = torch.stack([variant.loss(batch, stream(0, "masks", step)) for step in range(rounds)]).double()
    return float(losses.mean()), float(losses.std() / rounds**0.5)


def corruption(variant, C):
    if hasattr(variant, "corrupt"):
        return variant.corrupt(C)
    return noisy(C, variant.sigma) if hasattr(variant, "sigma") else clean(C)


def exact_loss(variant, images):
    """Loss a value over the training images, in expectation over masks or noise, with what a wrong mean costs."""
    model, (mean, C) = variant.model, moments(images)
    off = mean - model.mean.detach()
    around = C + torch.outer(off, off)
    return loss((model.decoder.double() @ model.encoder.double()).detach(), around, corruption(variant, around)) / D


def trained(name, images, seed=0, **settings):
    """Trained by the loop for a thousand steps, about a second."""
    settings = {"k": K, **settings, "fit": "gradient"}
    spec = encoder(Plugin(name, settings, ""), steps=1000, batch=256, base_lr=0.03, seed=seed)
    spec = replace(spec, budget=replace(spec.budget, weight_decay=0.0))  # which would shift the minimum
    variant = assemble(spec, SHAPE)
    pretrain(Job(variant, spec.budget, spec.seed or 0, CPU, Stopwatch(CPU)), images)
    return variant


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_mean_loss_over_masks_is_the_closed_form_minimum(images, name, settings):
    variant = built(name, k=K, **settings)
    variant.fit(images)
    _, C = moments(images)
    minimum = optimum(C, corruption(variant, C), K).loss / D
    mean, error = expected_loss(variant, images)
    assert error < 0.01 * minimum
    assert abs(mean - minimum) < 4 * error


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_weights_are_the_optimum_to_single_precision(images, name, settings):
    variant = built(name, k=K, **settings)
    variant.fit(images)
    mean, C = moments(images)
    best = optimum(C, corruption(variant, C), K)
    assert torch.equal(variant.model.encoder, best.encoder.float())
    assert torch.equal(variant.model.decoder, best.decoder.float())
    assert torch.equal(variant.model.mean, mean.float())
    assert exact_loss(variant, images) * D == pytest.approx(best.loss, rel=1e-5)


def test_linear_ae_reaches_the_closed_form_without_chance(images):
    variant = built("linear_ae", k=K)
    variant.fit(images)
    _, C = moments(images)
    mean, error = expected_loss(variant, images, rounds=2)
    assert error == 0
    assert mean == pytest.approx(optimum(C, clean(C), K).loss / D, rel=1e-5)


@pytest.mark.parametrize("name", ["linear_ae", "raw_pixels"])
def test_a_code_as_long_as_the_image_keeps_all_of_it(images, name):
    variant = built(name, **({"k": D} if name == "linear_ae" else {}))
    variant.fit(images)
    batch = standardise(images)
    torch.testing.assert_close(variant.reconstruct(batch, stream(0)).pixels, batch, rtol=0, atol=1e-4)
    assert variant.loss(batch, stream(0)) < 1e-8
    assert variant.encode(batch).shape == (COUNT, D, 1, 1)


@pytest.mark.parametrize(("name", "settings"), [("linear_ae", {}), *CASES])
def test_the_code_is_that_of_the_whole_clean_image(images, name, settings):
    variant = built(name, k=K, **settings)
    variant.fit(images)
    batch = standardise(images)
    code = variant.encode(batch)
    known = (batch.flatten(1) - batch.flatten(1).mean(0)) @ variant.model.encoder.T
    torch.testing.assert_close(code, known[..., None, None], rtol=1e-4, atol=1e-3)
    assert torch.equal(code, variant.encode(batch))


@pytest.mark.parametrize("masking", ["fixed", "bernoulli"])
def test_linear_mae_sees_whole_patches_and_nothing_of_the_others(images, masking):
    variant = built("linear_mae", k=K, patch=2, ratio=0.75, masking=masking)
    variant.fit(images)
    batch = standardise(images)
    result = variant.reconstruct(batch, stream(0))
    hidden = result.seen.isnan()
    assert torch.equal(result.seen[~hidden], batch[~hidden])
    assert result.scored.all()
    counts = torch.stack([hidden.flatten(1)[:, variant.patch_index == patch].sum(1) for patch in range(16)], 1)
    assert set(counts.unique().tolist()) == {0, 8}
    each = (counts == 8).sum(1)
    if masking == "fixed":
        assert (each == 12).all()
    else:
        assert len(each.unique()) > 3
        assert abs(float(each.double().mean()) - 12) < 4 * (16 * 0.75 * 0.25 / COUNT) ** 0.5
    other = torch.where(hidden, batch + 5, batch)
    assert torch.equal(variant.reconstruct(other, stream(0)).pixels, result.pixels)


def test_linear_dae_is_scored_against_the_clean_image(images):
    variant = built("linear_dae", k=K, sigma=0.5)
    variant.fit(images)
    batch = standardise(images)
    result = variant.reconstruct(batch, stream(0))
    noise = result.seen - batch
    assert abs(float(noise.std()) - 0.5) < 4 * 0.5 / (2 * noise.numel()) ** 0.5
    torch.testing.assert_close(variant.loss(batch, stream(0)), (result.pixels - batch).square().mean())


@pytest.mark.parametrize("name", LINEAR)
def test_an_unfitted_model_works_and_every_weight_has_a_gradient(images, name):
    variant = built(name, k=K, **({"patch": 4} if name == "linear_mae" else {}))
    variant.loss(standardise(images), stream(0)).backward()
    assert {weight.shape for weight in variant.parameters()} == {(K, D), (D, K), (D,)}
    assert all(float(weight.grad.abs().sum()) > 0 for weight in variant.parameters())


TRAINED = [
    ("linear_ae", {}),
    ("linear_dae", {"sigma": 0.5}),
    ("linear_mae", {"patch": 4}),
    ("linear_mae", {"patch": 4, "masking": "bernoulli"}),
]


@pytest.mark.parametrize(("name", "settings"), TRAINED)
@pytest.mark.parametrize("seed", [0, 1])
def test_training_by_gradient_reaches_the_closed_form_minimum_within_1_percent(images, name, settings, seed):
    _, C = moments(images)
    variant = built(name, k=K, **settings)
    minimum = optimum(C, corruption(variant, C), K).loss / D
    assert exact_loss(variant, images) > 2 * minimum
    assert minimum * 0.99999 < exact_loss(trained(name, images, seed, **settings), images) < 1.01 * minimum


@pytest.mark.parametrize(("name", "settings"), TRAINED[1:])
def test_a_wrong_mean_costs_what_its_square_adds_to_the_covariance(images, name, settings):
    variant = built(name, k=K, **settings)
    with torch.no_grad():
        variant.model.mean.add_(moments(images)[0] + 0.3 * torch.randn(D, generator=stream(0, "off")))
    mean, error = expected_loss(variant, images)
    assert error < 0.01 * mean
    assert abs(mean - exact_loss(variant, images)) < 4 * error


def test_training_is_equal_to_the_bit_for_a_seed_and_another_one_is_another_model(images):
    one, again, other = (trained("linear_mae", images, seed, patch=4) for seed in (0, 0, 1))
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert not torch.equal(value, other.state_dict()[name]), name


def test_fitting_twice_gives_the_same_bits(images):
    one, two = (built("linear_mae", k=K, patch=4) for _ in range(2))
    one.fit(images)
    two.fit(images)
    two.fit(images)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("linear_ae", {"k": D + 1}, "k 129 is not in 1 to 128"),
        ("linear_dae", {"k": 0}, "k 0 is not in 1 to 128"),
        ("linear_dae", {"k": K, "sigma": -0.1}, "sigma -0.1"),
        ("linear_mae", {"k": D + 1}, "k 129 is not in 1 to 128"),
        ("linear_mae", {"k": K, "patch": 3}, "patch 3 does not divide"),
        ("linear_mae", {"k": K, "patch": 4, "ratio": 1.0}, r"ratio 1.0 is not in \[0, 1\)"),
        ("linear_mae", {"k": K, "patch": 4, "ratio": -0.1}, r"ratio -0.1 is not in \[0, 1\)"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(name, settings, said):
    with pytest.raises(ValueError, match=said) as caught:
        built(name, **settings)
    assert "\n" not in str(caught.value)


def test_blank_knows_the_mean_image_and_nothing_else(images):
    variant = built("blank")
    variant.fit(images)
    batch = standardise(images)
    mean, C = moments(images)
    torch.testing.assert_close(variant.mean.flatten(), mean.float(), rtol=0, atol=1e-5)
    assert float(variant.loss(batch, stream(0))) == pytest.approx(float(C.trace()) / D, rel=1e-5)
    assert torch.equal(variant.encode(batch), torch.zeros(COUNT, 1, 1, 1))
    assert torch.equal(variant.reconstruct(batch + 1, stream(0)).pixels, variant.reconstruct(batch, stream(0)).pixels)


def test_raw_pixels_are_the_flattened_image(images):
    batch = standardise(images)
    assert torch.equal(built("raw_pixels").encode(batch).view(batch.shape), batch)
