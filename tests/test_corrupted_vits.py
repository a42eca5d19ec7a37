"""The ViTs that corrupt an image by themselves: principal components or frequencies are taken out, and predicted."""

import cmath
import io
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.plugins import encoder, to_uint8
from builders.plugins import images as noise
from builders.trainings import StopError, job, stop_at
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.models.patches import unpatchify
from maebench.plugins import find, load
from maebench.runs.build import assemble, seeded
from maebench.runs.config import full_settings
from maebench.runs.folder import Checkpoints, RunFolder
from maebench.runs.plan import Plugin
from maebench.seeding import stream
from maebench.training.loop import pretrain
from maebench.training.timing import flops_per_image

SHAPE, D = (2, 8, 8), 128
TINY = {"patch": 4, "width": 16, "depth": 2, "heads": 2}
NAMES = pytest.mark.parametrize("name", ["vit_pmae", "vit_mfm"])


def built(name: str, shape: tuple[int, int, int] = SHAPE, seed: int = 0, **settings: Any) -> Any:
    decoder = {"decoder_width": 8, "decoder_heads": 2} if name == "vit_pmae" else {}
    return seeded(find("variants", name), {"shape": shape, **TINY, **decoder, **settings}, seed)


def smooth(count: int = 300, seed: int = 0) -> Tensor:
    """uint8 [count, 2, 8, 8] with few strong components, and a mean that is not grey."""
    coarse = torch.randn(count, 2, 3, 3, generator=stream(seed, "smooth"))
    images = torch.nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear") + torch.linspace(-1, 1, 8)
    return to_uint8(images + 0.1 * torch.randn(images.shape, generator=stream(seed, "noise")))


def prepared(**settings: Any) -> Any:
    variant = built("vit_pmae", **settings)
    variant.prepare(smooth())
    return variant


def with_shares(*strong: float, ratio: float) -> Any:
    """A variant whose first components have these shares of the variance; the others share the rest."""
    variant = built("vit_pmae", ratio=ratio)
    left = torch.arange(D - len(strong), 0, -1).float()
    variant.share.copy_(torch.cat([torch.tensor(strong), (1 - sum(strong)) * left / left.sum()]))
    return variant


def test_components_are_the_orthonormal_uncorrelated_ones_of_the_train_split() -> None:
    variant, flat = prepared(), standardise(smooth()).double().flatten(1)
    basis, share = variant.basis.double(), variant.share.double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(D).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(variant.mean.double(), flat.mean(0), rtol=0, atol=1e-6)
    covariance = basis.T @ torch.cov(flat.T, correction=0) @ basis
    torch.testing.assert_close(covariance, torch.diag(share) * flat.var(0, correction=0).sum(), rtol=0, atol=1e-5)
    assert (share.diff() <= 0).all()
    assert float(share.sum()) == pytest.approx(1)
    codes = variant.codes(standardise(smooth()))
    torch.testing.assert_close(variant.paint(codes), standardise(smooth()), rtol=0, atol=1e-5)


def test_the_order_of_the_train_images_and_other_images_change_no_component() -> None:
    variant, other, shuffled = prepared(), prepared(), torch.randperm(300, generator=stream(0, "order"))
    other.prepare(smooth()[shuffled])
    fresh = standardise(smooth(8, seed=1))
    other.loss(fresh, stream(0))
    other.reconstruct(fresh, stream(0))
    other.encode(fresh)
    for name, buffer in variant.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name


SHARED: dict[str, Callable[[], Any]] = {
    "equal": lambda: built("vit_pmae"),
    "of images": lambda: prepared(),
    "of images, most hidden": lambda: prepared(ratio=0.6),
    "one strong, seldom hidden": lambda: with_shares(0.9, ratio=0.15),
    "one strong, seldom visible": lambda: with_shares(0.9, ratio=0.95),
    "two strong": lambda: with_shares(0.4, 0.4, ratio=0.15),
    "one of all hidden": lambda: built("vit_pmae", ratio=1 / D),
    "all but two hidden": lambda: built("vit_pmae", ratio=1 - 2 / D),
}


@pytest.mark.parametrize("shares", SHARED)
def test_the_hidden_share_of_the_variance_has_the_mean_ratio_and_every_image_has_both(shares: str) -> None:
    variant = SHARED[shares]()
    hidden = variant.draw(4000, stream(0, "draw"))
    assert hidden.shape == (4000, D)
    assert hidden.any(1).all()
    assert not hidden.all(1).any()
    shares = hidden.double() @ variant.share.double()
    assert float(shares.mean()) == pytest.approx(variant.ratio, abs=5 * float(shares.std()) / 4000**0.5 + 1e-6)


def test_components_are_hidden_in_random_order() -> None:
    hidden = built("vit_pmae", ratio=0.25).draw(4000, stream(0, "order"))[:, :-2].double()
    error = (0.25 * 0.75 / 4000) ** 0.5
    assert (hidden.mean(0) - 0.25).abs().max() < 5 * error
    assert (torch.corrcoef(hidden.T) - torch.eye(D - 2)).abs().max() < 5 / 4000**0.5 + 1 / D


def test_hidden_components_change_no_prediction() -> None:
    variant, images = prepared().eval(), standardise(smooth(6, seed=1))
    hidden = variant.draw(6, stream(0, "leak"))
    other = images + (torch.randn(6, D, generator=stream(1)) * hidden @ variant.basis.T).view(images.shape)
    first, second = (variant.reconstruct(part, stream(0, "leak")) for part in (images, other))
    torch.testing.assert_close(first.seen, second.seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.pixels, second.pixels, rtol=0, atol=1e-5)
    seen = variant.codes(first.seen)
    assert seen[hidden].abs().max() < 1e-5
    torch.testing.assert_close(seen[~hidden], variant.codes(images)[~hidden], rtol=0, atol=1e-5)
    assert first.scored.all()


@torch.no_grad()
def test_the_loss_is_the_error_of_the_hidden_coefficients() -> None:
    variant, images = prepared(), standardise(smooth(6, seed=1))
    hidden, result = variant.draw(6, stream(0, "hand")), variant.reconstruct(images, stream(0, "hand"))
    painted = unpatchify(variant.decoder(variant.decoder.embed(variant.encoder(result.seen))), 4, (2, 2))
    total = 0.0
    for one in range(6):
        gap = (painted - images)[one].flatten().double().numpy()
        total += sum((gap @ variant.basis[:, k].double().numpy()) ** 2 for k in range(D) if hidden[one, k])
    loss = float(variant.loss(images, stream(0, "hand")))
    assert loss == pytest.approx(total / (6 * 0.15 * D), rel=1e-5)
    assert loss == pytest.approx(float((result.pixels - images).square().mean()) / 0.15, rel=1e-4)  # the rest is kept


def test_before_it_has_seen_images_the_components_are_their_values() -> None:
    variant, images = built("vit_pmae"), standardise(smooth(6))
    assert torch.equal(variant.codes(images), images.flatten(1))
    assert variant.loss(images, stream(0)).isfinite()


def half_removed(variant: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the variant sees of an image [1, C, H, W], low-pass and high-pass."""
    many = images.expand(32, *images.shape[1:])
    removed, seen = variant.draw(32, stream(0, "both")), variant.reconstruct(many, stream(0, "both")).seen
    high = removed[:, 0, 0, 0]
    assert high.any()
    assert not high.all()
    return seen[~high][0], seen[high][0]


@pytest.mark.parametrize("shape", [SHAPE, (1, 8, 24), (3, 12, 4)])
def test_low_and_high_frequencies_add_up_to_the_image(shape: tuple[int, int, int]) -> None:
    images = standardise(noise(1, shape))
    low, high = half_removed(built("vit_mfm", shape, radius=1.5), images)
    torch.testing.assert_close(low + high, images[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(low.mean((1, 2)), images[0].mean((1, 2)), rtol=0, atol=1e-5)
    assert high.mean((1, 2)).abs().max() < 1e-5
    assert high.abs().max() > 0.1


@pytest.mark.parametrize(("height", "width", "radius"), [(8, 8, 2.3), (8, 8, 0), (9, 12, 2), (7, 5, 1.5), (49, 49, 7)])
def test_the_disc_is_centred_and_of_its_radius(height: int, width: int, radius: float) -> None:
    inside = built("vit_mfm", (1, height, width), patch=1, radius=radius).inside
    centred = torch.fft.fftshift(inside)
    side = min(height, width)
    for y, x in product(range(height), range(width)):
        down, right = (y - height // 2) * side / height, (x - width // 2) * side / width
        assert centred[y, x] == ((down**2 + right**2) ** 0.5 <= radius)
    assert torch.equal(inside, inside.flip(0, 1).roll((1, 1), (0, 1)))  # so a real image stays real


def test_the_radius_counts_cycles_per_image_whatever_its_size() -> None:
    counts = {size: int(built("vit_mfm", (3, size, size)).inside.sum()) for size in (16, 32, 64)}
    assert counts == dict.fromkeys((16, 32, 64), 21)  # all with y^2 + x^2 up to 5
    wave = torch.cos(2 * torch.pi * 2 * torch.arange(32) / 32).expand(1, 3, 32, 32)
    for radius, kept in {1.9: 0.0, 2.0: 1.0}.items():
        low, high = half_removed(built("vit_mfm", (3, 32, 32), radius=radius), wave)
        torch.testing.assert_close(low, kept * wave[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(high, (1 - kept) * wave[0], rtol=0, atol=1e-5)


def test_half_of_the_images_are_low_pass() -> None:
    variant = built("vit_mfm")
    removed = variant.draw(4000, stream(0, "half"))[:, 0]
    low = ~removed[:, 0, 0]
    assert float(low.double().mean()) == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)
    assert (removed[low] == ~variant.inside).all()
    assert (removed[~low] == variant.inside).all()


def test_a_filtered_image_is_not_clamped() -> None:
    white = torch.full((1, *SHAPE), 255, dtype=torch.uint8)
    white[:, :, 3, 5] = 0
    _, high = half_removed(built("vit_mfm", radius=1), standardise(white))
    assert high[:, 3, 5].max() < -3  # black is -2
    torch.testing.assert_close(high.clamp_min(0).sum(), -high.clamp_max(0).sum())


def test_removed_frequencies_change_no_prediction() -> None:
    variant, images = built("vit_mfm", radius=1.5).eval(), standardise(smooth(6))
    removed, change = variant.draw(6, stream(0, "leak")), standardise(noise(6, SHAPE))
    other = images + torch.fft.ifft2(torch.fft.fft2(change) * removed).real
    first, second = (variant.reconstruct(part, stream(0, "leak")) for part in (images, other))
    torch.testing.assert_close(first.seen, second.seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.pixels, second.pixels, rtol=0, atol=1e-5)
    assert (images - other).abs().flatten(1).amax(1).min() > 0.5
    assert first.scored.all()


@torch.no_grad()
def test_the_loss_is_the_distance_of_the_removed_frequencies_in_the_complex_plane() -> None:
    variant, images = built("vit_mfm", radius=1.5), standardise(smooth(3))
    removed, result = variant.draw(3, stream(0, "hand")), variant.reconstruct(images, stream(0, "hand"))
    painted = unpatchify(variant.head(variant.encoder(result.seen)), 4, (2, 2))
    gap, per_image, kept = (painted - images).double().numpy(), [], []
    for one in range(3):
        places = [place for place in product(range(8), range(8)) if removed[(one, 0, *place)]]
        distances = [abs(coefficient(gap[one, c], *place)) for c in range(2) for place in places]
        per_image.append(np.mean(distances))
        kept.append(sum(distance**2 for distance in distances))
    assert float(variant.loss(images, stream(0, "hand"))) == pytest.approx(np.mean(per_image), rel=1e-5)
    pixels = (result.pixels - images).square().flatten(1).sum(1)  # what was visible is kept
    torch.testing.assert_close(pixels.double(), torch.tensor(kept).double(), rtol=1e-4, atol=0)


def coefficient(image: Any, v: int, u: int) -> complex:
    """One of the orthonormal Fourier transform of [8, 8], by its sum."""
    phases = (image[y, x] * cmath.exp(-2j * cmath.pi * (v * y + u * x) / 8) for y in range(8) for x in range(8))
    return sum(phases) / 8


def test_a_perfect_prediction_has_a_gradient() -> None:
    variant = built("vit_mfm")
    torch.nn.init.zeros_(variant.head.weight)
    loss = variant.loss(torch.zeros(4, *SHAPE), stream(0))
    loss.backward()
    assert not loss.detach().any()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in variant.parameters())


@NAMES
def test_saved_and_loaded_it_reconstructs_the_same(name: str) -> None:
    variant, other = built(name), built(name, seed=1)
    if name == "vit_pmae":
        variant.prepare(smooth())
    torch.save(variant.state_dict(), file := io.BytesIO())
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    images = standardise(smooth(6, seed=1))
    first, second = (part.reconstruct(images, stream(0, "saved")) for part in (variant, other))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.seen, second.seen)


def test_a_transform_of_bfloat16_is_in_float32() -> None:
    spectrum = load(
        find("variants", "vit_mfm")
    ).spectrum  # on a GPU autocast leaves it what a layer gave, which it refuses
    assert spectrum(standardise(smooth(2)).bfloat16()).dtype == torch.complex64


@NAMES
def test_bfloat16_corrupts_as_float32_does(name: str) -> None:
    variant, images = (prepared() if name == "vit_pmae" else built(name)).eval(), standardise(smooth(6, seed=1))
    wanted = variant.reconstruct(images, stream(0, "half"))
    with torch.autocast("cpu", torch.bfloat16):
        found = variant.reconstruct(images, stream(0, "half"))
        loss = variant.loss(images, stream(0, "half"))
    assert torch.equal(found.seen, wanted.seen)
    assert found.pixels.dtype == torch.float32
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in variant.parameters())


@NAMES
@pytest.mark.parametrize("shape", [(1, 8, 24), (3, 16, 16), (5, 12, 4)])
def test_its_operations_are_known_for_any_shape(name: str, shape: tuple[int, int, int]) -> None:
    variant, images = built(name, shape), standardise(noise(3, shape))
    assert variant.flops() == flops_per_image(variant, images)
    assert variant.reconstruct(images, stream(0)).painted.shape == images.shape
    assert variant.encode(images).shape == (3, 16, shape[1] // 4, shape[2] // 4)
    assert len(variant.layers(images)) == len(variant.stages()) - 1 == 2


@NAMES
def test_a_training_that_is_stopped_ends_as_if_it_had_not(tmp_path: Path, name: str) -> None:
    settings = full_settings(find("variants", name), TINY, "test")
    given = encoder(Plugin(name, settings, ""), steps=6, micro_batch=6)

    def train(**others: Any) -> Variant:
        variant = assemble(given, SHAPE)
        pretrain(job(variant, given, **others), smooth())
        return variant

    keep, wanted = Checkpoints(RunFolder(tmp_path / "run"), 0.0), train()
    with pytest.raises(StopError):
        train(keep=keep, on_step=stop_at(3))
    found = train(keep=keep)
    for part, tensor in wanted.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[part]), part
    if name == "vit_pmae":
        assert torch.equal(wanted.get_buffer("basis"), prepared().basis)


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("vit_pmae", (3, 64, 64), {}, r"^images \[3, 64, 64\] have 12288 values, .* more than 6144 .*; use smaller"),
        ("vit_pmae", (3, 32, 32), {"ratio": 0}, r"^ratio 0 is not in 0.00033 to 0.999349; "),
        ("vit_pmae", (3, 32, 32), {"ratio": 1.0}, r"^ratio 1.0 is not in "),
        ("vit_pmae", (1, 1, 1), {"patch": 1}, r"^ratio 0.15 is not in 1 to -1; "),
        ("vit_pmae", (3, 32, 32), {"patch": 5}, r"^patch 5 does not divide"),
        ("vit_mfm", (3, 32, 32), {"patch": 5}, r"^patch 5 does not divide"),
        ("vit_mfm", (3, 32, 32), {"radius": -1}, r"^radius -1 .* set it to 0 or more, and below 22.63 cycles"),
        (
            "vit_mfm",
            (3, 32, 32),
            {"radius": 22.7},
            r"^radius 22.7 .* every one, of 32 x 32 pixels; ",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(name: str, shape: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(find("variants", name)).build(shape, **settings)
    assert "\n" not in str(caught.value)
