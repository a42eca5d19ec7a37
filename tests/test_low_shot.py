"""Few labels: the draws are balanced, nested and the same for all, and the headline is the mean over them."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.seeding import stream
from maebench.tasks.low_shot import DRAWS, HEADLINE, PENALTIES, SHOTS, check, drawn, fit, measure, per_image
from maebench.tasks.readouts import logistic


def encode(images: Tensor) -> Tensor:
    return images.float()


def labelled(name: str, count: int, classes: int = 4) -> Split:
    """Noise of 6 channels on 2 x 2 pixels, brighter in the channel of the class."""
    rng = stream(0, "few", name)
    labels = torch.randint(classes, (count,), generator=rng)
    images = torch.randint(200, (count, 6, 2, 2), generator=rng)
    images[torch.arange(count), labels] += 40
    return Split(images.to(torch.uint8), {"label": labels})


TRAIN, VAL, TEST = (labelled(name, count) for name, count in {"train": 400, "val": 200, "test": 300}.items())
LABELS = TRAIN.targets["label"]


@pytest.mark.parametrize("shots", SHOTS)
def test_a_draw_has_as_many_different_images_of_each_class(shots):
    rows = drawn(LABELS, shots, 0)
    assert len(rows.unique()) == len(rows)
    assert LABELS[rows].bincount().tolist() == [shots] * 4


def test_draws_differ_and_fewer_labels_are_among_more():
    sets = [[set(drawn(LABELS, shots, draw).tolist()) for shots in SHOTS] for draw in range(DRAWS)]
    assert all(fewer < more for one in sets for fewer, more in pairwise(one))
    assert len({frozenset(one[-1]) for one in sets}) == DRAWS


def test_each_image_of_a_class_is_as_likely_as_another():
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    found = torch.stack([drawn(labels, 1, draw) for draw in range(900)]).flatten().bincount()
    assert found.sub(300).abs().max() < 60  # 4 standard deviations


def test_a_class_of_few_images_gives_all_it_has_and_that_is_said():
    labels = torch.tensor([5] * 30 + [7] * 3)
    assert labels[drawn(labels, 10, 0)].bincount().tolist() == [0] * 5 + [10, 0, 3]
    few = Split(TRAIN.images[:33], {"label": labels})
    assert fit(encode, few, few).readout == "pooled, 1 classes of fewer than 25 images"
    assert fit(encode, TRAIN, VAL).readout == "pooled"


def test_a_guess_is_that_of_logistic_regression_on_the_draw():
    guess = fit(encode, TRAIN, VAL)(TEST.images)
    assert guess.shape == (300, len(SHOTS) * DRAWS)
    train, val, test = (split.images.float().mean((2, 3)) for split in (TRAIN, VAL, TEST))
    rows = drawn(LABELS, 10, 3)
    alone = logistic.fit(train[rows], LABELS[rows], val, VAL.targets["label"], PENALTIES)
    assert torch.equal(guess[:, SHOTS.index(10) * DRAWS + 3], alone(test))


def test_more_labels_make_a_better_guess():
    values = measure(fit(encode, TRAIN, VAL)(TEST.images), TEST.targets)
    scores = [values[f"top1@shots={shots}"] for shots in SHOTS]
    assert values["top1@floor"] < scores[0] < scores[1] < scores[2] < scores[3]
    assert values["top1"] == values[f"top1@shots={HEADLINE}"]


def test_the_headline_is_the_mean_of_its_draws_and_of_the_images():
    wanted = torch.randint(3, (50,), generator=stream(0, "wanted"))
    guess = torch.randint(3, (50, len(SHOTS) * DRAWS), generator=stream(0, "guess"))
    values = measure(guess, {"label": wanted})
    draws = [values[f"top1@draw={draw}"] for draw in range(DRAWS)]
    assert values["top1"] == pytest.approx(sum(draws) / DRAWS)
    column = SHOTS.index(HEADLINE) * DRAWS + 2
    assert draws[2] == pytest.approx(100 * float((guess[:, column] == wanted).double().mean()))
    assert float(per_image(guess, {"label": wanted}).mean()) == pytest.approx(values["top1"])
    perfect = measure(wanted[:, None].expand_as(guess), {"label": wanted})
    assert perfect["top1"] == perfect["top1@shots=1"] == perfect["top1@ceiling"]


def test_the_labels_are_drawn_from_the_first_images():
    few = Split(TRAIN.images[:150], {"label": LABELS[:150]})
    held = Split(VAL.images[:150], {"label": VAL.targets["label"][:150]})
    first = partial(fit, encode)
    assert torch.equal(first(TRAIN, VAL, fit_images=150)(TEST.images), first(few, held)(TEST.images))


def test_a_fit_on_no_image_is_refused():
    check(None)
    with pytest.raises(ValueError, match="fit_images is 0"):
        check(0)
