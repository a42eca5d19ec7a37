"""Linear probe: features that show the class solve it, shuffled labels do not."""

import pytest
import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.seeding import stream
from maebench.tasks.linear_probe import METRICS, fit, measure

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
    guess = fit(encode, train, val, fit_images=fit_images)(DATA["test"].images)
    return measure(guess, DATA["test"].targets)[next(iter(METRICS))]


def test_features_that_show_the_class_solve_it():
    predict = fit(encode, DATA["train"], DATA["val"])
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

    fit(count, DATA["train"], DATA["val"], fit_images=40)
    assert sizes == [40, 40]


def test_accuracy_is_in_per_cent():
    assert measure(torch.tensor([1, 2, 3, 4]), {"label": torch.tensor([1, 2, 3, 5])}) == {"top1": 75.0}
    assert METRICS["top1"] == ("%", "higher")
