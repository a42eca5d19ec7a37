"""One frozen encoder x one task -> metrics and guesses; and the cost of the encoder as a task like any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maebench.batches import standardise
from maebench.contracts import Encode, Split, Variant
from maebench.discovery import ask, find, load
from maebench.plan import Part, RunSpec
from maebench.pretrain import Training
from maebench.records import Metric, ResultRecord
from maebench.timing import flops_per_image

COST = Part("cost", {}, "1")


@dataclass(frozen=True)
class Outcome:
    """What one cell found."""

    metrics: tuple[Metric, ...]
    readout: str = ""
    guess: Tensor | None = None
    """[N, ...], float16 where the values fit: the metrics were computed from just these values"""


def evaluate(task: Part, encode: Encode, splits: Mapping[str, Split], plugins: Path | None = None) -> Outcome:
    """Fit the task's read-out on train and val, guess on the test images, measure; the fit never sees the test split.

    Raises ValueError where the task breaks its contract: a row of guesses per image, declared and finite metrics.
    """
    module = load(find("tasks", task.name, plugins))
    predict = ask(module.fit, {**task.settings, "encode": encode, "train": splits["train"], "val": splits["val"]})
    test = splits["test"]
    guess = predict(test.images)
    if len(guess) != len(test.images):
        raise ValueError(f"task {task.name}: {len(guess)} guesses for {len(test.images)} test images; one each is due")
    if guess.is_floating_point() and (half := guess.half()).isfinite().all():
        guess = half  # kept as measured, at half the space
    offered = {"guess": guess.float() if guess.is_floating_point() else guess, "images": test.images}
    values = ask(module.measure, {**task.settings, **offered, "targets": test.targets})
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


def cost(variant: Variant, training: Training, images: Tensor, device: torch.device) -> Outcome:
    """The cost of an encoder as metrics: a value is None where nothing was measured."""
    batch = standardise(images[:64].to(device))
    parameters = sum(weight.numel() for weight in variant.parameters())
    return Outcome(
        (
            Metric("pretrain_seconds", training.seconds, "s", "lower", True),
            Metric("images_per_second", training.images_per_second, "1/s", "higher", True),
            Metric("images_per_second_iqr", training.images_per_second_iqr, "1/s", "lower"),
            Metric("parameters", float(parameters), "", "lower", True),
            Metric("flops_per_image", flops_per_image(variant, batch), "FLOP", "lower", True),
            Metric("peak_memory", training.peak_memory, "MiB", "lower", True),
            Metric("pretrain_loss", training.loss, "", "lower"),
        )
    )


def rows(
    spec: RunSpec, task: Part, outcome: Outcome | None, seconds: float, facts: Mapping[str, Any], reason: str = ""
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
            seconds=seconds,
            metric=metric,
            status="ok" if outcome else "failed",
            reason=reason,
            provenance=dict(facts),
        )
        for metric in (outcome.metrics if outcome else (None,))
    ]
