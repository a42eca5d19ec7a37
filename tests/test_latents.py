"""Latents task: features that show a latent recover it, place included; other images' latents are not learnt."""

import pytest
import torch
from torch import Tensor

from maebench.contracts import Encode, Split
from maebench.seeding import stream
from maebench.tasks.latents import METRICS, check, fit, measure, rows

SIZES = {"train": 1200, "val": 300, "test": 400}
SIDE = 8


def spots(name: str, count: int) -> Split:
    """One bright tile on noise; latents: its brightness, row and column, and one that never changes."""
    rng = stream(0, "spots", name)
    value = torch.randint(100, 150, (count,), generator=rng)
    place = torch.randint(SIDE // 2, (2, count), generator=rng)
    images = torch.randint(0, 6, (count, 1, SIDE, SIDE), generator=rng)
    for image, bright, y, x in zip(images, value, *place, strict=True):
        image[0, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] += bright
    latents = torch.stack([value, *place, torch.full((count,), 7)], 1).float()
    return Split(images.to(torch.uint8), {"latents": latents})


DATA = {name: spots(name, count) for name, count in SIZES.items()}


def pixels(images: Tensor) -> Tensor:
    return images.float()


def flat(images: Tensor) -> Tensor:
    return images.float().flatten(1)[..., None, None]


def scores(encode: Encode, train: Split = DATA["train"], **settings: int) -> dict[str, float]:
    guess = fit(encode, train, DATA["val"], **settings)(DATA["test"].images)
    assert guess.shape == (SIZES["test"], 4)
    return measure(guess.half().float(), DATA["test"].targets)


@pytest.mark.parametrize("encode", [pixels, flat])
def test_what_a_linear_map_can_tell_is_recovered(encode):
    values = scores(encode)
    assert values["r2@column=0"] > 0.8
    assert values["r2@column=1"] > 0.95
    assert values["r2@column=2"] > 0.95


def test_one_mean_of_the_map_does_not_tell_the_place():
    values = scores(pixels, cells=1)
    assert values["r2@column=0"] > 0.8
    assert values["r2@column=1"] < 0.05
    assert values["r2@column=2"] < 0.05


def test_latents_of_other_images_are_not_learnt():
    order = torch.randperm(SIZES["train"], generator=stream(0, "order"))
    values = scores(pixels, Split(DATA["train"].images, {"latents": DATA["train"].targets["latents"][order]}))
    assert max(values.values()) < 0.05


@pytest.mark.parametrize(
    ("encode", "cells", "readout"),
    [(flat, 4, "global"), (pixels, 8, "whole map"), (pixels, 9, "whole map"), (pixels, 4, "4x4 cells")],
)
def test_the_readout_is_said(encode, cells, readout):
    assert fit(encode, DATA["train"], DATA["val"], cells=cells).readout == readout


def test_cells_are_means_of_the_map():
    maps = torch.randn(5, 3, 8, 4, generator=stream(0, "maps"))
    wanted = maps.view(5, 3, 4, 2, 4).mean(3).flatten(1)
    torch.testing.assert_close(rows(maps, 4), wanted)
    assert torch.equal(rows(maps, 8), maps.flatten(1))


def test_r2_is_known():
    wanted = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    guess = torch.tensor([[0.0, 3.0], [1.0, 3.0]])
    assert measure(guess, {"latents": wanted}) == {"r2": 0.25, "r2@column=0": 0.5, "r2@column=1": 0.0}
    assert METRICS == {"r2": ("", "higher")}


def test_a_constant_latent_is_left_out():
    values = scores(pixels)
    assert set(values) == {"r2", "r2@column=0", "r2@column=1", "r2@column=2"}
    assert values["r2"] == pytest.approx(sum(values[f"r2@column={one}"] for one in range(3)) / 3)


def test_nothing_to_recover_is_an_error():
    with pytest.raises(ValueError, match="no latent differs"):
        measure(torch.zeros(3, 2), {"latents": torch.full((3, 2), 0.1)})


def test_the_first_images_of_train_are_fitted():
    few = Split(DATA["train"].images[:40], {"latents": DATA["train"].targets["latents"][:40]})
    val = Split(DATA["val"].images[:40], {"latents": DATA["val"].targets["latents"][:40]})
    test = DATA["test"].images
    guess = fit(pixels, DATA["train"], DATA["val"], fit_images=40)(test)
    assert torch.equal(guess, fit(pixels, few, val)(test))


def test_less_than_one_cell_is_refused():
    check(cells=1, fit_images=None)
    with pytest.raises(ValueError, match="cells is 0"):
        check(cells=0, fit_images=None)
