"""Fine-tuning: what learns and how fast, the same from the same seed, and better than a frozen encoder."""

import copy
import time
from functools import partial
from inspect import signature

import pytest
import torch
from builders.plugins import CPU
from torch import Tensor, nn

from maebench.contracts import Split, standardise
from maebench.runs.scoring.features import frozen
from maebench.seeding import stream
from maebench.tasks import linear_probe
from maebench.tasks.fine_tune import (
    METRICS,
    Classify,
    WithHead,
    check,
    drawing_from,
    fit,
    learning_parts,
    measure,
    rand_augment,
)
from maebench.tasks.readouts.descent import descend
from maebench.training.optimiser import adamw


class Network(nn.Module):
    """Pixels [B, 3, h, w] -> features [B, 8, h, w], through three stages; what decodes is of no use to `encode`."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Dropout(dropout)), nn.Linear(8, 8)])
        self.decoder = nn.Linear(8, 3)

    def encode(self, images: Tensor) -> Tensor:
        features = self.embed(images.movedim(1, 3))
        for block in self.blocks:
            features = features + block(features.tanh())
        return features.movedim(3, 1)


class Staged(Network):
    def stages(self) -> list[nn.Module]:
        return [self.embed, *self.blocks]


class Unstaged(Network):
    """Its parts are not told apart."""


def network(kind: type[Network] = Staged, dropout: float = 0.0) -> Network:
    with drawing_from(stream(0, "network")):
        return kind(dropout)


def xor(name: str, count: int) -> Split:
    """Images of one colour and a little noise; the class says whether red and green are alike, to no linear map."""
    rng = stream(0, "xor", name)
    bits = torch.randint(2, (count, 3, 1, 1), generator=rng)
    noise = torch.randint(60, (count, 3, 2, 2), generator=rng)
    return Split((bits * 190 + noise).to(torch.uint8), {"label": 3 + 4 * (bits[:, 0] ^ bits[:, 1]).flatten()})


TRAIN, VAL, TEST = xor("train", 128), xor("val", 64), xor("test", 200)


def tuned(trained: Network, seed: int = 0, train: Split = TRAIN, **settings) -> Classify:
    def trainable() -> Network:
        return copy.deepcopy(trained).train().requires_grad_(True)

    encode = frozen(copy.deepcopy(trained).requires_grad_(False), CPU)
    return fit(encode, trainable, train, seed, **{"epochs": 2, "batch": 16, "base_lr": 0.1, **settings})


def changed(trained: Network, predict: Classify) -> set[str]:
    after = predict.model.variant.state_dict()
    return {name.rpartition(".")[0] for name, weight in trained.state_dict().items() if not weight.equal(after[name])}


def top1(predict) -> float:
    return measure(predict(TEST.images), TEST.targets)["top1"]


@pytest.mark.parametrize(
    ("kind", "settings", "names"),
    [
        (Staged, {"tune": "head"}, set()),
        (Unstaged, {"tune": "head"}, set()),
        (Staged, {"tune": "last"}, {"blocks.1"}),
        (Staged, {"tune": "last", "blocks": 2}, {"blocks.0.0", "blocks.1"}),
        (Staged, {"tune": "last", "blocks": 3}, {"embed", "blocks.0.0", "blocks.1"}),
        (Staged, {"tune": "whole"}, {"embed", "blocks.0.0", "blocks.1"}),
        (Unstaged, {"tune": "whole"}, {"embed", "blocks.0.0", "blocks.1"}),
    ],
)
def test_only_what_is_tuned_changes_and_counts(kind, settings, names):
    trained = network(kind)
    predict = tuned(trained, **settings)
    assert changed(trained, predict) == names
    weights = sum(weight.numel() for name in names for weight in trained.get_submodule(name).parameters())
    assert predict.costs["tuned_parameters"] == weights + 2 * 8 + 2


def test_an_encoder_that_learns_solves_what_a_frozen_one_cannot():
    trained = network()
    with torch.no_grad():  # a frozen encoder that is next to linear, in which red and green do not meet
        for block in (trained.blocks[0][0], trained.blocks[1]):
            block.weight.mul_(0.01)
    frozen_head = linear_probe.fit(frozen(copy.deepcopy(trained), CPU), (), TRAIN, VAL, seed=0)
    assert top1(frozen_head) < 80
    assert top1(tuned(trained, tune="head", epochs=20, base_lr=0.4)) < 80
    assert top1(tuned(trained, epochs=20, base_lr=0.4)) > 95
    assert top1(tuned(trained, tune="last", blocks=2, epochs=20, base_lr=0.4)) > 95


class Flat(nn.Module):
    """Pixels [B, 3, h, w] -> features [B, D, 1, 1], D directions of the pixels."""

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions)

    def encode(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.directions.T)[..., None, None]


def test_a_head_on_more_features_than_images_reads_what_the_images_tell():
    """7 images differ in 6 directions; the other 6 of the 12 features are rounding noise on them, not on others."""
    few = Split(TRAIN.images[:7], {"label": TRAIN.targets["label"][:7]})
    pixels = standardise(few.images).flatten(1).double()
    directions = torch.linalg.svd(pixels - pixels.mean(0)).Vh.float()
    less, all_of_it = (tuned(Flat(directions[:count]), train=few, tune="head", epochs=20) for count in (6, 12))
    assert all_of_it.model.scale[6:].eq(0).all()
    features = standardise(TEST.images)
    torch.testing.assert_close(all_of_it.model(features), less.model(features), rtol=1e-3, atol=1e-3)


def test_the_head_alone_solves_what_the_features_show():
    shown = Split(TRAIN.images, {"label": (TRAIN.images[:, 1].float().mean((1, 2)) > 127).long()})
    guess = tuned(network(), train=shown, tune="head", epochs=5)(TEST.images)
    assert torch.equal(guess, (TEST.images[:, 1].float().mean((1, 2)) > 127).long())


def test_classes_are_those_of_train():
    guess = tuned(network())(TEST.images)
    assert guess.dtype == torch.int64
    assert guess.shape == (200,)
    assert set(guess.tolist()) <= {3, 7}


def logits(predict: Classify) -> Tensor:
    with torch.inference_mode():
        return predict.model(TEST.images[:50].float() / 64 - 2)


@pytest.mark.parametrize(("dropout", "settings"), [(0.0, {}), (0.0, {"randaugment": 9}), (0.5, {})])
def test_the_same_seed_gives_the_same_and_leaves_the_global_generator(dropout, settings):
    trained = network(dropout=dropout)
    before = torch.get_rng_state()
    first = logits(tuned(trained, **settings))
    assert torch.equal(torch.get_rng_state(), before)
    with drawing_from(stream(1, "elsewhere")):
        assert torch.equal(logits(tuned(trained, **settings)), first)
    assert not torch.equal(logits(tuned(trained, seed=1, **settings)), first)


@pytest.mark.parametrize(
    "settings",
    [
        {"randaugment": 9},
        {"randaugment": 9, "randaugment_operations": 4},
        {"warmup": 0.5},
        {"layer_decay": 0.5},
        {"weight_decay": 0.5},
        {"label_smoothing": 0.0},
        {"epochs": 3},
    ],
)
def test_every_setting_is_at_work(settings):
    less = {**settings, "randaugment_operations": 1} if len(settings) == 2 else {}
    assert not torch.equal(logits(tuned(network(), **settings)), logits(tuned(network(), **less)))


def test_frozen_parts_have_no_dropout():
    trained = network(dropout=0.5)
    plain = logits(tuned(network(), tune="last"))
    assert torch.equal(logits(tuned(trained, tune="last")), plain)
    assert not torch.equal(
        logits(tuned(trained, tune="last", blocks=2)), logits(tuned(network(), tune="last", blocks=2))
    )


@pytest.mark.parametrize("kind", [Staged, Unstaged])
def test_each_stage_has_its_learning_rate_and_only_matrices_decay(kind):
    model = WithHead(network(kind), torch.zeros(8), torch.ones(8), 2)
    parts = learning_parts(model.variant, "whole", 1, 0.5)
    optimiser = adamw([*parts, (model.head, 1.0)], 0.05, (0.9, 0.999))
    found = {id(weight): group for group in optimiser.param_groups for weight in group["params"]}
    shares = {"embed": 0.125, "blocks.0.0": 0.25, "blocks.1": 0.5} if kind is Staged else {"embed": 1, "blocks.1": 1}
    for name, share in shares.items():
        part = model.variant.get_submodule(name)
        groups = found[id(part.weight)], found[id(part.bias)]
        assert [(group["share"], group["weight_decay"]) for group in groups] == [(share, 0.05), (share, 0.0)]
    assert found[id(model.head.weight)]["share"] == 1
    seen = []

    def loss_of() -> Tensor:
        seen.append({group["share"]: group["lr"] for group in optimiser.param_groups})
        return model(torch.ones(2, 3, 4, 4)).sum()

    descend(loss_of, optimiser, [0.5, 0.25])
    assert seen == [{share: rate * share for share in {*shares.values(), 1}} for rate in (0.5, 0.25)]


FEW = Split(TRAIN.images[:16], {"label": TRAIN.targets["label"][:16]})


@pytest.mark.parametrize("settings", [{"train": FEW, "batch": 16}, {"train": FEW, "batch": 500}, {"fit_images": 16}])
def test_the_peak_is_per_256_images_of_the_batch_in_fact_used(settings):
    predict = tuned(network(), epochs=1, warmup=0.0, base_lr=0.8, **settings)
    bias = predict.model.head.bias.detach()  # from 0, by one step of AdamW: the rate, whatever the gradient
    peak = 0.8 * 16 / 256
    assert bias.abs().tolist() == pytest.approx([peak / 2] * 2, rel=1e-4)  # half-way down the cosine


def test_each_epoch_sees_the_images_augmented_anew():
    seen = []

    class Witness(Staged):
        def encode(self, images: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                seen.append({tuple(image.flatten().tolist()) for image in images})
            return super().encode(images)

    same = Split(FEW.images[:1].expand(16, -1, -1, -1), FEW.targets)
    tuned(network(Witness), train=same)
    assert [len(images) for images in seen] == [1, 1]
    tuned(network(Witness), train=same, randaugment=9)
    assert len(seen) == 4
    assert seen[0] != seen[2] != seen[3]


PICTURES = torch.randint(256, (8, 3, 16, 16), generator=stream(0, "pictures"), dtype=torch.uint8)
MAGNITUDE_9 = partial(rand_augment, magnitude=9, operations=2)


def test_randaugment_changes_each_image_in_its_own_way():
    same = PICTURES[:1].expand(16, -1, -1, -1)
    before = torch.get_rng_state()
    once, twice, other = (MAGNITUDE_9(same, rng=stream(seed, "randaugment")) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (once.dtype, once.shape) == (torch.uint8, same.shape)
    assert torch.equal(once, twice)
    assert not torch.equal(once, other)
    assert len(once.flatten(1).unique(dim=0)) > 8
    assert torch.equal(same[0], PICTURES[0])


def test_magnitude_0_is_off_and_grey_images_are_welcome():
    assert rand_augment(PICTURES, 0, 2, stream(0)) is PICTURES
    assert MAGNITUDE_9(PICTURES[:, :1], rng=stream(0)).shape == (8, 1, 16, 16)
    assert rand_augment(PICTURES, 30, 2, stream(0)).shape == PICTURES.shape


class Slow(Staged):
    """It takes its time when it learns."""

    def encode(self, images: Tensor) -> Tensor:
        time.sleep(0.02 * torch.is_grad_enabled())
        return super().encode(images)


def test_the_costs_are_declared_metrics():
    start = time.perf_counter()
    costs = tuned(network(Slow)).costs
    assert list(METRICS) == ["top1", *costs]
    assert 0.02 * 16 < costs["tune_seconds"] <= time.perf_counter() - start
    assert costs["tune_peak_memory"] > 1


def test_accuracy_is_in_per_cent():
    values = measure(torch.tensor([1, 2, 3, 4]), {"label": torch.tensor([1, 2, 3, 5])})
    assert values == {"top1": 75.0, "top1@floor": 25.0, "top1@ceiling": 100.0}


class Loud(Staged):
    """Its features overflow when it learns."""

    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images) * (torch.inf if self.embed.weight.requires_grad else 1)


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        (Loud, {}, ArithmeticError, r"the tuning loss became nan at step 10; lower the task's base_lr"),
        (Staged, {"base_lr": 1e38, "epochs": 1}, ArithmeticError, "lower the task's base_lr"),
    ],
)
def test_what_cannot_be_tuned_is_said_in_one_line(kind, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        tuned(network(kind), **settings)
    assert "\n" not in str(caught.value)


DEFAULTS = {name: one.default for name, one in signature(fit).parameters.items() if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tune": "last", "stages": None},
            r"has no stages\(\), so its last blocks are unknown; set tune to whole or head",
        ),
        ({"tune": "last", "blocks": 4}, "blocks is 4; set it to 1 to 3, the stages of the variant"),
        ({"blocks": 9}, "blocks is 9; set it to 1 to 3, the stages of the variant"),
        ({"blocks": 0}, "blocks is 0; set it to 1 to 3, the stages of the variant"),
        ({"blocks": 0, "stages": None}, "blocks is 0; set it to 1 or more"),
        ({"randaugment": 31}, "randaugment is 31; set it to 0 to 30"),
        ({"randaugment": -1}, "randaugment is -1; set it to 0 to 30"),
        (
            {"randaugment": 9, "shape": (4, 8, 8)},
            "RandAugment takes images of 1 or 3 channels, not 4; set randaugment to 0",
        ),
        ({"randaugment_operations": 0}, "randaugment_operations is 0; set it to 1 or more"),
        ({"epochs": 0}, "epochs is 0; set it to 1 or more"),
        ({"batch": 0}, "batch is 0; set it to 1 or more"),
        ({"base_lr": 0.0}, "base_lr is 0.0; set it to more than 0"),
        ({"warmup": 1.0}, "warmup is 1.0; set it to 0 or more, below 1"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0; set it to more than 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; set it to 0 or more"),
        ({"label_smoothing": 1.1}, "label_smoothing is 1.1; set it to 0 to 1"),
        ({"fit_images": 0}, "fit_images is 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    given = {"shape": (3, 8, 8), "stages": 3, **DEFAULTS}
    check(**given)
    check(**{**given, "stages": None, "blocks": 7})
    check(**{**given, "shape": (4, 8, 8)})
    with pytest.raises(ValueError, match=f"^.*{message}$" if "set it" in message else message):
        check(**{**given, **changes})


def test_a_weight_that_the_last_step_breaks_is_noticed():
    with drawing_from(stream(0, "layers")):
        broken, sound = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(broken.weight)  # where the square root is finite and its slope is not
    with pytest.raises(ArithmeticError, match="a weight is not finite after the last tuning step"):
        descend(
            lambda: (broken.weight.sqrt() + sound.weight).sum(),
            adamw([(broken, 1.0), (sound, 1.0)], 0.0, (0.9, 0.999)),
            [0.1],
        )
    assert sound.weight.isfinite()


def test_a_variant_without_weights_gets_a_head():
    class Pixels(nn.Module):
        def encode(self, images: Tensor) -> Tensor:
            return images

    predict = tuned(Pixels())
    assert predict.costs["tuned_parameters"] == 3 * 2 + 2
    assert predict(TEST.images).shape == (200,)
