"""Attentive probe: queries find what the mean hides, and only train's moments and the seed play a part."""

from functools import partial
from inspect import signature

import pytest
import torch
from torch import Tensor

from maebench.contracts import Split
from maebench.seeding import stream
from maebench.tasks.attentive_probe import Attention, check, fit, measure, per_image


def encode(images: Tensor) -> Tensor:
    return images.float()


def hidden(name: str, count: int) -> Split:
    """One of 16 patches, anywhere, is marked (channel 0) and shows the class; the others show classes at random.

    Every patch shows one class of 4 in the channels 1 to 4, so that the mean over the grid hardly tells.
    """
    rng = stream(0, "hidden", name)
    shown = torch.randint(4, (count, 16), generator=rng)
    place = torch.randint(16, (count, 1), generator=rng)
    images = torch.nn.functional.one_hot(shown, 4).transpose(1, 2) * 150
    mark = torch.zeros(count, 1, 16, dtype=torch.int64).scatter_(2, place[:, None], 200)
    images = torch.cat([mark, images], 1) + torch.randint(50, (count, 5, 16), generator=rng)
    return Split(images.view(count, 5, 4, 4).to(torch.uint8), {"label": 3 + shown.gather(1, place).flatten()})


TRAIN, TEST = hidden("train", 600), hidden("test", 300)
QUICK = partial(fit, encode, TRAIN, 0, base_lr=3e-2, epochs=15)


def top1(predict) -> float:
    return measure(predict(TEST.images), TEST.targets)["top1"]


def test_queries_read_the_patch_that_matters():
    predict = QUICK(queries=4)
    guess = predict(TEST.images)
    assert (guess.dtype, guess.shape) == (torch.int64, (300,))
    assert set(guess.tolist()) <= {3, 4, 5, 6}
    assert top1(predict) > 90
    assert float(per_image(guess, TEST.targets).mean()) == pytest.approx(top1(predict))


def test_where_on_the_grid_does_not_matter():
    order = torch.randperm(16, generator=stream(0, "order"))
    moved = TEST.images.flatten(2)[:, :, order].view_as(TEST.images)
    predict = QUICK()
    assert torch.equal(predict(moved), predict(TEST.images))


def test_a_query_takes_the_mean_of_tokens_weighted_by_its_softmax():
    model = Attention(3, 2, 5, stream(0, "model"))
    with torch.no_grad():
        model.head.weight.normal_(generator=stream(0, "head"))
    tokens = torch.randn(4, 6, 3, generator=stream(0, "tokens"))
    for image, logits in zip(tokens, model(tokens), strict=True):
        read = []
        for query in model.queries:
            weights = torch.stack([(query * token).sum().exp() for token in image])
            read.append((weights[:, None] * image).sum(0) / weights.sum())
        torch.testing.assert_close(logits, model.head.weight @ torch.cat(read) + model.head.bias)


def test_neither_offset_nor_scale_of_a_feature_matters_and_constants_are_left_out():
    scale, offset = torch.rand(2, 5, 1, 1, generator=stream(0, "affine")) * 10 + 1

    def other(images: Tensor) -> Tensor:
        return images.float() * scale + offset

    def padded(images: Tensor) -> Tensor:
        return torch.cat([images.float(), torch.full_like(images[:, :1], 7).float()], 1)

    plain, scaled = QUICK(), fit(other, TRAIN, 0, base_lr=3e-2, epochs=15)
    tokens = [predict.tokens(predict.encode(TEST.images)) for predict in (plain, scaled)]
    torch.testing.assert_close(*tokens, rtol=1e-4, atol=1e-4)
    assert (fit(padded, TRAIN, 0, epochs=1).tokens(padded(TEST.images))[:, :, 5] == 0).all()


def test_the_same_seed_gives_the_same_and_leaves_the_global_generator():
    before = torch.get_rng_state()
    first, again, other = (fit(encode, TRAIN, seed, epochs=2).model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    "settings", [{"queries": 3}, {"epochs": 3}, {"batch": 64}, {"base_lr": 1e-3}, {"weight_decay": 1.0}]
)
def test_every_setting_is_at_work(settings):
    short = partial(fit, encode, TRAIN, 0)
    changed, usual = (short(**{"epochs": 2, **given}).model.head.bias for given in (settings, {}))
    assert not torch.equal(changed, usual)


def test_the_first_images_of_train_are_fitted():
    few = Split(TRAIN.images[:100], {"label": TRAIN.targets["label"][:100]})
    one, other = (fit(encode, split, 0, epochs=2, fit_images=100)(TEST.images) for split in (TRAIN, few))
    assert torch.equal(one, other)


def test_a_global_code_is_one_token_read_once():
    def pooled(images: Tensor) -> Tensor:
        return images.float().mean((2, 3), keepdim=True)

    assert len(fit(pooled, TRAIN, 0, epochs=1).model.queries) == 1


def test_a_rate_too_high_is_said_in_one_line():
    with pytest.raises(ArithmeticError, match="lower the task's base_lr"):
        fit(encode, TRAIN, 0, epochs=1, base_lr=1e38)


DEFAULTS = {name: one.default for name, one in signature(fit).parameters.items() if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": 0}, "queries is 0; set it to 1 or more"),
        ({"epochs": 0}, "epochs is 0; set it to 1 or more"),
        ({"batch": 0}, "batch is 0; set it to 1 or more"),
        ({"base_lr": 0.0}, "base_lr is 0.0; set it to more than 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; set it to 0 or more"),
        ({"fit_images": 0}, "fit_images is 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    check(**DEFAULTS)
    with pytest.raises(ValueError, match=message):
        check(**{**DEFAULTS, **changes})
