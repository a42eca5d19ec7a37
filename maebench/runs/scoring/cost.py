"""What an encoder cost, as the metrics of a task like any other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from maebench.contracts import standardise
from maebench.runs.plan import Plugin, RunSpec
from maebench.runs.provenance import hardware
from maebench.runs.records import Metric
from maebench.runs.scoring.evaluate import Outcome, Trained
from maebench.training.budget import PASSES
from maebench.training.loop import Training
from maebench.training.timing import flops_per_image, matmul_rate, middle

COST = Plugin("cost", {}, "2")
PHASES = ("data", "warmup", "train", "save", "extract", "probe", "eval", "other")


def cost(
    spec: RunSpec,
    trained: Trained,
    training: Training,
    images: Tensor,
    phases: Callable[[], Mapping[str, float]],
    processes: int = 1,
) -> Outcome:
    """The cost of an encoder as metrics: the seconds of its `phases`, and None where nothing was measured."""
    variant, device, budget = trained.variant, trained.clock.device, spec.encoder.budget
    flops = flops_per_image(variant, standardise(images[:64].to(device)))
    declared = getattr(variant, "flops", None)
    rate, spread = middle(training.rates)
    here = training.machines in ([], [hardware(device)])  # the only machine whose rate can be measured
    used = rate and PASSES * flops * rate / (processes * matmul_rate(device, budget.precision)) if here else None
    outcome = Outcome(
        (
            Metric("pretrain_seconds", round(training.trained, 3), "s", "lower", True),
            Metric("images_per_second", rate, "1/s", "higher", True),
            Metric("images_per_second_iqr", spread, "1/s", "lower"),
            Metric("seconds_per_step", rate and budget.batch / rate, "s", "lower"),
            Metric("parameters", float(sum(weight.numel() for weight in variant.parameters())), "", "lower", True),
            Metric("flops_per_image", flops, "FLOP", "lower", True),
            Metric("flops_analytic", declared() if declared else None, "FLOP", "lower"),
            Metric("utilisation", used, "", "higher"),
            Metric(
                "mask_share", training.mask_seconds / training.trained if training.mask_seconds else None, "", "lower"
            ),
            Metric("peak_memory", training.memory, "MiB", "lower", True),
            Metric("peak_memory_reserved", training.reserved, "MiB", "lower"),
            Metric("peak_rss", training.rss, "MiB", "lower"),
            Metric("energy", training.energy, "J", "lower"),
            Metric("steps", float(training.steps), "", "lower"),
            Metric("resumes", float(training.resumes), "", "lower"),
            Metric("pretrain_loss", training.loss, "", "lower"),
            *_seconds(training, phases()),  # last: what was measured here took time too
        )
    )

    return _known_here(outcome) if variant.elsewhere else outcome


def _known_here(outcome: Outcome) -> Outcome:
    """The cost of an encoder that was trained elsewhere: of its training nothing is known."""
    here = {"parameters", "wall_seconds", *(f"{phase}_seconds" for phase in PHASES)}
    metrics = (metric if metric.name in here else replace(metric, value=None) for metric in outcome.metrics)
    return replace(outcome, metrics=tuple(metrics))


def _seconds(training: Training, phases: Mapping[str, float]) -> Iterator[Metric]:
    for phase in PHASES:
        yield Metric(f"{phase}_seconds", phases.get(phase, 0.0), "s", "lower")
    yield Metric("wall_seconds", sum(phases.values()), "s", "lower")
    for step, spent in sorted(training.snapshots.items()):
        yield Metric(f"pretrain_seconds@step={step}", spent, "s", "lower")
