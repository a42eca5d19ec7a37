"""The convolutional masked autoencoder: nothing crosses the mask, at any scale."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from maebench.contracts import Variant
from maebench.models.conv import ConvEncoder
from maebench.models.losses import pixel_loss
from maebench.models.patches import hide_nothing, hide_top, patchify, scored_pixels, to_pixels
from maebench.plugins import find, load
from maebench.runs.build import seeded
from maebench.seeding import stream
from maebench.training.timing import flops_per_image


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=stream(seed, "conv"))


IMAGES = random(5, 3, 16, 24)
HIDDEN = hide_top(random(5, 4, 6), 0.6, stream(0))


def hide(images: Tensor, grid: tuple[int, int], rng: torch.Generator) -> Tensor:
    return HIDDEN[: len(images)]


def built(shape: tuple[int, int, int] = (3, 16, 24), **settings: Any) -> Variant:
    small = {"widths": [8, 16], "depths": [2, 1], "decoder_width": 16, **settings}
    return seeded(find("variants", "conv_mae"), {"shape": shape, "hide": hide, "report": None, **small}, 0).eval()


def encoder() -> ConvEncoder:
    found = built().encoder
    assert isinstance(found, ConvEncoder)
    return found


def test_what_is_hidden_reaches_no_map_and_no_prediction() -> None:
    variant, other = built(), torch.where(to_pixels(HIDDEN[:, None], 4), 9 * random(5, 3, 16, 24, seed=1), IMAGES)
    for one, same in zip(variant.encoder(IMAGES, HIDDEN), variant.encoder(other, HIDDEN), strict=True):  # type: ignore[operator]
        assert torch.equal(one, same)
    assert torch.equal(variant.predict(IMAGES, HIDDEN), variant.predict(other, HIDDEN))  # type: ignore[operator]


def test_maps_are_0_where_hidden_and_nowhere_else() -> None:
    model = encoder()
    for norm in model.norms:
        nn.init.ones_(norm.bias)  # type: ignore[arg-type]
    for scale, one in zip((2, 1), model(IMAGES, HIDDEN), strict=True):
        assert torch.equal(~one.any(1, keepdim=True), to_pixels(HIDDEN[:, None], scale))


def test_a_visible_patch_alone_is_encoded_as_in_the_middle_of_nothing() -> None:
    """After the mask a convolution sees what it sees at the border of an image: zero."""
    alone = torch.ones(1, 4, 6, dtype=torch.bool)
    alone[0, 1, 2] = False
    patch = IMAGES[:1, :, 4:8, 8:12]
    for scale, one, small in zip(
        (2, 1), encoder()(IMAGES[:1], alone), encoder()(patch, torch.zeros(1, 1, 1, dtype=torch.bool)), strict=True
    ):
        torch.testing.assert_close(one[..., scale : 2 * scale, 2 * scale : 3 * scale], small)


def test_a_mask_of_nothing_changes_nothing() -> None:
    """Without its multiplications the encoder is a plain one."""
    model, features = encoder(), IMAGES
    for stage in model.stages:
        features = stage.down(features)  # type: ignore[operator]
        for block in stage.blocks:  # type: ignore[union-attr]
            features = block(features)
    wanted = model.norms[-1](features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(built().encode(IMAGES), wanted)
    assert wanted.shape == (5, 16, 4, 6)


def test_norms_are_over_the_channels_of_a_position() -> None:
    for one in encoder()(IMAGES, HIDDEN):
        there = one.permute(0, 2, 3, 1)[one.any(1)]
        torch.testing.assert_close(there.mean(1), torch.zeros(len(there)), rtol=0, atol=1e-5)
        torch.testing.assert_close(there.var(1, correction=0), torch.ones(len(there)), rtol=0, atol=1e-2)


def test_predictions_of_hidden_patches_depend_on_visible_ones() -> None:
    variant = built()
    other = torch.where(to_pixels(HIDDEN[:, None], 4), IMAGES, IMAGES + 1)
    before, after = (variant.predict(images, HIDDEN) for images in (IMAGES, other))  # type: ignore[operator]
    assert not torch.isclose(before[HIDDEN.flatten(1)], after[HIDDEN.flatten(1)]).all(1).any()


def test_every_scale_has_its_token_at_what_is_hidden_and_nowhere_else() -> None:
    variant = built()
    maps, shown = variant.encoder(IMAGES, HIDDEN), torch.zeros_like(HIDDEN)  # type: ignore[operator]
    filled = [
        torch.where(to_pixels(HIDDEN[:, None], scale), token[:, None, None], one)
        for scale, one, token in zip((2, 1), maps, list(variant.decoder.tokens)[::-1], strict=True)  # type: ignore[union-attr, arg-type]
    ]
    torch.testing.assert_close(variant.decoder(maps, HIDDEN), variant.decoder(filled, shown))  # type: ignore[operator]


def test_the_loss_is_the_masked_mean_of_what_it_paints() -> None:
    variant = built(target="pixels")
    result = variant.reconstruct(IMAGES, stream(0))
    assert torch.equal(result.scored, scored_pixels(HIDDEN, 4))
    torch.testing.assert_close(variant.loss(IMAGES, stream(0)), pixel_loss(result, IMAGES))


def test_every_target_can_be_painted() -> None:
    for target in get_args(load(find("variants", "conv_mae")).build.__annotations__["target"]):
        variant = built(target=target)
        assert torch.isfinite(variant.loss(IMAGES, stream(0)))
        assert variant.reconstruct(IMAGES, stream(0)).painted.shape == IMAGES.shape


def test_patches_lie_where_they_are_painted() -> None:
    variant = built(target="pixels")
    maps = variant.encoder(IMAGES, hide_nothing(IMAGES, (4, 6), stream(0)))  # type: ignore[operator]
    assert [tuple(one.shape[1:]) for one in maps] == [(8, 8, 12), (16, 4, 6)]
    painted = variant.decoder(maps, torch.zeros_like(HIDDEN))  # type: ignore[operator]
    assert painted.shape == IMAGES.shape
    assert torch.equal(variant.predict(IMAGES, torch.zeros_like(HIDDEN)), patchify(painted, 4))  # type: ignore[operator]


@pytest.mark.parametrize("settings", [{}, {"widths": [8, 8, 16], "depths": [1, 1, 1], "decoder_depth": 2}], ids=str)
def test_operations_by_formula_are_those_counted(settings: dict[str, Any]) -> None:
    variant = built(**settings)

    def nothing(images: Tensor, grid: tuple[int, int], rng: torch.Generator) -> Tensor:
        return hide_nothing(images, grid, rng)

    variant.hide = nothing
    assert flops_per_image(variant, random(2, 3, 16, 24)) == pytest.approx(variant.flops())  # type: ignore[operator]


def test_sizes_that_cannot_be_are_one_line() -> None:
    for settings in ({"widths": [8], "depths": [1, 1]}, {"widths": [], "depths": []}, {"depths": [0, 1]}):
        with pytest.raises(ValueError, match="widths and depths are one number a stage"):
            built(**settings)
    with pytest.raises(ValueError, match="the decoder needs a width of 1 or more"):
        built(decoder_depth=-1)
    with pytest.raises(ValueError, match="kernel 4 has no middle"):
        built(kernel=4)
    with pytest.raises(ValueError, match="patch 4 does not divide an image of 18 x 24"):
        built((3, 18, 24))
