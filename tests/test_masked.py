"""Given masks: each kind of variant sees what is visible, and of what is hidden nothing."""

import pytest
import torch
from torch import Tensor

from maebench.contracts import standardise
from maebench.models.patches import hide_top, seen_pixels
from maebench.plugins import find
from maebench.runs.build import assemble, mask_grid
from maebench.runs.config import full_settings
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.runs.scoring.masked import masked_by, on_grid
from maebench.seeding import stream
from maebench.training.budget import UNTRAINED

SHAPE = (3, 16, 16)
SMALL = {"width": 16, "depth": 1, "heads": 2}
DECODED = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
CASES = {
    "vit_mae": {**SMALL, **DECODED},
    "vit_mae of fine patches": {**SMALL, **DECODED, "patch": 2},
    "vit_mae of normalised patches": {**SMALL, **DECODED, "target": "normalised"},
    "vit_ae": {**SMALL, **DECODED},
    "vit_dae": {**SMALL, **DECODED},
    "linear_ae": {"k": 20},
    "linear_dae": {"k": 20},
    "linear_mae": {"k": 20},
    "blank": {},
}


def spec(name: str, **settings) -> EncoderSpec:
    found = find("variants", name)
    variant = Plugin(name, full_settings(found, settings, "test"), "1")
    return EncoderSpec(Plugin("toys", {}, "1"), variant, None, None, UNTRAINED, 0)


def ready(case: str):
    """A variant with weights that are not those it starts with, and what it makes of given masks."""
    encoder = spec(case.split()[0], **CASES[case])
    variant = assemble(encoder, SHAPE)
    rng = stream(0, "moved")
    with torch.no_grad():
        for weight in variant.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=rng))
    return variant.eval(), masked_by(encoder, variant, SHAPE)


IMAGES = torch.randint(256, (9, *SHAPE), generator=stream(0, "images"), dtype=torch.uint8)
HIDDEN = hide_top(torch.rand(9, 4, 4, generator=stream(0, "masks")), 0.75, stream(0, "ties"))


def repainted(images: Tensor, hidden: Tensor) -> Tensor:
    """The images with other values in their hidden patches."""
    return torch.where(seen_pixels(images.float(), hidden, 4).isnan(), 255 - images, images)


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_learnt_of_hidden_pixels_and_all_else_is_seen(case):
    _, masked = ready(case)
    before = torch.get_rng_state()
    pixels = masked(IMAGES, HIDDEN)
    assert torch.equal(torch.get_rng_state(), before)
    assert (pixels.shape, pixels.dtype) == (IMAGES.shape, torch.float32)
    assert pixels.isfinite().all()
    assert torch.equal(masked(repainted(IMAGES, HIDDEN), HIDDEN), pixels)
    assert torch.equal(masked(repainted(IMAGES, ~HIDDEN), HIDDEN), pixels) == (case == "blank")


@pytest.mark.parametrize("case", [case for case in CASES if case != "blank"])
def test_the_number_of_hidden_patches_may_change_from_call_to_call(case):
    _, masked = ready(case)
    less = hide_top(torch.rand(9, 4, 4, generator=stream(1, "masks")), 0.25, stream(0, "ties"))
    first = masked(IMAGES, HIDDEN)
    assert not torch.allclose(masked(IMAGES, less), first)
    assert torch.equal(masked(IMAGES, HIDDEN), first)


def test_a_masked_variant_sees_what_it_would_under_a_hide_of_its_own():
    variant, masked = ready("vit_mae")
    variant.hide, variant.count = lambda images, grid, rng: HIDDEN[: len(images)], lambda grid: 12
    with torch.no_grad():
        wanted = variant.reconstruct(standardise(IMAGES), stream(0)).pixels
    torch.testing.assert_close(masked(IMAGES, HIDDEN), wanted)


@pytest.mark.parametrize("case", ["linear_ae", "linear_dae", "linear_mae"])
def test_a_linear_model_takes_what_is_hidden_as_its_mean_without_its_own_corruption(case):
    variant, masked = ready(case)
    model, seen = variant.model, seen_pixels(standardise(IMAGES), HIDDEN, 4)
    centred = (seen.flatten(1) - model.mean).nan_to_num(0)
    wanted = centred @ model.encoder.T @ model.decoder.T + model.mean
    torch.testing.assert_close(masked(IMAGES, HIDDEN), wanted.detach().view(IMAGES.shape), rtol=1e-4, atol=1e-4)


def test_any_other_variant_sees_mid_grey():
    variant, masked = ready("vit_ae")
    seen = seen_pixels(standardise(IMAGES), HIDDEN, 4).nan_to_num(0)
    with torch.no_grad():
        torch.testing.assert_close(masked(IMAGES, HIDDEN), variant.reconstruct(seen, stream(0)).pixels)


def test_a_finer_grid_hides_the_same_pixels():
    fine = on_grid(HIDDEN, (8, 8))
    assert torch.equal(seen_pixels(IMAGES.float(), fine, 2).isnan(), seen_pixels(IMAGES.float(), HIDDEN, 4).isnan())


def test_a_coarser_grid_and_uneven_masks_are_refused():
    _, masked = ready("vit_mae")
    fine = on_grid(HIDDEN, (8, 8))
    with pytest.raises(ValueError, match="masks of 8 x 8 patches cannot be put on the variant's 4 x 4"):
        masked(IMAGES, fine)
    uneven = HIDDEN.clone()
    uneven[3] = False
    with pytest.raises(ValueError, match="as many patches of each image"):
        masked(IMAGES, uneven)


def test_the_grid_of_masks_is_known_before_training_where_there_is_one():
    before = torch.get_rng_state()
    assert mask_grid(spec("vit_mae", **SMALL, **DECODED, patch=2), SHAPE) == {"mask_grid": (8, 8)}
    assert mask_grid(spec("vit_ae", **SMALL, **DECODED), SHAPE) == {}
    assert mask_grid(spec("linear_mae", k=20), SHAPE) == {}
    assert torch.equal(torch.get_rng_state(), before)
