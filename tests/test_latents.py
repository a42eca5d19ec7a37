"""Latents task: features that show a latent recover it, place included; other images' latents are not learnt."""

import pytest
import torch
from torch import Tensor

from maebench.contracts import Encode, Split
from maebench.seeding import stream
from maebench.tasks.latents import METRICS, check, fit, kept, measure, per_image
from maebench.tasks.readouts.whole import remembered

SIZES = {"train": 1200, "val": 300, "test": 400}
SIDE = 8
AXIS = (3, 32)
COLUMNS = ("column=0", "column=1", "column=2")


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
    guess = fit(remembered(encode), train, DATA["val"], axis=AXIS, **settings)(DATA["test"].images)
    assert guess.shape == (SIZES["test"], 1 + len(AXIS), 4)
    return measure(guess.half().float(), DATA["test"].targets, AXIS)


@pytest.mark.parametrize("encode", [pixels, flat])
def test_what_a_linear_map_can_tell_is_recovered(encode):
    values = scores(encode)
    assert values["r2@column=0"] > 0.8
    assert values["r2@column=1"] > 0.95
    assert values["r2@column=2"] > 0.95


def test_one_mean_of_the_map_does_not_tell_the_place():
    values = scores(lambda images: pixels(images).mean((2, 3), keepdim=True))
    assert values["r2@column=0"] > 0.8
    assert values["r2@column=1"] < 0.05
    assert values["r2@column=2"] < 0.05


def test_more_components_tell_more():
    values = scores(pixels, k=3)
    assert values["r2"] == values["r2@k=3"] < values["r2@k=32"]


def test_latents_of_other_images_are_not_learnt():
    order = torch.randperm(SIZES["train"], generator=stream(0, "order"))
    values = scores(pixels, Split(DATA["train"].images, {"latents": DATA["train"].targets["latents"][order]}))
    assert max(value for name, value in values.items() if name != "r2@ceiling") < 0.05


def test_r2_is_known():
    wanted = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    guess = torch.tensor([[0.0, 3.0], [1.0, 3.0]])[:, None]
    parts = {"r2@column=0": 0.5, "r2@column=1": 0.0, "r2@floor": 0.0, "r2@ceiling": 1.0}
    assert measure(guess, {"latents": wanted}, ()) == {"r2": 0.25, **parts}
    assert per_image(kept(guess), {"latents": wanted}).mean() == 0.25
    assert METRICS == {"r2": ("", "higher")}


def test_a_constant_latent_is_left_out():
    values = scores(pixels)
    assert set(values) - {"r2@k=3", "r2@k=32"} == {"r2", *(f"r2@{one}" for one in (*COLUMNS, "floor", "ceiling"))}
    assert values["r2"] == pytest.approx(sum(values[f"r2@column={one}"] for one in range(3)) / 3)


def test_nothing_to_recover_is_an_error():
    with pytest.raises(ValueError, match="no latent differs"):
        measure(torch.zeros(3, 1, 2), {"latents": torch.full((3, 2), 0.1)}, ())


def test_the_first_images_of_train_are_fitted():
    few = Split(DATA["train"].images[:40], {"latents": DATA["train"].targets["latents"][:40]})
    val = Split(DATA["val"].images[:40], {"latents": DATA["val"].targets["latents"][:40]})
    test = DATA["test"].images
    guess = fit(remembered(pixels), DATA["train"], DATA["val"], fit_images=40)(test)
    assert torch.equal(guess, fit(remembered(pixels), few, val)(test))


def test_less_than_one_component_is_refused():
    check(fit_images=1, k=None, axis=())
    with pytest.raises(ValueError, match="k is 0"):
        check(fit_images=1, k=0, axis=())
