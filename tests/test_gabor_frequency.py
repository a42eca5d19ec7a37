"""Gabor task: the filters are the formula, the target is the convolution, pixels solve it and noise does not."""

import math
from inspect import signature

import pytest
import torch
from builders.plugins import CPU, images
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Encode, Predict, Split
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.runs.scoring.features import frozen
from maebench.seeding import stream
from maebench.tasks.gabor_frequency import ANGLES, METRICS, check, filters, fit, kept, measure, per_image, responses
from maebench.tasks.readouts.whole import remembered

SETTINGS = {"frequencies": (0.05, 0.2), "sigmas": (1.0, 4.0), "stride": 4}
READINGS = {"k": None, "axis": (4, 64)}


def smooth(count: int, seed: int, shape: tuple[int, int, int] = (3, 12, 12)) -> Split:
    """Images whose neighbouring pixels are alike, so that every filter has something to see."""
    noise = torch.randn(count, *shape, generator=stream(seed, "smooth")) * 2
    coarse = functional.interpolate(torch.randn(count, shape[0], 4, 4, generator=stream(seed, "coarse")), shape[1:])
    return Split(((noise + 3 * coarse) * 12 + 128).clamp(0, 255).to(torch.uint8))


DATA = {name: smooth(count, seed) for seed, (name, count) in enumerate({"train": 900, "val": 100, "test": 100}.items())}


def pixels(batch: Tensor) -> Tensor:
    return (batch.float() / 255).flatten(1)[..., None, None]


def read(encode: Encode, train: Split = DATA["train"], val: Split = DATA["val"], **settings: int) -> Predict:
    return fit(encode, remembered(encode), train, val, **{**SETTINGS, **READINGS, "fit_images": 900, **settings})


def scores(encode: Encode, train: Split = DATA["train"], **settings: int) -> dict[str, float]:
    guess = read(encode, train, **settings)(DATA["test"].images).half().float()
    return measure(guess, DATA["test"].images, **{**SETTINGS, **READINGS, **settings})


@pytest.mark.parametrize("name", ["linear_ae", "linear_dae"])
def test_a_code_longer_than_its_images_are_many_is_read_as_one_that_is_not(name: str):
    """100 images differ in 99 directions; what the further values of a code hold is rounding noise."""
    few, declaration = Split(DATA["train"].images[:100]), find("variants", name)

    def read(k: int) -> dict[str, float]:
        variant = seeded(declaration, {"shape": (3, 12, 12), "k": k}, 0)
        variant.fit(few.images)
        return scores(frozen(variant, CPU), few)

    longer, shorter = read(160), read(99)
    assert shorter["r2"] > 0.5
    assert longer == pytest.approx(shorter, abs=1e-4)


def test_filters_are_the_formula():
    frequencies, sigmas, radius = (0.05, 0.1, 0.2), (1.0, 3.0), 9
    bank = filters(frequencies, sigmas, radius)
    assert bank.shape == (3 * 2 * 4, 1, 19, 19)
    torch.testing.assert_close(bank.abs().sum((1, 2, 3)), torch.ones(24))
    torch.testing.assert_close(bank, bank.flip(2, 3))
    for f, s, t in ((0, 0, 0), (1, 1, 1), (2, 0, 3)):
        one = bank[(f * 2 + s) * 4 + t, 0]
        angle = math.radians(ANGLES[t])
        for x, y in ((0, 2), (3, -1), (-4, 4)):
            along = x * math.cos(angle) + y * math.sin(angle)
            value = math.exp(-(x * x + y * y) / (2 * sigmas[s] ** 2)) * math.cos(2 * math.pi * frequencies[f] * along)
            assert one[radius + y, radius + x] / one[radius, radius] == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_a_filter_answers_to_its_own_wave():
    y, x = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    waves = {
        (f, t): torch.cos(2 * math.pi * f * ((x - 16) * math.cos(t) + (y - 16) * math.sin(t)))
        for f in (0.1, 0.2)
        for t in (0, math.pi / 2)
    }
    batch = torch.stack([(127 + 120 * wave).to(torch.uint8) for wave in waves.values()])[:, None]
    centre = responses(batch, (0.1, 0.2), (6.0,), 32)[:, :, 0, 0]
    assert centre.shape == (4, 8)
    own = [0 * 4 + 0, 0 * 4 + 2, 1 * 4 + 0, 1 * 4 + 2]
    for row, column in enumerate(own):
        others = [centre[row, other] for other in own if other != column]
        assert centre[row, column] > 3 * max(abs(other) for other in others)


def test_responses_are_the_convolution_of_the_grey_image_continued_by_reflection():
    batch = images(3, (3, 9, 14))
    frequencies, sigmas, stride = (0.05, 0.2), (1.0, 8.0), 4
    answer = responses(batch, frequencies, sigmas, stride)
    assert answer.shape == (3, 16, 2, 3)
    bank, radius, grey = filters(frequencies, sigmas, 8), 8, batch.double().mean(1) / 255

    def reflected(position: int, size: int) -> int:
        position = abs(position)
        return position if position < size else 2 * (size - 1) - position

    for which, row, column in ((0, 0, 0), (7, 1, 2), (13, 1, 1)):
        at_y, at_x = 2 + 4 * row, 2 + 4 * column
        total = torch.zeros(3, dtype=torch.float64)
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                weight = float(bank[which, 0, radius + dy, radius + dx])
                total += weight * grey[:, reflected(at_y - dy, 9), reflected(at_x - dx, 14)]
        torch.testing.assert_close(answer[:, which, row, column].double(), total, rtol=1e-4, atol=1e-6)


def test_grey_and_colour_images_of_one_grey_answer_alike():
    grey = images(2, (1, 16, 16))
    torch.testing.assert_close(
        responses(grey, (0.1,), (2.0,), 8), responses(grey.expand(-1, 3, -1, -1), (0.1,), (2.0,), 8)
    )


def test_pixels_solve_it_and_every_part_is_reported():
    values = scores(pixels)
    parts = {f"r2@f={f},sigma={sigma}" for f in ("0.05", "0.2") for sigma in ("1", "4")}
    assert values.keys() == {"r2", *parts, "r2@k=4", "r2@k=64", "r2@floor", "r2@ceiling"}
    assert min(values[part] for part in parts) > 0.99
    assert values["r2"] == pytest.approx(sum(values[part] for part in parts) / 4)
    assert next(iter(METRICS)) == "r2"


def test_what_a_blurred_image_keeps_is_the_low_frequencies():
    values = scores(lambda batch: functional.avg_pool2d(batch.float(), 4).flatten(1)[..., None, None])
    assert values["r2@f=0.05,sigma=4"] > 0.6 > 0.3 > values["r2@f=0.2,sigma=4"]


def test_a_map_is_read_as_a_whole_and_per_patch():
    def tiles(batch: Tensor) -> Tensor:
        return functional.pixel_unshuffle(batch.float(), 4)

    values, flat = scores(tiles), scores(pixels)
    assert values["r2"] == pytest.approx(flat["r2"], abs=1e-3), "a map and its values in one code are the same"
    assert values["r2@local"] < values["r2"] - 0.1, "a patch reaches no further than itself"


def test_few_components_tell_less_and_none_more_than_the_ceiling():
    values = scores(pixels, k=4)
    assert values["r2"] == values["r2@k=4"] < values["r2@k=64"]
    assert values["r2"] < values["r2@ceiling"] < 1
    answers = responses(DATA["test"].images, **SETTINGS).flatten(1).double()
    groups = answers.view(100, 4, -1) - answers.view(100, 4, -1).mean(0)
    best = torch.linalg.svdvals((groups / groups.square().sum((0, 2), keepdim=True).sqrt()).flatten(1))
    assert values["r2@ceiling"] == pytest.approx(float(best[:4].square().sum() / 4), abs=1e-6)


def test_the_score_is_the_mean_of_the_images_scores_and_what_is_kept_tells_it():
    guess, batch = read(pixels)(DATA["test"].images).half(), DATA["test"].images
    each = per_image(kept(guess).float(), batch, **SETTINGS)
    assert each.shape == (100,)
    assert float(each.mean()) == pytest.approx(measure(guess.float(), batch, **SETTINGS, **READINGS)["r2"], abs=1e-9)


def test_features_of_other_images_tell_nothing():
    values = scores(lambda batch: pixels(batch.roll(1, 0)))
    assert -0.2 < values["r2"] < 0.02


def test_blank_features_give_the_mean_response_of_train():
    predict = read(lambda batch: torch.zeros(len(batch), 2, 1, 1))
    mean = responses(DATA["train"].images, **SETTINGS).mean(0)
    torch.testing.assert_close(predict(DATA["test"].images)[:, 0], mean.expand(100, -1, -1, -1))


def test_the_first_images_of_train_are_fitted():
    cut = {name: Split(DATA[name].images[:60]) for name in ("train", "val")}
    one = read(pixels, fit_images=60)(DATA["test"].images)
    other = read(pixels, cut["train"], cut["val"])(DATA["test"].images)
    assert torch.equal(one, other)
    assert not torch.equal(one, read(pixels, fit_images=61)(DATA["test"].images))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 20, 36)])
def test_any_size_and_number_of_channels_will_do(shape):
    data = Split(images(12, shape))

    def encode(batch: Tensor) -> Tensor:
        return functional.avg_pool2d(batch.float(), 4)

    guess = fit(encode, remembered(encode), data, data)(data.images)
    settings = {
        name: one.default for name, one in signature(fit).parameters.items() if name in signature(measure).parameters
    }
    assert guess.shape == (12, 10, 48, len(range(4, shape[1], 8)), len(range(4, shape[2], 8)))
    assert len(measure(guess, data.images, **settings)) == 1 + 8 + 1 + 12 + 2


@pytest.mark.parametrize("stride", [0, 8])
def test_a_stride_that_finds_no_pixel_is_an_error(stride):
    data = Split(images(4, (1, 4, 8)))
    fit(pixels, remembered(pixels), data, data, stride=7)
    allowed = {"shape": (1, 4, 8), "frequencies": (0.1,), "sigmas": (1.0,), "fit_images": 1, "k": 1, "axis": ()}
    check(stride=7, **allowed)
    with pytest.raises(ValueError, match=f"stride {stride} finds no pixel; set it to 1 or more, below 8"):
        check(stride=stride, **allowed)


FILTERS = {
    "shape": (1, 32, 32),
    "frequencies": (0.0, 0.1),
    "sigmas": (1.0,),
    "stride": 8,
    "fit_images": 1,
    "k": 1,
    "axis": (),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frequencies": ()}, r"needs frequencies of 0 or more and sigmas above 0, one of each at least, not \(\) and"),
        ({"frequencies": (0.1, -0.1)}, "needs frequencies of 0 or more"),
        ({"sigmas": ()}, "needs frequencies of 0 or more"),
        ({"sigmas": (0.0,)}, "needs frequencies of 0 or more"),
        ({"frequencies": (0.1, 0.1)}, "two filters have one name, r2@f=0.1,sigma=1; write each"),
        ({"sigmas": (2.0, 2.0000001)}, "two filters have one name, r2@f=0,sigma=2; write each"),
        ({"fit_images": 0}, "fit_images is 0"),
        ({"k": 0}, "k is 0"),
        ({"axis": (8, 0)}, "needs 1 component or more"),
        ({"axis": (8, 10**20)}, "at most 1,000,000,000"),
        ({"axis": (8, 8)}, "axis has a number twice"),
    ],
)
def test_filters_and_lattices_that_cannot_be_are_refused(changes, message):
    check(**FILTERS)
    with pytest.raises(ValueError, match=message):
        check(**{**FILTERS, **changes})


def test_patches_that_cannot_share_a_read_out_are_read_as_a_whole_alone():
    def thirds(batch: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(batch.float(), 3)  # patches of 4 pixels

    assert "r2@local" in scores(thirds, stride=4)
    assert "r2@local" not in scores(thirds, stride=3)
