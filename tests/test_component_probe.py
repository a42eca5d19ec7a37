"""Component probe: classes in few directions need few components, and what it says at k is a probe of the first k."""

import pytest
import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.seeding import stream
from maebench.tasks.component_probe import check, fit, kept, measure, per_image
from maebench.tasks.readouts import logistic
from maebench.tasks.readouts.whole import components, remembered

SIZES = {"train": 600, "val": 200, "test": 400}
AXIS = (2, 12)


def blobs(name: str, count: int) -> Split:
    """Grey images of 6 x 6 pixels: loud noise in the first rows, and a class in the quieter last ones."""
    rng = stream(0, "blobs", name)
    labels = torch.randint(3, (count,), generator=rng)
    images = 128 + torch.randn(count, 1, 6, 6, generator=rng) * torch.tensor([40.0, 40, 40, 8, 8, 8]).view(6, 1)
    images[torch.arange(count), 0, 3 + labels, :] += 20
    return Split(images.clamp(0, 255).to(torch.uint8), {"label": labels + 4})


DATA = {name: blobs(name, count) for name, count in SIZES.items()}


def pixels(images: Tensor) -> Tensor:
    return images.float()


def scores(k: int | None = None, encode=pixels) -> dict[str, float]:
    predict = fit(remembered(encode), DATA["train"], DATA["val"], k=k, axis=AXIS)
    guess = predict(DATA["test"].images)
    assert guess.shape == (400, 1 + len(AXIS))
    assert float(per_image(kept(guess), DATA["test"].targets).mean()) == pytest.approx(
        measure(guess, DATA["test"].targets, AXIS)["top1"]
    )
    return measure(guess, DATA["test"].targets, AXIS)


def test_what_the_first_components_lack_later_ones_tell():
    values = scores()
    assert values["top1@k=2"] < 45
    assert values["top1"] > 90
    assert values["top1@ceiling"] == 100
    assert 30 < values["top1@floor"] < 45


def test_a_reading_is_the_classifier_of_the_first_components():
    found = components(pixels, DATA["train"].images)
    rows = {name: found(split.images)[:, :12] for name, split in DATA.items()}
    model = logistic.fit(rows["train"], DATA["train"].targets["label"], rows["val"], DATA["val"].targets["label"])
    right = (model(rows["test"]) == DATA["test"].targets["label"]).double().mean()
    assert scores()["top1@k=12"] == scores(k=12)["top1"] == pytest.approx(100 * float(right))


def test_blank_features_know_no_class():
    values = scores(encode=lambda images: torch.zeros(len(images), 2, 1, 1))
    assert values["top1"] == values["top1@k=2"] < 45


def test_no_component_is_refused():
    check(fit_images=1, k=None, axis=())
    with pytest.raises(ValueError, match="k is 0"):
        check(fit_images=1, k=0, axis=())
