"""Linear probe: features that show the class solve it, shuffled labels do not."""

from functools import partial
from inspect import signature

import pytest
import torch
from torch import Tensor, nn

from maebench.contracts import Split
from maebench.seeding import stream
from maebench.tasks.linear_probe import METRICS, check, measure, per_image
from maebench.tasks.linear_probe import fit as fit_on
from maebench.tasks.readouts import batchnorm
from maebench.tasks.readouts.pooling import cell_means

fit = partial(fit_on, layers=(), seed=0)

CLASSES = 10


def labelled(name: str, count: int) -> Split:
    """Noise images of 10 channels; the channel of the class is a little brighter."""
    rng = stream(0, "labelled", name)
    labels = torch.randint(CLASSES, (count,), generator=rng)
    noise = torch.randint(0, 200, (count, CLASSES, 4, 4), generator=rng)
    bright = torch.nn.functional.one_hot(labels, CLASSES)[..., None, None] * 55
    return Split((noise + bright).to(torch.uint8), {"label": labels})


DATA = {name: labelled(name, count) for name, count in {"train": 1500, "val": 300, "test": 500}.items()}


def encode(images: Tensor) -> Tensor:
    return images.float()


def relabelled(split: Split, labels: Tensor) -> Split:
    return Split(split.images, {"label": labels})


def top1(train: Split, val: Split = DATA["val"], fit_images: int | None = None) -> float:
    guess = fit(encode, train=train, val=val, fit_images=fit_images)(DATA["test"].images)
    return measure(guess, DATA["test"].targets)[next(iter(METRICS))]


def test_features_that_show_the_class_solve_it():
    predict = fit(encode, train=DATA["train"], val=DATA["val"])
    assert predict.readout == "pooled"
    guess = predict(DATA["test"].images)
    assert guess.dtype == torch.int64
    assert guess.shape == (500,)
    assert top1(DATA["train"]) > 95


def test_the_grid_is_pooled():
    order = torch.randperm(16, generator=stream(0, "order"))
    train, val = (
        Split(DATA[name].images.flatten(2)[:, :, order].view_as(DATA[name].images), DATA[name].targets)
        for name in ("train", "val")
    )
    assert top1(train, val) == pytest.approx(top1(DATA["train"]), abs=0.21), "where on the grid must not matter"


def test_labels_of_other_images_are_not_learnt():
    shuffle = (
        DATA[name].targets["label"][torch.randperm(len(DATA[name].images), generator=stream(0, name))]
        for name in ("train", "val")
    )
    train, val = (relabelled(DATA[name], labels) for name, labels in zip(("train", "val"), shuffle, strict=True))
    assert top1(train, val) < 100 / CLASSES + 5


def test_the_first_images_of_train_are_fitted():
    few = Split(DATA["train"].images[:40], {"label": DATA["train"].targets["label"][:40]})
    val = Split(DATA["val"].images[:40], {"label": DATA["val"].targets["label"][:40]})
    assert top1(DATA["train"], fit_images=40) == top1(few, val) < top1(DATA["train"])


def test_no_more_images_than_asked_for_are_encoded():
    sizes = []

    def count(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return images.float()

    fit(count, train=DATA["train"], val=DATA["val"], fit_images=40)
    assert sizes == [40, 40]


def test_accuracy_is_in_per_cent_with_what_it_is_worth():
    guess, targets = torch.tensor([1, 2, 3, 4]), {"label": torch.tensor([1, 2, 3, 3])}
    values = measure(guess, targets)
    assert values == {"top1": 75.0, "top1@floor": 50.0, "top1@ceiling": 100.0}
    assert values["top1@ceiling"] == measure(targets["label"], targets)["top1"]
    assert values["top1@floor"] == measure(torch.full((4,), 3), targets)["top1"]
    assert METRICS["top1"] == ("%", "higher")


def test_the_headline_is_the_mean_over_images():
    guess, targets = torch.arange(10) % 3, {"label": torch.arange(10) % 4}
    scores = per_image(guess, targets)
    assert (scores.dtype, scores.shape) == (torch.float64, (10,))
    assert float(scores.mean()) == measure(guess, targets)["top1"]


@pytest.mark.parametrize(("h", "w", "cells"), [(4, 4, 2), (4, 6, 2), (1, 1, 2), (3, 5, 1), (2, 2, 3)])
def test_cells_are_means_of_equal_parts_of_the_map(h, w, cells):
    features = torch.rand(5, 7, h, w, generator=stream(0, "map"))
    rows, columns = min(h, cells), min(w, cells)
    parts = [
        features[:, :, i * h // rows : (i + 1) * h // rows, j * w // columns : (j + 1) * w // columns].mean((2, 3))
        for i in range(rows)
        for j in range(columns)
    ]
    torch.testing.assert_close(cell_means(features, cells), torch.stack(parts, 2).flatten(1))


def placed(name: str, count: int) -> Split:
    """Noise with one bright quarter, whose place is the class: the mean over the grid does not tell it."""
    rng = stream(0, "placed", name)
    labels = torch.randint(4, (count,), generator=rng)
    bright = nn.functional.one_hot(labels, 4).view(-1, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return Split((torch.randint(150, (count, 3, 4, 4), generator=rng) + 50 * bright).to(torch.uint8), {"label": labels})


@pytest.mark.parametrize("protocol", ["logistic", "batchnorm_sgd"])
def test_cells_tell_where_and_the_mean_does_not(protocol):
    train, val, test = (placed(name, count) for name, count in {"train": 800, "val": 200, "test": 400}.items())
    probe = partial(fit, encode, train=train, val=val, protocol=protocol, epochs=20)
    where, mean = probe(pooling="cells"), probe(cells=2)
    assert (where.readout, mean.readout) == ("2x2 cells", "pooled")
    scores = [measure(predict(test.images), test.targets)["top1"] for predict in (where, mean)]
    assert scores[0] > 90
    assert scores[1] < 40


def test_a_layer_is_what_comes_after_that_part():
    layers = [lambda images: images.float()[:, :1] * 0, encode]
    scores = []
    for layer in (1, 2):
        predict = fit(layers[0], layers=layers, train=DATA["train"], val=DATA["val"], layer=layer)
        scores.append(measure(predict(DATA["test"].images), DATA["test"].targets)["top1"])
    assert scores[0] < 20
    assert scores[1] == top1(DATA["train"])


def sgd(seed: int = 0, **settings) -> batchnorm.BatchNormLinear:
    train = DATA["train"]
    given = {"epochs": 20, "batch": 256, "base_lr": 1.0, **settings}
    return batchnorm.fit(train.images.float().mean((2, 3)), train.targets["label"], seed, **given)


def test_the_probe_of_the_mae_paper_solves_what_features_show():
    predict = fit(encode, train=DATA["train"], val=DATA["val"], protocol="batchnorm_sgd", epochs=20)
    assert measure(predict(DATA["test"].images), DATA["test"].targets)["top1"] > 95


def test_it_reads_features_by_the_running_moments_of_train():
    norm, head = sgd().model
    features = DATA["train"].images.float().mean((2, 3))
    assert (norm.eps, norm.affine, norm.training) == (1e-6, False, False)
    torch.testing.assert_close(norm.running_mean, features.mean(0), rtol=0.02, atol=0)
    torch.testing.assert_close(norm.running_var, features.var(0), rtol=0.2, atol=0)
    logits = (features - norm.running_mean) / (norm.running_var + 1e-6).sqrt() @ head.weight.T + head.bias
    assert torch.equal(sgd()(features), logits.argmax(1))


def test_the_same_seed_gives_the_same_probe_and_leaves_the_global_generator():
    before = torch.get_rng_state()
    first, again, other = sgd(), sgd(), sgd(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.model[1].weight, again.model[1].weight)
    assert not torch.equal(first.model[1].weight, other.model[1].weight)


@pytest.mark.parametrize("settings", [{"epochs": 21}, {"batch": 128}, {"base_lr": 0.5}])
def test_every_setting_of_the_protocol_is_at_work(settings):
    assert not torch.equal(sgd(**settings).model[1].weight, sgd().model[1].weight)


def test_a_rate_too_high_is_said_in_one_line():
    with pytest.raises(ArithmeticError, match="lower the task's base_lr"):
        sgd(base_lr=1e38)


DEFAULTS = {name: one.default for name, one in signature(fit_on).parameters.items() if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 4}, "layer is 4; set it to 1 to 3, the parts of the variant"),
        ({"layer": 0}, "layer is 0; set it to 1 to 3, the parts of the variant"),
        ({"layer": 1, "layers": 0}, r"the variant has no layers\(\).*leave layer out"),
        ({"cells": 0}, "cells is 0"),
        ({"epochs": 0}, "epochs is 0; set it to 1 or more"),
        ({"batch": 1}, "batch is 1; set it to 2 or more"),
        ({"base_lr": 0.0}, "base_lr is 0.0; set it to more than 0"),
        ({"fit_images": 0}, "fit_images is 0"),
        ({"fit_images": 1, "protocol": "batchnorm_sgd"}, "fit_images is 1; set it to 2 or more"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    given = {key: value for key, value in {"layers": 3, **DEFAULTS}.items() if key in signature(check).parameters}
    for fine in ({}, {"layer": 1}, {"layer": 3}, {"layers": 0}, {"layer": 9, "layers": None}, {"fit_images": 1}):
        check(**{**given, **fine})
    with pytest.raises(ValueError, match=message) as caught:
        check(**{**given, **changes})
    assert "\n" not in str(caught.value)


def test_a_layer_that_only_the_fit_can_tell_is_missing_is_refused_there():
    with pytest.raises(ValueError, match="leave layer out"):
        fit(encode, train=DATA["train"], val=DATA["val"], layer=1)
