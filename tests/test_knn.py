"""Nearest neighbours: the votes by hand, in one go or in parts, whatever the scale of a feature."""

from functools import partial
from inspect import signature

import pytest
import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.seeding import stream
from maebench.tasks import knn
from maebench.tasks.knn import check, fit, measure, per_image


def encode(images: Tensor) -> Tensor:
    return images.float()


def noise(name: str, count: int, classes: int = 3) -> Split:
    """Noise of 6 channels on 2 x 2 pixels, brighter in the channel of the class."""
    rng = stream(0, "neighbours", name)
    labels = 2 + torch.randint(classes, (count,), generator=rng)
    images = torch.randint(200, (count, 6, 2, 2), generator=rng)
    images[torch.arange(count), labels - 2] += 55
    return Split(images.to(torch.uint8), {"label": labels})


TRAIN, TEST = noise("train", 300), noise("test", 100)


def by_hand(image: Tensor, k: int, temperature: float, train: Split = TRAIN) -> int:
    """One image, one neighbour at a time, in float64."""
    rows = train.images.double().mean((2, 3))
    mean, sd = rows.mean(0), rows.std(0, correction=0)
    keys, query = (rows - mean) / sd, (image.double().mean((1, 2)) - mean) / sd
    cosines = [float(key @ query / key.norm() / query.norm()) for key in keys]
    nearest = sorted(range(len(keys)), key=lambda row: -cosines[row])[:k]
    votes: dict[int, float] = {}
    for row in nearest:
        label = int(train.targets["label"][row])
        votes[label] = votes.get(label, 0) + torch.tensor(cosines[row] / temperature).double().exp().item()
    return max(votes, key=lambda label: votes[label])


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.07), (20, 1.0), (300, 0.07)])
def test_the_votes_are_those_counted_by_hand(k, temperature, monkeypatch):
    monkeypatch.setattr(knn, "ROWS", 7)
    predict = fit(encode, TRAIN, k=k, temperature=temperature)
    guess = predict(TEST.images)
    assert guess.dtype == torch.int64
    assert guess.tolist() == [by_hand(image, k, temperature) for image in TEST.images]


def test_train_images_find_themselves():
    assert torch.equal(fit(encode, TRAIN, k=1)(TRAIN.images), TRAIN.targets["label"])


def test_all_vote_where_there_are_fewer_than_k():
    few = Split(TRAIN.images[:9], {"label": TRAIN.targets["label"][:9]})
    assert torch.equal(fit(encode, few, k=20)(TEST.images), fit(encode, few, k=9)(TEST.images))
    assert torch.equal(fit(encode, TRAIN, k=20, fit_images=9)(TEST.images), fit(encode, few, k=9)(TEST.images))


def test_neither_offset_nor_scale_of_a_feature_matters():
    scale, offset = torch.rand(2, 6, 1, 1, generator=stream(0, "affine")) * 10 + 1

    def other(images: Tensor) -> Tensor:
        return images.float() * scale + offset

    assert torch.equal(fit(other, TRAIN)(TEST.images), fit(encode, TRAIN)(TEST.images))


def test_a_feature_without_content_has_no_vote():
    def padded(images: Tensor) -> Tensor:
        return torch.cat([images.float(), torch.full_like(images[:, :1], 3).float()], 1)

    assert torch.equal(fit(padded, TRAIN)(TEST.images), fit(encode, TRAIN)(TEST.images))
    guess = fit(lambda images: torch.zeros(len(images), 2, 1, 1), TRAIN)(TEST.images)
    assert len(guess.unique()) == 1


def test_at_a_low_temperature_the_nearest_decides():
    guess = fit(encode, TRAIN, k=5, temperature=1e-4)(TEST.images)
    assert torch.equal(guess, fit(encode, TRAIN, k=1)(TEST.images))


def test_cells_tell_where():
    order = torch.randperm(4, generator=stream(0, "order"))
    moved = Split(TEST.images.flatten(2)[:, :, order].view_as(TEST.images), TEST.targets)
    near = partial(fit, encode, TRAIN, k=1)
    assert torch.equal(near()(moved.images), near()(TEST.images))
    assert near().readout == "pooled"
    assert near(pooling="cells").readout == "2x2 cells"
    turned = TRAIN.images.flip(3)
    assert not torch.equal(near(pooling="cells")(turned), TRAIN.targets["label"])


def test_it_beats_the_floor_and_says_so_of_each_image():
    guess = fit(encode, TRAIN)(TEST.images)
    values = measure(guess, TEST.targets)
    assert values["top1"] > values["top1@floor"] + 20
    assert float(per_image(guess, TEST.targets).mean()) == pytest.approx(values["top1"])


DEFAULTS = {name: one.default for name, one in signature(fit).parameters.items() if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k is 0.*set it to 1 or more"),
        ({"temperature": 0.0}, "temperature is 0.0; set it to 1e-06 or more"),
        ({"cells": 0}, "cells is 0"),
        ({"fit_images": 0}, "fit_images is 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    given = {key: value for key, value in DEFAULTS.items() if key in signature(check).parameters}
    check(**given)
    with pytest.raises(ValueError, match=message):
        check(**{**given, **changes})
