"""Maskings at work in a training: their state survives stops, teachers follow their formula, ratios their schedule."""

from pathlib import Path
from typing import Any

import pytest
import torch
from builders.plugins import CPU, encoder, images, write
from builders.trainings import SHAPE, VIT, StopError, job, stop_at
from torch import Tensor

from maebench.contracts import standardise
from maebench.models.losses import patch_loss, pixel_loss
from maebench.models.patches import hidden_count
from maebench.models.teacher import follow, following, frozen_copy
from maebench.plugins import find
from maebench.runs.build import assemble, hide_by, masker_of, refuse_masks
from maebench.runs.config import full_settings
from maebench.runs.folder import Checkpoints, RunFolder
from maebench.runs.plan import EncoderSpec, Plugin, RunSpec
from maebench.runs.scoring.cost import cost
from maebench.runs.scoring.evaluate import Trained
from maebench.runs.scoring.features import frozen
from maebench.seeding import stream, weights_under
from maebench.theory.closed_form import Corruption, Law, loss, masked
from maebench.training.budget import read_budget
from maebench.training.loop import pretrain
from maebench.training.masker import Masker, MaskingError, ratio_at
from maebench.training.step_cost import masking_seconds, step_flops
from maebench.training.timing import Stopwatch, counted

DEEP = Plugin("vit_mae", {**VIT.settings, "depth": 2}, "")
LEARNING = '''"""Hides what its network says, by no chance; has seen the images and counts in a buffer."""
import torch
from torch import nn

def prepare(images):
    return {"mean": images.float().mean((0, 2, 3))}

def network(shape, grid):
    return nn.Conv2d(shape[0], 1, shape[1] // grid[0], stride=shape[1] // grid[0])

def scores(images, network, prepared):
    return network(images + prepared["mean"][:, None, None] / 255)[:, 0]

def learn(images, network, hidden, patch_loss):
    return (network(images)[:, 0] - patch_loss)[hidden].square().mean()
'''
NEEDS: dict[str, tuple[dict[str, Any], Any]] = {  # what a strategy needs -> one that does, and a ratio
    "progress": ({"uniform": {}}, "0.25 to 0.75"),
    "chance of a ratio": ({"uniform": {}}, "0.25 to 0.75 at random"),
    "attention": ({"attention": {"draw": "chance", "hints": 0.3}}, 0.5),
    "features": ({"parts": {"parts": 2}}, 0.5),
    "network, features and losses": ({"hard": {}}, 0.5),
    "network, images and progress": ({"curriculum": {}}, 0.5),
    "what was prepared": ({"toy_learning": {}}, 0.5),
}


def spec(strategy: dict[str, Any], ratio: Any, folder: Path, **changes: Any) -> EncoderSpec:
    write(folder, "maskings", "toy_learning", LEARNING)
    ((name, settings),) = strategy.items()
    full = full_settings(find("maskings", name, folder), settings, "test")
    return encoder(DEEP, masking=Plugin(name, full, ""), ratio=ratio, **changes)


def train(given: EncoderSpec, folder: Path, **others: Any) -> tuple[dict[str, Tensor], Masker]:
    """Train a tiny ViT under a strategy -> all its weights, and the strategy."""
    masker = masker_of(given, folder)
    variant = assemble(given, SHAPE, folder, masker)
    pretrain(job(variant, given, masker=masker, **others), images(37))
    return variant.state_dict(), masker


def flat(state: Any) -> list[Tensor]:
    """Every tensor of a state, in its order."""
    if isinstance(state, Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [tensor for part in inner for tensor in flat(part)]


def without_keys(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the keys' biases, which change no attention, so that AdamW makes full steps of their rounding."""
    return {name: weight.view(3, -1)[::2] if name.endswith("qkv.bias") else weight for name, weight in weights.items()}


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(flat(one), flat(other), strict=True))


@pytest.mark.parametrize("need", NEEDS)
def test_a_training_that_is_stopped_anywhere_ends_as_if_it_had_not(tmp_path: Path, need: str) -> None:
    given = spec(*NEEDS[need], tmp_path, steps=9, micro_batch=6)
    weights, masker = train(given, tmp_path)
    keep = Checkpoints(RunFolder(tmp_path / "run"), 0.0)  # a checkpoint at every step
    for step in (1, 5):
        with pytest.raises(StopError):
            train(given, tmp_path, keep=keep, on_step=stop_at(step))
    again, other = train(given, tmp_path, keep=keep)
    assert same(again, weights)
    assert same(other.state_dict(), masker.state_dict())
    assert bool(masker.state_dict()) == (need not in ("progress", "chance of a ratio"))


@pytest.mark.parametrize("strategy", [{"attention": {}}, {"toy_learning": {}}], ids=str)
def test_one_and_three_micro_batches_are_one_training(tmp_path: Path, strategy: dict[str, Any]) -> None:
    def end(size: int) -> list[Any]:
        weights, masker = train(spec(strategy, 0.5, tmp_path, steps=4, micro_batch=size), tmp_path)
        state = {name: part for name, part in masker.state_dict().items() if name != "optimiser"}
        return [without_keys(weights), {**state, "teacher": without_keys(state.get("teacher", {}))}]

    parts = [end(size) for size in (16, 6)]
    for one, other in zip(*parts, strict=True):
        for mine, theirs in zip(flat(one), flat(other), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_a_teacher_is_the_formula_without_gradient_and_its_weights_are_nobodys(tmp_path: Path) -> None:
    given = spec({"attention": {}}, 0.5, tmp_path, steps=30)
    masker = masker_of(given, tmp_path)
    variant = assemble(given, SHAPE, tmp_path, masker)
    wanted = [weight.detach().clone() for weight in variant.parameters()]
    kept: list[list[Tensor]] = []

    def note(step: int, of: int) -> None:
        decay = max(0.0, 1 - 1 / 30 / 0.05)
        for teacher, weight in zip(wanted, variant.parameters(), strict=True):
            teacher.mul_(decay).add_((1 - decay) * weight.detach())
        kept.append([weight.clone() for weight in masker.teacher.parameters()])
        if step == 3:
            raise StopError

    with pytest.raises(StopError):
        pretrain(job(variant, given, masker=masker, on_step=note), images(37))
    for teacher, weight in zip(kept[2], wanted, strict=True):
        torch.testing.assert_close(teacher, weight, rtol=0, atol=1e-6)
    assert not any(weight.requires_grad for weight in masker.teacher.parameters())
    assert not masker.weights
    assert not {"teacher"} & {name.split(".")[0] for name in variant.state_dict()}


def test_a_config_says_how_far_back_a_teacher_goes(tmp_path: Path) -> None:
    def last(memory: float | None) -> Tensor:
        weights, masker = train(spec({"attention": {}}, 0.5, tmp_path, steps=3, memory=memory), tmp_path)
        return torch.cat(
            [(weights[name] - kept).flatten() for name, kept in masker.teacher.state_dict().items()]
        ).norm()

    assert last(0.3) == 0  # a step of three uses more of the budget
    assert last(None) == last(0.05) == 0
    assert last(2.0) > last(1.0) > 0


def test_a_teacher_forgets_within_its_memory() -> None:
    with weights_under(0, "students"):
        student, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    teacher = frozen_copy(student)
    follow(teacher, other, advance=0.2, memory=0.1)
    assert torch.equal(teacher.weight, other.weight)
    follow(teacher, student, advance=0.0)
    assert torch.equal(teacher.weight, other.weight)


def test_attention_is_what_the_last_block_weighs_with(tmp_path: Path) -> None:
    variant = assemble(spec({"attention": {}}, 0.5, tmp_path), SHAPE, tmp_path)
    pixels = standardise(images(5, SHAPE))
    with torch.no_grad():
        seen = variant.attention(pixels)  # type: ignore[operator]
        block, tokens = variant.encoder.blocks[-1], variant.encoder.embed(_patches(pixels)) + variant.encoder.positions  # type: ignore[union-attr,operator,index]
        tokens = block.norm1(variant.encoder.blocks[:-1](tokens))  # type: ignore[union-attr,operator,index]
        q, k, v = block.qkv(tokens).chunk(3, 2)  # type: ignore[union-attr,operator]
        heads = [
            torch.softmax(a @ b.transpose(1, 2) / a.shape[2] ** 0.5, 2)
            for a, b in zip(q.chunk(4, 2), k.chunk(4, 2), strict=True)
        ]
        torch.testing.assert_close(seen.flatten(1), torch.stack(heads).mean((0, 2)))
        read = torch.cat([weights @ part for weights, part in zip(heads, v.chunk(4, 2), strict=True)], 2)
        torch.testing.assert_close(block.attend(tokens, 0), read)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(seen.sum((1, 2)), torch.ones(5))


def _patches(pixels: Tensor) -> Tensor:
    return torch.nn.functional.pixel_unshuffle(pixels, 4).flatten(2).transpose(1, 2)


def test_the_error_of_each_patch_is_the_loss_by_patch(tmp_path: Path) -> None:
    variant = assemble(spec({"uniform": {}}, 0.5, tmp_path), SHAPE, tmp_path)
    pixels = standardise(images(5, SHAPE))
    result, told = variant.reconstruct(pixels, stream(0)), []
    hidden = result.scored[:, 0, ::4, ::4]
    loss = patch_loss(_patches(result.painted - pixels), hidden, told.append)
    (errors,) = told
    assert torch.equal(errors.isnan(), ~hidden)
    torch.testing.assert_close(errors.nanmean((1, 2)).mean(), pixel_loss(result, pixels))
    torch.testing.assert_close(loss, pixel_loss(result, pixels))
    assert not errors.requires_grad


def test_a_schedule_goes_from_one_ratio_to_the_other_and_counts_follow() -> None:
    assert [ratio_at("0.5 to 0.9", progress, 0.3) for progress in (0, 0.5, 1)] == pytest.approx([0.5, 0.7, 0.9])
    assert ratio_at("0.1 to 0.9 at random", 0.2, 0.5) == pytest.approx(0.5)
    masker = Masker(None, "0.5 to 0.9")
    seen: list[tuple[float, int]] = []

    def note() -> float:
        seen.append((masker.ratio, masker.count((8, 8))))
        return masker.ratio

    assert masker.mean(note) == pytest.approx(0.7)
    assert seen == [(pytest.approx(ratio), hidden_count(ratio, 64)) for ratio in (0.54, 0.62, 0.7, 0.78, 0.86)]
    assert masker.ratio == pytest.approx(0.9)


def test_a_schedule_draws_a_ratio_each_step_and_charges_the_mean(tmp_path: Path) -> None:
    ratios: list[float] = []

    class Noted(Masker):
        def begin(self, progress: float, share: float) -> None:
            super().begin(progress, share)
            ratios.append(self.ratio)

    given = spec({"uniform": {}}, "0.25 to 0.75 at random", tmp_path, steps=40)
    masker = Noted(masker_of(given, tmp_path).strategy, "0.25 to 0.75 at random")
    pretrain(job(assemble(given, SHAPE, tmp_path, masker), given, masker=masker), images(37))
    steps = ratios[1:-1]
    assert (len(set(steps)), min(steps) >= 0.25, max(steps) <= 0.75) == (40, True, True)
    assert max(steps) - min(steps) > 0.4
    assert read_budget(given.budget.content()) == given.budget


@pytest.mark.parametrize("low", [0.1, 0.5])
def test_a_random_ratio_is_the_linear_theory_averaged_over_it(low: float) -> None:
    """E over masks and ratios of ||x - A x~||^2 against q, S of the mixture, for any linear map A."""
    high, grid, draws = 0.9, (4, 8), 4000
    d, rng = 32, stream(0, "theory")
    factor, A = torch.randn(2, d, d, generator=rng, dtype=torch.float64) / d**0.5
    C = factor @ factor.T
    masker = Masker(
        masker_of(encoder(DEEP, masking=Plugin("bernoulli", {}, ""), ratio=0.5)).strategy, f"{low} to {high} at random"
    )
    total = torch.zeros(draws, dtype=torch.float64)
    for draw in range(draws):
        masker.begin(0.5, (draw + 0.5) / draws)
        seen = ~masker.hide(torch.zeros(1, 1, 4, 8), grid, rng)[0].flatten()
        left = torch.eye(d, dtype=torch.float64) - A * seen
        total[draw] = (left @ factor).square().sum()
    mean, square = 1 - (low + high) / 2, (1 - (low + high) / 2) ** 2 + (high - low) ** 2 / 12
    mixture: Corruption = masked(C, torch.arange(d), Law(mean, square, mean - square))
    assert float(total.mean()) == pytest.approx(loss(A, C, mixture), abs=4 * float(total.std()) / draws**0.5)
    assert hide_by(Plugin("bernoulli", {}, ""), 0.5)(torch.zeros(1, 1, 4, 8), grid, rng).shape == (1, *grid)


def test_a_step_is_charged_its_teacher_once_and_its_network_three_times(tmp_path: Path) -> None:
    pixels, found = standardise(images(4, SHAPE)), {}
    for strategy in ({"uniform": {}}, {"parts": {"parts": 2}}, {"adversary": {}}):
        given = spec(strategy, 0.5, tmp_path)
        masker = masker_of(given, tmp_path)
        variant = assemble(given, SHAPE, tmp_path, masker)
        weights = [weight.clone() for weight in (*variant.parameters(), *masker.weights)]
        found[next(iter(strategy))] = step_flops(variant, masker, pixels)
        assert masking_seconds(variant, masker, pixels) > 0
        assert all(weight.grad is None for weight in (*variant.parameters(), *masker.weights))
        assert same(weights, [*variant.parameters(), *masker.weights])
    whole, none = found["uniform"]
    encode = counted(lambda: variant.encode(pixels)) / 4
    grouping = 10 * 2 * 4 * 2 * 16 * 2  # ten rounds: distances to, and sums of, two parts of 4 patches of 16 features
    assert none == 0
    assert found["parts"][0] - whole == pytest.approx(encode, rel=0.02, abs=grouping)
    assert found["parts"][1] == pytest.approx(found["parts"][0] - whole)
    network = counted(lambda: masker.network(pixels)) / 4  # type: ignore[misc]
    first = 2 * 32 * 48 * 4  # the embedding, whose images need no gradient
    assert found["adversary"][1] == pytest.approx(network + 3 * network - first)
    assert found["adversary"][0] - whole == pytest.approx(found["adversary"][1])


def test_a_copy_that_follows_is_never_thawed_and_counts_as_a_teacher(tmp_path: Path) -> None:
    variant = assemble(spec({"uniform": {}}, 0.5, tmp_path), SHAPE, tmp_path)
    variant.teacher = frozen_copy(variant.encoder)  # type: ignore[arg-type]
    teacher = {id(weight) for weight in following(variant)}
    assert teacher == {id(weight) for weight in variant.teacher.parameters()}
    tuned = Trained(variant, frozen(variant, CPU), 0, Stopwatch(CPU)).trainable()
    thawed = {id(weight) for weight in tuned.parameters() if weight.requires_grad}
    assert thawed == {id(weight) for weight in tuned.parameters()} - {id(weight) for weight in following(tuned)}


def test_a_strategy_that_watches_needs_a_variant() -> None:
    full = full_settings(find("maskings", "attention"), {}, "test")
    with pytest.raises(ValueError, match=r"^masking attention watches a variant or learns, but was given none"):
        hide_by(Plugin("attention", full, ""), 0.5)(standardise(images(2, SHAPE)), (2, 2), stream(0))


def test_what_a_changing_ratio_hides_is_recorded_as_its_mean(tmp_path: Path) -> None:
    shares = {}
    for ratio in (0.5, "0.25 to 0.75"):
        given = spec({"uniform": {}}, ratio, tmp_path, steps=4)
        masker = masker_of(given, tmp_path)
        variant = assemble(given, (3, 32, 32), tmp_path, masker)
        training = pretrain(job(variant, given, masker=masker), data := images(64, (3, 32, 32)))
        trained = Trained(variant, frozen(variant, CPU), 0, Stopwatch(CPU), masker=masker)
        found = cost(RunSpec(given, (), floor=False), trained, training, data, dict)
        shares[ratio] = {metric.name: metric.value for metric in found.metrics}
    for name in ("hidden_share", "visible_tokens", "flops_per_image", "flops_analytic", "flops_step"):
        assert shares["0.25 to 0.75"][name] == pytest.approx(shares[0.5][name], rel=0.05), name


def test_an_encoder_without_attention_is_refused_as_a_setting_is(tmp_path: Path) -> None:
    flat = Plugin("vit_mae", {**VIT.settings, "depth": 0}, "")
    given = encoder(flat, masking=spec({"attention": {}}, 0.5, tmp_path).masking, ratio=0.5)
    with pytest.raises(MaskingError, match=r"^masking attention: an encoder of depth 0 has no attention$"):
        refuse_masks(assemble(given, SHAPE, tmp_path), images(2, SHAPE))
