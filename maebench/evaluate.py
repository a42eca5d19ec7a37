"""One frozen encoder x one task -> metrics and guesses; and the cost of the encoder as a task like any other."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split, Variant, standardise
from maebench.plan import Part, RunSpec
from maebench.plugins import ask, find, load
from maebench.records import Metric, ResultRecord
from maebench.training.budget import PASSES
from maebench.training.loop import Training
from maebench.training.timing import Stopwatch, flops_per_image, matmul_rate, middle

COST = Part("cost", {}, "2")
PHASES = ("data", "warmup", "train", "save", "extract", "probe", "eval", "other")


@dataclass(frozen=True)
class Outcome:
    """What one cell found."""

    metrics: tuple[Metric, ...]
    readout: str = ""
    guess: Tensor | None = None
    """[N, ...], float16 where the values fit: the metrics were computed from just these values"""


@dataclass(frozen=True)
class Trained:
    """A trained encoder, as tasks may use it."""

    variant: Variant
    encode: Encode
    seed: int
    clock: Stopwatch

    def timed(self, images: Tensor) -> Tensor:
        """`encode`, its time charged to "extract"."""
        with self.clock.phase("extract"):
            return self.encode(images)

    def trainable(self) -> Variant:
        """A copy on the same device that a task may train."""
        return copy.deepcopy(self.variant).train().requires_grad_()


def evaluate(task: Part, trained: Trained, splits: Mapping[str, Split], plugins: Path | None = None) -> Outcome:
    """Fit the task's read-out on train and val, guess on the test images, measure; the fit never sees the test split.

    Raises ValueError where the task breaks its contract: a row of guesses per image, declared and finite metrics.
    """
    module = load(find("tasks", task.name, plugins))
    to_fit = {"encode": trained.timed, "trainable": trained.trainable, "seed": trained.seed, **task.settings}
    with trained.clock.phase("probe"):
        predict = ask(module.fit, {**to_fit, "train": splits["train"], "val": splits["val"]})
    with trained.clock.phase("eval"):
        return _measure(task, module, predict, splits["test"])


def trains(task: Part, plugins: Path | None = None) -> bool:
    """Whether a task trains a copy of the encoder for itself."""
    return "trainable" in inspect.signature(load(find("tasks", task.name, plugins)).fit).parameters


def _measure(task: Part, module: ModuleType, predict: Predict, test: Split) -> Outcome:
    guess = predict(test.images)
    if len(guess) != len(test.images):
        raise ValueError(f"task {task.name}: {len(guess)} guesses for {len(test.images)} test images; one each is due")
    if guess.is_floating_point() and (half := guess.half()).isfinite().all():
        guess = half  # kept as measured, at half the space
    offered = {"guess": guess.float() if guess.is_floating_point() else guess, "images": test.images}
    values = ask(module.measure, {**task.settings, **offered, "targets": test.targets})
    values = {**values, **getattr(predict, "costs", {})}
    metrics = tuple(_metric(task.name, name, value, module.METRICS) for name, value in values.items())
    if not any(metric.headline for metric in metrics):
        raise ValueError(f"task {task.name}: measure gave no '{next(iter(module.METRICS))}', its headline metric")
    return Outcome(metrics, getattr(predict, "readout", ""), guess)


def _metric(task: str, name: str, value: float, declared: Mapping[str, tuple[str, str]]) -> Metric:
    base = name.split("@")[0]
    if base not in declared:
        raise ValueError(f"task {task}: metric '{name}' is not in METRICS ({', '.join(declared)})")
    if not torch.isfinite(torch.tensor(float(value))):
        raise ValueError(f"task {task}: metric '{name}' is {value}, no finite number")
    unit, better = declared[base]
    if better not in ("higher", "lower"):
        raise ValueError(f"task {task}: METRICS['{base}'] says '{better}'; write 'higher' or 'lower'")
    return Metric(name, float(value), unit, "lower" if better == "lower" else "higher", name == next(iter(declared)))


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
    used = rate and PASSES * flops * rate / (processes * matmul_rate(device, budget["precision"]))
    return Outcome(
        (
            Metric("pretrain_seconds", round(training.trained, 3), "s", "lower", True),
            Metric("images_per_second", rate, "1/s", "higher", True),
            Metric("images_per_second_iqr", spread, "1/s", "lower"),
            Metric("seconds_per_step", rate and budget["batch"] / rate, "s", "lower"),
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


def _seconds(training: Training, phases: Mapping[str, float]) -> Iterator[Metric]:
    for phase in PHASES:
        yield Metric(f"{phase}_seconds", phases.get(phase, 0.0), "s", "lower")
    yield Metric("wall_seconds", sum(phases.values()), "s", "lower")
    for step, spent in sorted(training.snapshots.items()):
        yield Metric(f"pretrain_seconds@step={step}", spent, "s", "lower")


def rows(
    spec: RunSpec,
    task: Part,
    outcome: Outcome | None,
    phases: Mapping[str, float],
    facts: Mapping[str, Any],
    reason: str = "",
) -> list[ResultRecord]:
    """The record rows of one cell: one a metric, or one with the reason of the failure."""
    encoder = spec.encoder
    return [
        ResultRecord(
            run_id=spec.run_id,
            dataset=encoder.dataset.name,
            dataset_settings=encoder.dataset.settings,
            variant=encoder.variant.name,
            settings=encoder.variant.settings,
            masking=encoder.masking.name if encoder.masking else None,
            masking_settings=encoder.masking.settings if encoder.masking else {},
            ratio=encoder.ratio,
            seed=encoder.seed,
            budget=encoder.budget,
            floor=spec.floor,
            task=task.name,
            task_version=int(task.version),
            task_settings=task.settings,
            readout=outcome.readout if outcome else "",
            seconds=sum(phases.values()),
            phases=dict(phases),
            metric=metric,
            status="ok" if outcome else "failed",
            reason=reason,
            provenance=dict(facts),
        )
        for metric in (outcome.metrics if outcome else (None,))
    ]
