"""Robustness: the read-out of clean images, asked of images that are the same for every encoder."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maebench.checks.subject import pictures
from maebench.contracts import Split
from maebench.tasks import linear_probe
from maebench.tasks.readouts.corruptions import SEVERITIES, corrupt
from maebench.tasks.robustness import NAMES, check, fit, kinds, measure, per_image, worsened


def encode(images: Tensor) -> Tensor:
    """The light of a few places: coarse enough for noise, not for what changes all of it."""
    return functional.adaptive_avg_pool2d(images.float(), 4)


def labelled(count: int, seed: int) -> Split:
    """Coarse squares; the class says which of three colours there is most of."""
    images = pictures(count, (3, 32, 32), seed)
    return Split(images, {"label": images.float().mean((2, 3)).argmax(1)})


TRAIN, VAL, TEST = labelled(300, 0), labelled(100, 1), labelled(400, 2)
LABELS = TEST.targets["label"]


def test_the_clean_column_is_the_linear_probe():
    guess = fit(encode, TRAIN, VAL)(TEST.images)
    assert (guess.dtype, guess.shape) == (torch.int64, (400, 1 + SEVERITIES))
    assert torch.equal(guess[:, 0], linear_probe.fit(encode, (), TRAIN, VAL, 0)(TEST.images))
    assert measure(guess, TEST.targets, TEST.images)["top1@severity=0"] > 90


def test_each_image_meets_five_different_corruptions_and_each_of_them_as_many_images():
    kind = kinds(pictures(1800, (1, 8, 8)))
    assert all(len(set(row)) == SEVERITIES for row in kind.tolist())
    for column in kind.T:
        assert column.bincount(minlength=len(NAMES)).sub(200).abs().max() < 60  # 4 standard deviations


def test_an_image_is_worsened_by_its_own_kind():
    worse = worsened(TEST.images, 3)
    for row, number in enumerate(kinds(TEST.images)[:40, 2]):
        assert torch.equal(worse[row], corrupt(TEST.images[row : row + 1], NAMES[number], 3)[0])


def test_every_encoder_sees_the_same_images_and_train_stays_clean():
    seen: list[list[Tensor]] = [[], []]
    for images, scale in zip(seen, (1, 2), strict=True):

        def remember(batch: Tensor, images: list[Tensor] = images, scale: int = scale) -> Tensor:
            images.append(batch.clone())
            return encode(batch) * scale

        fit(remember, TRAIN, VAL)(TEST.images)
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert [len(batch) for batch in seen[0]] == [300, 100] + [400] * (1 + SEVERITIES)
    assert torch.equal(seen[0][0], TRAIN.images)


def test_guesses_get_worse():
    values = measure(fit(encode, TRAIN, VAL)(TEST.images), TEST.targets, TEST.images)
    assert values["top1@severity=0"] > values["top1@severity=1"] > values["top1@severity=5"]
    assert values["top1@severity=0"] > values["top1"] > values["top1@floor"]


def test_the_headline_is_the_mean_of_severities_of_corruptions_and_of_images():
    guess = torch.randint(3, (400, 1 + SEVERITIES), generator=torch.Generator().manual_seed(0))
    values = measure(guess, TEST.targets, TEST.images)
    severities = [values[f"top1@severity={severity}"] for severity in range(1, SEVERITIES + 1)]
    assert values["top1"] == pytest.approx(sum(severities) / SEVERITIES)
    shares = kinds(TEST.images).flatten().bincount() / (400 * SEVERITIES)
    by_kind = [values[f"top1@corruption={name}"] for name in NAMES]
    assert values["top1"] == pytest.approx(sum(float(w) * v for w, v in zip(shares, by_kind, strict=True)), abs=1e-4)
    assert float(per_image(guess, TEST.targets).mean()) == pytest.approx(values["top1"])
    perfect = measure(LABELS[:, None].expand_as(guess), TEST.targets, TEST.images)
    assert perfect["top1"] == perfect["top1@ceiling"] == perfect["top1@corruption=haze"]


def test_a_fit_on_no_image_is_refused():
    check(None)
    with pytest.raises(ValueError, match="fit_images is 0"):
        check(0)
