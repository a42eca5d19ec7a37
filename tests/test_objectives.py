"""Objectives that remember: variants that prepare, whose targets come from a teacher, or that predict a share."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.plugins import config, encoder, images, write_all
from builders.trainings import SHAPE, StopError, job, stop_at
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Variant, standardise
from maebench.models.losses import smooth_absolute, uniformity_loss
from maebench.models.patches import hidden_count, hide_top
from maebench.models.scorers import order_loss, policy_loss
from maebench.plugins import find
from maebench.runs.build import assemble, masker_of, seeded
from maebench.runs.config import full_settings
from maebench.runs.folder import Checkpoints, RunFolder
from maebench.runs.plan import EncoderSpec, Plugin, make
from maebench.runs.scoring.evaluate import Trained
from maebench.runs.scoring.features import frozen
from maebench.seeding import stream
from maebench.training.loop import pretrain
from maebench.training.step_cost import step_flops
from maebench.training.timing import Stopwatch, flops_per_image

SMALL = {"patch": 4, "width": 16, "depth": 2}
NEEDS: dict[str, tuple[str, dict[str, Any]]] = {  # what a variant needs -> one that does
    "prepare": ("vit_mae", {"target": "pca"}),
    "a share that chance predicts": ("vit_cross", {"predicted": 0.5}),
    "a teacher that follows": ("vit_latent", {}),
    "two stages": ("vit_latent", {"teacher": "stages"}),
    "a teacher that is read": ("vit_jepa", {}),
    "components of images": ("vit_pmae", {}),
}


def plugin(name: str, settings: dict[str, Any]) -> Plugin:
    return Plugin(name, full_settings(find("variants", name), {**SMALL, **settings}, "test"), "")


def spec(name: str, settings: dict[str, Any], masking: str = "uniform", **changes: Any) -> EncoderSpec:
    if "hide" not in find("variants", name).asks:
        return encoder(plugin(name, settings), **changes)
    mask = Plugin(masking, full_settings(find("maskings", masking), {}, "test"), "")
    return encoder(plugin(name, settings), masking=mask, ratio=0.5, **changes)


def train(given: EncoderSpec, **others: Any) -> dict[str, Tensor]:
    masker = masker_of(given)
    variant = assemble(given, SHAPE, None, masker)
    pretrain(job(variant, given, masker=masker, **others), images(37))
    return {**variant.state_dict(), **{f"masks {name}": value for name, value in _teacher(masker).items()}}


def _teacher(masker: Any) -> dict[str, Tensor]:
    return masker.teacher.state_dict() if masker.teacher is not None else {}


@pytest.mark.parametrize("need", NEEDS)
def test_a_training_that_is_stopped_anywhere_ends_as_if_it_had_not(tmp_path: Path, need: str) -> None:
    given = spec(*NEEDS[need], steps=9, micro_batch=6)
    weights = train(given)
    keep = Checkpoints(RunFolder(tmp_path / "run"), 0.0)  # a checkpoint at every step
    for step in (1, 5):
        with pytest.raises(StopError):
            train(given, keep=keep, on_step=stop_at(step))
    again = train(given, keep=keep)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    "need", [need for need in NEEDS if need not in ("components of images", "a share that chance predicts")]
)
def test_one_and_three_micro_batches_are_one_training(need: str) -> None:
    whole, parts = (train(spec(*NEEDS[need], masking="attention", steps=3, micro_batch=size)) for size in (16, 6))
    for name, weight in whole.items():
        if name.endswith("qkv.bias"):  # of which the keys' change nothing, so that AdamW makes steps of their rounding
            weight, parts[name] = (bias.view(3, -1)[::2] for bias in (weight, parts[name]))
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=1e-5, msg=name)


def built(name: str, ratio: float = 0.5, **settings: Any) -> Variant:
    def hide(pixels: Tensor, grid: tuple[int, int], rng: torch.Generator) -> Tensor:
        return hide_top(torch.rand(len(pixels), *grid, generator=rng), ratio, rng)

    offered = {"hide": hide, "count": lambda grid: hidden_count(ratio, grid[0] * grid[1]), "report": None}
    return seeded(find("variants", name), {"shape": (3, 16, 16), **offered, **SMALL, **settings}, 0)


PIXELS = standardise(images(6, (3, 16, 16)))


def test_a_random_teacher_never_moves_and_a_following_one_is_the_formula() -> None:
    for kind, moved in (("random", 0.0), ("ema", 0.4)):
        variant = built("vit_latent", teacher=kind, memory=0.5 if kind == "ema" else None)
        before = [weight.clone() for weight in variant.teacher.parameters()]  # type: ignore[union-attr,operator]
        student = variant.encoder.parameters()  # type: ignore[union-attr,operator]
        same = [torch.equal(one, other) for one, other in zip(before, student, strict=True) if one.ndim > 1]
        assert set(same) == {kind == "ema"}, "a fixed teacher is another draw"
        with torch.no_grad():
            for weight in variant.encoder.parameters():  # type: ignore[union-attr,operator]
                weight.add_(1.0)
        variant.after_step(progress=0.3, advance=0.2)  # type: ignore[operator]
        for weight, old in zip(variant.teacher.parameters(), before, strict=True):  # type: ignore[union-attr,operator]
            torch.testing.assert_close(weight, old + moved)
            assert not weight.requires_grad


def test_in_the_second_stage_the_teacher_is_the_student_that_was_and_the_student_is_new() -> None:
    given = spec("vit_latent", {"teacher": "stages"}, steps=8)
    states: list[dict[str, Tensor]] = []
    masker = masker_of(given)
    variant = assemble(given, SHAPE, None, masker)
    first = {name: weight.clone() for name, weight in variant.state_dict().items()}

    def note(step: int, of: int) -> None:
        states.append({name: weight.clone() for name, weight in variant.state_dict().items()})

    pretrain(job(variant, given, masker=masker, on_step=note), images(37))
    teachers = [[state[name] for name in state if name.startswith("teacher.")] for state in states]
    changes = [any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(teachers)]
    assert changes.count(True) == 1
    switch = changes.index(True) + 1  # the step after which it has changed
    student = states[switch]
    drawn = {name: weight for name, weight in student.items() if name.startswith("encoder.")}
    assert not any(torch.equal(weight, first[name]) for name, weight in drawn.items() if weight.ndim > 1)
    assert abs(switch - 4) <= 1
    assert all(torch.equal(states[0][name], first[name]) for name in first if name.startswith("teacher."))


def test_the_target_of_latents_is_the_mean_of_normalised_blocks() -> None:
    variant = built("vit_latent")
    tokens = variant.teacher.embedded(PIXELS)  # type: ignore[union-attr,operator]
    for block in variant.teacher.blocks:  # type: ignore[union-attr]
        tokens = block(tokens)
    normal = (tokens - tokens.mean(1, keepdim=True)) / (tokens.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    wanted = (normal - normal.mean(2, keepdim=True)) / (normal.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(variant.targets(PIXELS), wanted, rtol=1e-4, atol=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["vit_latent", "vit_jepa"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.99])
def test_the_loss_is_the_error_of_what_reconstruct_predicts(name: str, ratio: float) -> None:
    variant = built(name, ratio)
    result = variant.reconstruct(PIXELS, stream(0))
    wanted = variant.targets(PIXELS).view(6, 4, 4, -1)  # type: ignore[operator]
    error = torch.square if name == "vit_latent" else partial(smooth_absolute, beta=1.0)
    errors = error(result.predicted - wanted).mean(3)[result.scored[:, 0, ::4, ::4]].view(6, -1)
    torch.testing.assert_close(variant.loss(PIXELS, stream(0)), errors.mean())


def test_a_smooth_absolute_error_is_a_parabola_then_a_line() -> None:
    gap = torch.tensor([0.0, 1.0, -2.0, 3.0])
    assert smooth_absolute(gap, 2.0).tolist() == [0, 0.25, 1, 2]
    torch.testing.assert_close(smooth_absolute(gap, 1.0), functional.huber_loss(gap, 0 * gap, reduction="none"))


def test_fine_tuning_trains_the_teacher_where_that_is_what_encodes() -> None:
    for encode in ("teacher", "student"):
        variant = built("vit_jepa", encode=encode)
        copy = Trained(variant, frozen(variant, torch.device("cpu")), 0, Stopwatch(torch.device("cpu"))).trainable()
        learns = [weight.requires_grad for weight in copy.teacher.parameters()]  # type: ignore[union-attr,operator]
        assert set(learns) == {encode == "teacher"}
        copy.encode(PIXELS).sum().backward()
        assert all(weight.grad is not None for stage in copy.stages() for weight in stage.parameters())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("ratio", "predicted", "asked"), [(0.75, 1.0, 12), (0.75, 0.5, 6), (0.75, 0.01, 1), (0.0, 0.5, 16)]
)
def test_cross_attention_predicts_the_share_of_the_hidden_patches(ratio: float, predicted: float, asked: int) -> None:
    variant = built("vit_cross", ratio, predicted=predicted)
    hidden, chosen = variant.masks(PIXELS, stream(0))  # type: ignore[operator]
    scored = variant.reconstruct(PIXELS, stream(0)).scored[:, 0, ::4, ::4]
    assert torch.equal(scored, variant.on_grid(chosen))  # type: ignore[operator]
    assert (scored.flatten(1).sum(1) == asked).all()
    assert ratio == 0 or hidden[scored].all()
    assert not torch.equal(scored[0], scored[1]) or predicted == 1 or asked in (1, 16)


def test_predictions_by_cross_attention_do_not_depend_on_what_else_is_asked() -> None:
    whole, few = built("vit_cross", decoder_depth=2), built("vit_cross", decoder_depth=2, predicted=0.25)
    few.load_state_dict(whole.state_dict())
    hidden, asked = few.masks(PIXELS, stream(0))  # type: ignore[operator]
    some = few.decoder(few.look(PIXELS, hidden), asked)  # type: ignore[operator]
    every = whole.decoder(whole.look(PIXELS, hidden), torch.arange(16).expand(6, -1))  # type: ignore[operator]
    torch.testing.assert_close(some, every.gather(1, asked[..., None].expand_as(some)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vit_cross", {"predicted": 0.4, "decoder_depth": 2}),
        ("vit_latent", {}),
        ("vit_jepa", {}),
        ("vit_mae", {"target": "hog"}),
    ],
)
def test_operations_by_formula_are_those_counted(name: str, settings: dict[str, Any]) -> None:
    variant = built(name, 0.75, **settings)
    counted = flops_per_image(variant, PIXELS[:2])
    extra = 2 * 9 * 2 * 3 * 16 * 16 if settings.get("target") == "hog" else 0  # two filters of 9 values a channel
    assert counted == variant.flops() + extra  # type: ignore[operator]


def test_a_step_charges_the_teacher_of_a_variant_once() -> None:
    given = spec("vit_latent", {})
    masker = masker_of(given)
    variant = assemble(given, SHAPE, None, masker)
    pixels = standardise(images(2))
    teacher = variant.teacher.flops(4)  # type: ignore[union-attr,operator]
    rest = variant.flops() - teacher  # type: ignore[operator]
    step, _ = step_flops(variant, masker, pixels)
    assert step == pytest.approx(3 * rest + teacher, rel=0.05)  # no gradient of the images


@pytest.mark.parametrize(("name", "settings"), [("vit_pmae", {}), ("vit_mae", {"target": "hog"})])
def test_what_is_prepared_is_charged(name: str, settings: dict[str, Any]) -> None:
    given = spec(name, settings, steps=2)
    masker = masker_of(given)
    training = pretrain(job(assemble(given, SHAPE, None, masker), given, masker=masker), images(37))
    d = 3 * 8 * 8  # the covariance of 37 images, and its eigenvectors
    assert training.prepare_flops == (2 * 37 * d**2 + 9 * d**3 if name == "vit_pmae" else 0)


@pytest.mark.parametrize("settings", [{"widths": [8, 16], "depths": [1, 1]}, {"widths": [16], "depths": [1]}], ids=str)
def test_a_step_of_convolutions_is_charged_three_passes(settings: dict[str, Any]) -> None:
    declared = full_settings(find("variants", "conv_mae"), {**settings, "decoder_width": 8}, "test")
    given = encoder(Plugin("conv_mae", declared, ""), masking=Plugin("uniform", {}, ""), ratio=0.5)
    masker = masker_of(given)
    variant, pixels = assemble(given, SHAPE, None, masker), standardise(images(2))
    step, _ = step_flops(variant, masker, pixels)
    assert step == pytest.approx(3 * flops_per_image(variant, pixels), rel=0.1)  # no gradient of the images


def test_micro_batches_of_a_loss_that_couples_images_are_refused(tmp_path: Path) -> None:
    def plan(uniformity: float, **pretrain: Any) -> Any:
        changes = {
            "variants": [{"vit_mae": {"uniformity": uniformity}}],
            "pretrain": {"steps": 5, "batch": 8, **pretrain},
        }
        return make(config(changes), "my.yaml", write_all(tmp_path))

    with pytest.raises(ValueError, match=r"my.yaml: vit_mae compares the images of a batch.*micro_batch"):
        plan(0.01, micro_batch=4)
    assert plan(0.01)
    assert plan(0.0, micro_batch=4)


def test_a_task_on_painted_pixels_is_left_out_where_none_are_painted(tmp_path: Path) -> None:
    def tasks(variant: Any) -> list[str]:
        tracks = [{"dataset": "toy_shapes", "tasks": ["toy_labels", "reconstruction"]}]
        specs = make(config({"tracks": tracks, "variants": [variant]}), "my.yaml", write_all(tmp_path))
        (found,) = {tuple(task.name for task in one.tasks) for one in specs}
        return list(found)

    assert tasks("vit_jepa") == tasks({"vit_mae": {"target": "hog"}}) == ["toy_labels"]
    assert tasks({"vit_mae": {"target": "pca"}}) == ["toy_labels", "reconstruction"]


@pytest.mark.parametrize("steps", [5, 8, 13, 29])
def test_a_second_stage_begins_once(steps: int) -> None:
    given = spec("vit_latent", {"teacher": "stages"}, steps=steps)
    masker = masker_of(given)
    variant = assemble(given, SHAPE, None, masker)
    teachers: list[Tensor] = []
    note = lambda step, of: teachers.append(variant.teacher.embed.weight.clone())  # type: ignore[union-attr]  # noqa: E731
    pretrain(job(variant, given, masker=masker, on_step=note), images(37))
    assert sum(not torch.equal(one, other) for one, other in pairwise(teachers)) == 1


def test_what_is_hidden_and_not_scored_teaches_a_strategy_nothing() -> None:
    guess, hidden = torch.randn(2, 4, 4, generator=stream(0)), torch.ones(2, 4, 4, dtype=torch.bool)
    truth = torch.randn(2, 4, 4, generator=stream(1))
    told = torch.rand(2, 4, 4, generator=stream(2)) < 0.5
    partly = truth.masked_fill(~told, torch.nan)
    torch.testing.assert_close(order_loss(guess, partly, hidden), order_loss(guess, truth, told))
    torch.testing.assert_close(policy_loss(guess, partly, hidden), policy_loss(guess, partly, told))


def test_under_autocast_two_images_are_no_more_alike_than_they_are() -> None:
    codes = torch.randn(8, 16, generator=stream(0)) + 3
    with torch.autocast("cpu", torch.bfloat16):
        found = uniformity_loss(codes)
    torch.testing.assert_close(found, uniformity_loss(codes))
