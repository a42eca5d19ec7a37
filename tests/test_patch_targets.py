"""What masked autoencoders predict of a patch, and what vit_mae can add to its loss."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Hide, standardise
from maebench.models.losses import focal_frequency_loss, masked_mean, patch_loss, uniformity_loss
from maebench.models.patches import hide_top, patchify, scored_pixels, seen_pixels, to_pixels, unpatchify
from maebench.models.targets import BINS, PatchTarget, gradients
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.seeding import stream

SHAPE = (3, 8, 12)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "targets"))


def photos(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=stream(seed, "photos"))


def hide(ratio: float) -> Hide:
    return lambda images, grid, rng: hide_top(torch.rand(len(images), *grid, generator=rng), ratio, rng)


def test_normalised_targets_have_mean_0_and_sd_1_in_every_patch() -> None:
    images = random(4, *SHAPE) * 3 + 5
    patches = PatchTarget(SHAPE, 4, "normalised")(images)
    assert patches.mean(2).abs().max() < 1e-5
    assert patches.std(2).sub(1).abs().max() < 1e-4
    assert torch.equal(PatchTarget(SHAPE, 4, "pixels")(images), patchify(images, 4))


def test_a_patch_of_one_grey_is_normalised_to_zero() -> None:
    assert PatchTarget(SHAPE, 4, "normalised")(torch.full((1, *SHAPE), 0.7)).abs().max() < 1e-3


def test_pictures_do_not_depend_on_hidden_pixels_and_are_scaled_as_the_visible_ones() -> None:
    images, hidden = random(3, *SHAPE), hide_top(random(3, 4, 6), 0.5, stream(0))
    other = images.masked_fill(scored_pixels(hidden, 2).expand_as(images), 9.0)
    target, predicted = PatchTarget(SHAPE, 2, "normalised"), random(3, 24, 12, seed=2)
    first, second = (target.reconstruction(predicted, one, hidden) for one in (images, other))
    assert torch.equal(first.painted, second.painted)
    assert torch.equal(first.scored, scored_pixels(hidden, 2))
    assert torch.equal(first.seen.isnan(), seen_pixels(images, hidden, 2).isnan())
    for one in range(3):
        visible = patchify(images, 2)[one][~hidden[one].flatten()]
        expected = predicted[one] * visible.var(1).mean().sqrt() + visible.mean()
        assert torch.allclose(patchify(first.painted, 2)[one], expected, atol=1e-5)
    assert torch.equal(
        PatchTarget(SHAPE, 2, "pixels").reconstruction(predicted, images, hidden).painted,
        unpatchify(predicted, 2, (4, 6)),
    )


def test_components_of_patches_are_those_of_a_plain_svd_whatever_the_order() -> None:
    images, target, other = photos(30), PatchTarget(SHAPE, 4, "pca"), PatchTarget(SHAPE, 4, "pca")
    target.prepare(images)
    other.prepare(images.flip(0))
    assert torch.equal(target.basis, other.basis)
    patches = patchify(standardise(images), 4).flatten(0, 1).double()
    mean = patches.mean(0)
    axes = torch.linalg.svd(patches - mean, full_matrices=False).Vh[:6]
    assert target.values == 6
    same = (axes @ target.basis.double()).abs()
    torch.testing.assert_close(same, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(target.mean.double(), mean, rtol=0, atol=1e-5)
    wanted = (patchify(standardise(images), 4) - mean.float()) @ target.basis
    torch.testing.assert_close(target(standardise(images)), wanted, rtol=1e-4, atol=1e-4)


def test_an_error_of_components_is_that_of_the_painted_pixels() -> None:
    images, target = photos(30), PatchTarget(SHAPE, 4, "pca")
    target.prepare(images)
    pixels, predicted = standardise(images), random(30, 6, 6)
    hidden = torch.ones(30, 2, 3, dtype=torch.bool)
    best = target.reconstruction(target(pixels), pixels, hidden).painted
    painted = target.reconstruction(predicted, pixels, hidden).painted
    gap = (predicted - target(pixels)).square().sum()
    torch.testing.assert_close((painted - best).square().sum(), gap, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("angle", "bin"), [(0, 0), (50, 2), (90, 4), (130, 6)])
def test_a_slope_votes_for_its_own_direction(angle: float, bin: int) -> None:
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    slope = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    for sign in (1, -1):  # directions have no sign
        found = gradients((sign * slope).expand(1, 1, 16, 16), 4).view(4, 4, BINS)
        inner = found[1:3, 1:3]  # reflected borders have slopes of their own
        assert torch.allclose(inner, functional.one_hot(torch.tensor(bin), BINS).float().expand_as(inner), atol=1e-3)


@pytest.mark.parametrize("patch", [1, 2, 3, 4, 6])
def test_histograms_have_length_1_whatever_the_light(patch: int) -> None:
    images = random(5, 3, 12, 24)
    found = gradients(images, patch)
    assert found.shape == (5, 12 // patch * 24 // patch, 3 * BINS)
    assert torch.allclose(found.unflatten(2, (3, BINS)).norm(dim=3), torch.ones(()), atol=1e-4)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gradients(images * 2 + 1, patch), found, rtol=1e-3, atol=1e-3)


def test_a_flat_patch_has_an_empty_histogram() -> None:
    assert not gradients(torch.full((1, 3, 8, 8), 0.3), 4).any()


def test_histograms_lie_as_the_patches_do() -> None:
    images = torch.zeros(1, 1, 16, 24)
    images[..., 9:11, 13:15] = 1  # inside the patch of row 2, column 3
    assert gradients(images, 4).any(2).view(4, 6).nonzero().tolist() == [[2, 3]]


def test_the_focal_frequency_loss_is_that_of_a_plain_loop() -> None:
    gap = random(2, 3, 4, 6)
    losses = []
    for one in gap:
        sizes = [
            abs(sum(
                complex(float(channel[y, x])) * complex(math.cos(turn), -math.sin(turn))
                for y in range(4)
                for x in range(6)
                for turn in [2 * math.pi * (u * y / 4 + v * x / 6)]
            )) / math.sqrt(24)
            for channel in one
            for u in range(4)
            for v in range(6)
        ]  # fmt: skip
        losses += [size**3 / max(sizes) for size in sizes]
    assert float(focal_frequency_loss(gap)) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_its_gradient_is_finite_where_there_is_no_gap() -> None:
    gap = torch.zeros(2, 3, 4, 4, requires_grad=True)
    focal_frequency_loss(gap).backward()
    assert gap.grad is not None
    assert not gap.grad.any()


def test_uniformity_is_the_mean_over_pairs() -> None:
    codes = random(4, 5)
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    wanted = sum(float(functional.cosine_similarity(codes[a], codes[b], 0)) ** 2 for a, b in pairs) / len(pairs)
    assert float(uniformity_loss(codes)) == pytest.approx(wanted, rel=1e-5)
    assert float(uniformity_loss(codes[:1])) == 0


@pytest.mark.parametrize(("name", "weight"), [("spectrum", 0.7), ("uniformity", 0.3)])
def test_what_a_setting_adds_to_the_loss_of_vit_mae(name: str, weight: float) -> None:
    found, images = find("variants", "vit_mae"), standardise(photos(6, (3, 16, 16)))
    small = {"width": 16, "depth": 1, "decoder_width": 16, "target": "pixels"}

    def built(**settings: float) -> Tensor:
        offered = {"shape": (3, 16, 16), "hide": hide(0.5), "count": lambda grid: 8, "report": None}
        variant = seeded(found, {**offered, **small, **settings}, 0)
        if settings:
            return variant.loss(images, stream(0))
        hidden = hide(0.5)(images, (4, 4), stream(0))
        tokens, _ = variant.look(images, hidden)  # type: ignore[operator]
        painted = torch.where(to_pixels(hidden[:, None], 4), variant.reconstruct(images, stream(0)).painted, images)
        extra = uniformity_loss(tokens.mean(1)) if name == "uniformity" else focal_frequency_loss(painted - images)
        return variant.loss(images, stream(0)) + weight * extra

    torch.testing.assert_close(built(**{name: weight}), built())


def test_a_veil_hides_from_the_encoder_what_no_loss_counts() -> None:
    found, images = find("variants", "vit_mae"), standardise(photos(6, (3, 16, 16)))
    offered = {"shape": (3, 16, 16), "hide": hide(0.5), "count": lambda grid: 8, "report": None}
    variant = seeded(found, {**offered, "width": 16, "depth": 1, "decoder_width": 16, "veiled": 0.25}, 0)
    hidden = hide(0.5)(images, (4, 4), stream(0))
    veil = variant.veil_of(6, stream(1))  # type: ignore[operator]
    assert veil.shape == (6, 8)
    assert (veil.sum(1) == 2).all()
    tokens, order = variant.look(images, hidden, veil)  # type: ignore[operator]
    gone = torch.zeros(6, 16, dtype=torch.bool).scatter(1, order[:, :8], veil)
    other = images.masked_fill(to_pixels(gone.view(6, 1, 4, 4), 4), 9.0)
    assert torch.equal(tokens, variant.look(other, hidden, veil)[0])  # type: ignore[operator]
    assert not torch.equal(tokens, variant.look(images, hidden)[0])  # type: ignore[operator]


def test_the_masked_mean_of_patches_weighs_images_the_same() -> None:
    gap, hidden = torch.zeros(2, 4, 3), torch.tensor([[[True, False], [False, False]], [[True, True], [True, True]]])
    gap[0], gap[1] = 1, 3
    assert float(patch_loss(gap, hidden)) == 5
    assert float(patch_loss(gap, hidden, error=torch.abs)) == 2
    assert float(masked_mean(torch.tensor([[1.0, 7.0]]), torch.tensor([[True, False]]))) == 1
