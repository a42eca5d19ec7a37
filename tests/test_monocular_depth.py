"""Depth task: maps that show the depth solve it, shuffled ones do not, and the baselines are the means of train."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split
from maebench.seeding import stream
from maebench.tasks.monocular_depth import METRICS, fit, kept, measure, per_image
from maebench.tasks.readouts.whole import remembered

SIDE = 8
SIZES = {"train": 400, "val": 100, "test": 150}


def scene(name: str, count: int) -> Split:
    """Grey images that show the log depth of a smooth floor with a row profile: code 0..255 = log depth 0..2.55."""
    rng = stream(0, "depth", name)
    coarse = torch.randn(count, 1, 4, 4, generator=rng) * 40
    rows = torch.linspace(170, 90, SIDE).view(-1, 1)
    code = (functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear") + rows).clamp(20, 240).to(torch.uint8)
    return Split(code, {"depth": (code.float() / 100).exp()})


DATA = {name: scene(name, count) for name, count in SIZES.items()}


def flat(images: Tensor) -> Tensor:
    return images.float().flatten(1)[..., None, None]


def tiles(images: Tensor) -> Tensor:
    return functional.pixel_unshuffle(images.float(), 2)


def blank(images: Tensor) -> Tensor:
    return torch.zeros(len(images), 3, 1, 1)


def with_depth(split: Split, depth: Tensor) -> Split:
    return Split(split.images, {"depth": depth})


AXIS = (2, 16)
SCALE = {"r2_log@floor", "r2_log@ceiling"}


def read(encode: Encode, data: dict[str, Split] = DATA, **settings: int) -> Predict:
    return fit(encode, remembered(encode), data["train"], data["val"], axis=AXIS, **settings)


def scores(encode: Encode, data: dict[str, Split] = DATA) -> dict[str, float]:
    return measure(read(encode, data)(data["test"].images).half().float(), data["test"].targets, AXIS, "metric")


@pytest.mark.parametrize("encode", [flat, tiles])
def test_features_that_show_log_depth_solve_it(encode):
    assert read(encode).readout == "whole map"
    values = scores(encode)
    assert values["r2_log"] > 0.999
    assert values["abs_rel"] < 0.005
    assert values["rmse"] < 0.05
    assert values["delta1"] == 100


@pytest.mark.parametrize(("encode", "dims"), [(flat, 1), (tiles, 4)])
def test_depth_of_other_images_is_not_learnt(encode, dims):
    depth = DATA["train"].targets["depth"]
    units = depth.flatten(0, dims - 1)  # the brightness of one patch tells its row: there, pixels are shuffled
    order = torch.randperm(len(units), generator=stream(0, "shuffle"))
    train = with_depth(DATA["train"], units[order].view_as(depth))
    values, floor = scores(encode, {**DATA, "train": train}), scores(blank)
    assert values["r2_log"] < 0.02
    assert values["abs_rel"] > 0.95 * floor["abs_rel"]


def test_blank_features_are_exactly_the_mean_map():
    guess = read(blank)(DATA["test"].images)
    mean = DATA["train"].targets["depth"].log().mean(0).exp()
    torch.testing.assert_close(guess[:, :1], mean.expand(SIZES["test"], 1, SIDE, SIDE))
    values = scores(blank)
    assert values["r2_log"] == pytest.approx(0, abs=0.02)
    assert values["r2_log@floor"] == pytest.approx(values["r2_log"], abs=1e-6)


def test_the_floor_is_what_train_tells_of_a_test_set_of_other_depths():
    farther = with_depth(DATA["test"], DATA["test"].targets["depth"] * 3)
    values = scores(blank, {**DATA, "test": farther})
    assert values["r2_log@floor"] == pytest.approx(values["r2_log"], abs=1e-6)
    assert values["r2_log@floor"] < -1


def test_the_second_channel_is_the_mean_map_and_the_third_the_mean_of_each_row():
    guess = read(flat)(DATA["test"].images)
    assert guess.shape == (SIZES["test"], 3 + len(AXIS), SIDE, SIDE)
    logs = DATA["train"].targets["depth"].log()
    torch.testing.assert_close(guess[7, 1], logs.mean((0, 1)).exp())
    torch.testing.assert_close(guess[7, 2], logs.mean((0, 1, 3)).exp()[:, None].expand(SIDE, SIDE))
    values = scores(flat)
    axis = {f"r2_log@k={k}" for k in AXIS}
    assert values.keys() == {*METRICS, *(f"{name}@baseline=row mean" for name in METRICS), *axis, *SCALE}
    assert scores(tiles).keys() == values.keys() | {f"{name}@local" for name in METRICS}
    assert values["abs_rel@baseline=row mean"] > 10 * values["abs_rel"]


def test_metrics_are_their_formulas_on_known_pixels():
    depth = torch.tensor([[2.0, 4.0], [torch.nan, 8.0]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    depth[1] *= 2
    guess = torch.tensor([[3.0, 4.0], [1.0, 6.0]]).view(1, 1, 2, 2).repeat(2, 3, 1, 1)
    values = measure(guess, {"depth": depth}, (), "metric")
    known, said = [2, 4, 8, 4, 8, 16], [3, 4, 6] * 2
    pairs = list(zip(said, known, strict=True))
    assert values["abs_rel"] == pytest.approx(sum(abs(a - b) / b for a, b in pairs) / 6)
    assert values["rmse"] == pytest.approx((sum((a - b) ** 2 for a, b in pairs) / 6) ** 0.5)
    assert values["delta1"] == pytest.approx(100 / 6), "4 for 4 is the only guess within a factor of 1.25"
    logs = torch.tensor(known).double().log(), torch.tensor(said).double().log()
    about = 6 * (torch.tensor(2.0).log() / 2) ** 2
    assert values["r2_log"] == pytest.approx(float(1 - (logs[0] - logs[1]).square().sum() / about), rel=1e-5)
    assert values["abs_rel@baseline=row mean"] == values["abs_rel"]


def test_an_invariant_score_ignores_each_images_scale_and_is_the_formula_otherwise():
    rng = stream(0, "invariant")
    guess, wanted = (torch.rand(9, 1, 4, 4, generator=rng) + 0.5 for _ in range(2))
    wanted[torch.rand(wanted.shape, generator=rng) < 0.2] = torch.nan
    wanted[3] = torch.nan  # nothing is known of one image
    factors = torch.rand(9, 1, 1, 1, generator=rng) + 0.1
    values, scaled = (
        measure(one.expand(-1, 3, -1, -1), {"depth": wanted}, (), "invariant") for one in (guess, guess * factors)
    )
    assert scaled == pytest.approx(values, rel=1e-4)
    error, depth = (guess / wanted).log(), wanted.log()
    error, depth = (one - one.nanmean((1, 2, 3), keepdim=True) for one in (error, depth))
    about = (depth - depth.nanmean(0)).square().nansum()
    assert values["r2_log"] == pytest.approx(float(1 - error.square().nansum() / about), rel=1e-5)
    assert values["abs_rel"] == pytest.approx(float((error.exp() - 1).abs().nanmean()), rel=1e-5)
    assert values["r2_log"] != pytest.approx(measure(guess.expand(-1, 3, -1, -1), {"depth": wanted}, (), "metric"))


def test_an_invariant_read_out_learns_from_images_of_any_scale():
    factors = {
        name: torch.rand(len(split.images), 1, 1, 1, generator=stream(1, name)) + 0.1 for name, split in DATA.items()
    }
    data = {name: with_depth(split, split.targets["depth"] * factors[name]) for name, split in DATA.items()}
    guess = fit(flat, remembered(flat), data["train"], data["val"], axis=AXIS, scale="invariant")(data["test"].images)
    assert measure(guess, data["test"].targets, AXIS, "invariant")["r2_log"] > 0.999
    assert measure(read(flat, data)(data["test"].images), data["test"].targets, AXIS, "metric")["r2_log"] < 0.9


@pytest.mark.parametrize("unknown", [torch.nan, 0.0, -1.0])
def test_unknown_depth_is_left_out_of_fit_and_score(unknown):
    rng = stream(0, "unknown")
    data = {}
    for name, split in DATA.items():
        depth = split.targets["depth"].clone()
        depth[torch.rand(depth.shape, generator=rng) < 0.2] = unknown
        depth[:, :, 0, 0] = unknown
        data[name] = with_depth(split, depth)
    values = scores(flat, data)
    assert values["r2_log"] > 0.99
    assert values["abs_rel"] < 0.01
    guess = read(flat, data)(data["test"].images)
    depth = data["train"].targets["depth"]
    everywhere = depth[depth > 0].log().mean().exp()
    torch.testing.assert_close(guess[:, 0, 0, 0], everywhere.expand(SIZES["test"]))  # no depth was ever known there


def test_guesses_stay_within_the_depths_of_train():
    far = Split(torch.full((3, 1, SIDE, SIDE), 255, dtype=torch.uint8))
    guess = read(flat)(torch.cat([far.images, 0 * far.images]))
    depth = DATA["train"].targets["depth"]
    assert guess.max() == pytest.approx(float(depth.max()), rel=1e-5)
    assert guess.min() == pytest.approx(float(depth.min()), rel=1e-5)


def test_the_first_images_of_train_are_fitted():
    first = Split(DATA["train"].images[:50], {"depth": DATA["train"].targets["depth"][:50]})
    val = Split(DATA["val"].images[:50], {"depth": DATA["val"].targets["depth"][:50]})
    one = read(flat, fit_images=50)(DATA["test"].images)
    assert torch.equal(one, read(flat, {"train": first, "val": val})(DATA["test"].images))


def test_a_data_set_without_any_depth_is_an_error():
    nothing = with_depth(DATA["train"], torch.full_like(DATA["train"].targets["depth"], torch.nan))
    with pytest.raises(ValueError, match="no depth is known in the train images"):
        read(flat, {**DATA, "train": nothing})


def test_more_components_tell_more_and_a_patch_alone_less_than_the_map():
    values = scores(lambda images: functional.avg_pool2d(images.float(), 2))
    assert 0 < values["r2_log@k=2"] < values["r2_log@k=16"] <= values["r2_log"] + 1e-3
    assert 0 < values["r2_log@local"] < values["r2_log"]


def test_a_patch_that_tells_nothing_is_read_as_the_mean_map():
    values = scores(lambda images: torch.zeros(len(images), 3, 4, 4) + torch.arange(16.0).view(4, 4))
    assert values["r2_log@local"] == pytest.approx(values["r2_log"], abs=1e-6)
    assert values["r2_log@local"] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("scale", ["metric", "invariant"])
def test_the_score_is_the_mean_of_the_images_scores_and_what_is_kept_tells_it(scale):
    guess, targets = read(tiles)(DATA["test"].images).half(), DATA["test"].targets
    each = per_image(kept(guess).float(), targets, scale)
    assert each.shape == (SIZES["test"],)
    assert float(each.mean()) == pytest.approx(measure(guess.float(), targets, AXIS, scale)["r2_log"], abs=1e-9)
    assert kept(guess).shape == (SIZES["test"], 3, SIDE, SIDE)
