"""What an encoder cost, as the metrics of a task like any other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.models.teacher import following
from maebench.runs.plan import Plugin, RunSpec
from maebench.runs.provenance import hardware
from maebench.runs.records import Metric
from maebench.runs.scoring.evaluate import Outcome, Trained
from maebench.runs.scoring.features import frozen
from maebench.tasks.readouts.dense import CHUNK
from maebench.training.loop import Training
from maebench.training.step_cost import masking_seconds, step_flops
from maebench.training.timing import flops_per_image, matmul_rate, middle
from maebench.training.visible import visible_share, visible_tokens

COST = Plugin("cost", {}, "4")
SAMPLE = 500  # images that tell the effective rank
PHASES = ("data", "warmup", "train", "save", "extract", "probe", "eval", "other")


def cost(
    spec: RunSpec,
    trained: Trained,
    training: Training,
    images: Tensor,
    phases: Callable[[], Mapping[str, float]],
    processes: int = 1,
    untrained: Variant | None = None,
) -> Outcome:
    """The cost of an encoder as metrics: the seconds of its `phases`, and None where nothing was measured.

    `untrained` is the variant as it was before a training by gradient, which tells whether that has collapsed.
    """
    variant = trained.variant
    sample = standardise(images[:64].to(trained.clock.device))
    outcome = Outcome(
        (
            *_pace(spec, trained, training, images, processes),
            *_parameters(trained),
            Metric("peak_memory", training.memory, "MiB", "lower", True),
            Metric("peak_memory_reserved", training.reserved, "MiB", "lower"),
            Metric("peak_rss", training.rss, "MiB", "lower"),
            Metric("energy", training.energy, "J", "lower"),
            Metric("steps", float(training.steps), "", "lower"),
            Metric("resumes", float(training.resumes), "", "lower"),
            *_learnt(trained, training, sample, images, untrained),
            *_seconds(training, phases()),  # last: what was measured here took time too
        )
    )
    return _known_here(outcome) if variant.elsewhere else outcome


def _pace(spec: RunSpec, trained: Trained, training: Training, images: Tensor, processes: int) -> Iterator[Metric]:
    """Seconds, and what was done in them."""
    device, budget = trained.clock.device, spec.encoder.budget
    part = standardise(images[budget.micro_batches[0]].to(device))
    variant, masker = trained.variant, trained.masker
    flops, declared = masker.mean(lambda: flops_per_image(variant, part[:2])), getattr(variant, "flops", None)
    step, masking = step_flops(variant, masker, part[:2]) if budget.trained else (None, None)
    rate, spread = middle(training.rates)
    here = training.machines in ([], [hardware(device)])  # the only machine whose rate can be measured
    spent = rate and step and step * rate / processes
    used = spent / matmul_rate(device, budget.precision) if spent and here else None
    calls = len(budget.micro_batches) * training.steps / processes
    masks = masking_seconds(variant, masker, part) * calls if here and budget.trained else None
    yield Metric("pretrain_seconds", round(training.trained, 3), "s", "lower", True)
    yield Metric("images_per_second", rate, "1/s", "higher", True)
    yield Metric("images_per_second_iqr", spread, "1/s", "lower")
    yield Metric("seconds_per_step", rate and budget.batch / rate, "s", "lower")
    yield Metric("flops_per_image", flops, "FLOP", "lower", True)
    yield Metric("flops_analytic", masker.mean(declared) if declared else None, "FLOP", "lower")
    yield Metric("flops_step", step, "FLOP", "lower")
    yield Metric("masking_flops", masking, "FLOP", "lower")
    yield Metric("prepare_flops", training.prepare_flops if budget.trained else None, "FLOP", "lower")
    yield Metric("utilisation", used, "", "higher")
    yield Metric("masking_seconds", masks, "s", "lower")
    yield Metric("mask_share", masks and masks / training.trained, "", "lower")


def _parameters(trained: Trained) -> Iterator[Metric]:
    """What learns, and what else is kept: teachers, and the network of the masks."""
    weights, teachers = [*trained.variant.parameters()], following(trained.variant)
    masker, numbers = trained.masker, [weight.numel() for weight in teachers]
    if masker.teacher is not None:
        numbers += [weight.numel() for weight in masker.teacher.parameters()]
    learn = sum(weight.numel() for weight in weights) - sum(weight.numel() for weight in teachers)
    yield Metric("parameters", float(learn), "", "lower", True)
    yield Metric("parameters_teacher", float(sum(numbers)), "", "lower")
    yield Metric("parameters_masking", float(sum(weight.numel() for weight in masker.weights)), "", "lower")


def _learnt(
    trained: Trained, training: Training, sample: Tensor, images: Tensor, untrained: Variant | None
) -> Iterator[Metric]:
    """Whether a training went well, and how much it saw, as other maskings have to see for a fair comparison.

    Ours: "collapsed" is 1 where features have less than half the effective rank of untrained ones, or the loss rose.
    """
    rank, first, last = effective_rank(trained.encode(images[:CHUNK])[:SAMPLE]), training.first_loss, training.loss
    yield Metric("pretrain_loss", last, "", "lower")
    yield Metric("pretrain_loss_first", first, "", "lower")
    yield Metric("effective_rank", rank, "", "higher")
    if untrained:
        before = effective_rank(frozen(untrained, trained.clock.device)(images[:SAMPLE]))
        rose = first is not None and last is not None and last > first
        yield Metric("effective_rank_untrained", before, "", "higher")
        yield Metric("collapsed", float(rose or rank < before / 2), "", "lower")
    hidden = 1 - trained.masker.mean(lambda: visible_share(trained.variant, sample))
    yield Metric("hidden_share", hidden, "", "higher", True)
    yield Metric("visible_tokens", trained.masker.mean(lambda: visible_tokens(trained.variant, sample)), "", "lower")


def effective_rank(features: Tensor) -> float:
    """Of features [N, D, h, w]: in how many directions they vary between images, position by position.

    exp of the entropy of the shares of variance of their principal components; the mean at each position is removed
    first, or positions alone would count. Source: Roy and Vetterli 2007, as RankMe (Garrido et al. 2023) uses it. 0
    where no image differs.
    """
    rows = (features - features.mean(0)).movedim(1, 3).flatten(0, 2)
    small = rows.T @ rows if rows.shape[1] <= len(rows) else rows @ rows.T
    shares = torch.linalg.eigvalsh(small.double()).clamp(min=0)
    if not shares.sum():
        return 0.0
    shares = shares[shares > 0] / shares.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _known_here(outcome: Outcome) -> Outcome:
    """The cost of an encoder that was trained elsewhere: of its training nothing is known."""
    here = {"parameters", "effective_rank", "wall_seconds", *(f"{phase}_seconds" for phase in PHASES)}
    metrics = (metric if metric.name in here else replace(metric, value=None) for metric in outcome.metrics)
    return replace(outcome, metrics=tuple(metrics))


def _seconds(training: Training, phases: Mapping[str, float]) -> Iterator[Metric]:
    for phase in PHASES:
        yield Metric(f"{phase}_seconds", phases.get(phase, 0.0), "s", "lower")
    yield Metric("wall_seconds", sum(phases.values()), "s", "lower")
    for step, spent in sorted(training.snapshots.items()):
        yield Metric(f"pretrain_seconds@step={step}", spent, "s", "lower")
