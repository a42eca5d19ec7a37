"""One frozen encoder x one task -> metrics and guesses."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split, Variant, standardise
from maebench.plugins import ask, find, load
from maebench.runs.plan import Plugin
from maebench.runs.records import Metric
from maebench.training.timing import Stopwatch


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


def evaluate(task: Plugin, trained: Trained, splits: Mapping[str, Split], plugins: Path | None = None) -> Outcome:
    """Fit the task's read-out on train and val, guess on the test images, measure; the fit never sees the test split.

    Raises ValueError where the task refuses, or breaks its contract: a row of guesses per image, declared and finite
    metrics.
    """
    module, splits = load(find("tasks", task.name, plugins)), {name: _own(split) for name, split in splits.items()}
    refuse(task, known(trained.variant, splits["train"].images), plugins)
    to_fit = {"encode": trained.timed, "trainable": trained.trainable, "seed": trained.seed, **task.settings}
    with trained.clock.phase("probe"):
        predict = ask(module.fit, {**to_fit, "train": splits["train"], "val": splits["val"]})
    with trained.clock.phase("eval"):
        return _measure(task, module, predict, splits["test"])


def _own(split: Split) -> Split:
    """The same images, whose features are remembered, and a copy of the targets, so that no task spoils another's."""
    return Split(split.images, {name: target.clone() for name, target in split.targets.items()})


def known(variant: Variant, images: Tensor) -> dict[str, Any]:
    """What a task's `check` can ask for that training does not change; images uint8 [N, C, H, W].

    `shape`, (C, H, W), and `stages`, the number of the variant's `stages()`, None where it has none.
    """
    stages = getattr(variant, "stages", None)
    return {"shape": tuple(images.shape[1:]), "stages": len(stages()) if stages else None}


def grid_known(variant: Variant, images: Tensor) -> dict[str, Any]:
    """`grid`, (h, w) of the variant's feature map; nothing where it cannot encode yet, before a fit in closed form."""
    with torch.random.fork_rng(devices=[]):
        try:
            return {"grid": tuple(frozen(variant, torch.device("cpu"))(images[:1]).shape[2:])}
        except Exception:
            return {}


def refuse(task: Plugin, facts: Mapping[str, Any], plugins: Path | None = None) -> None:
    """Raise ValueError, one line, for a task that cannot be done: its `check`, if it has one, is asked with the facts.

    A `check` that asks for `grid` without a default is not asked where the grid is not known.
    """
    check = getattr(load(find("tasks", task.name, plugins)), "check", None)
    if check is None:
        return
    wanted = inspect.signature(check).parameters
    if "grid" in wanted and wanted["grid"].default is inspect.Parameter.empty and "grid" not in facts:
        return
    try:
        ask(check, {**facts, **task.settings})
    except ValueError as error:
        raise ValueError(f"task {task.name}: {error}") from None
    except Exception as error:
        raise ValueError(f"task {task.name}: check raised {type(error).__name__}: {error}") from error


def trains(task: Plugin, plugins: Path | None = None) -> bool:
    """Whether a task trains a copy of the encoder for itself."""
    return "trainable" in inspect.signature(load(find("tasks", task.name, plugins)).fit).parameters


def _measure(task: Plugin, module: ModuleType, predict: Predict, test: Split) -> Outcome:
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
    return Metric(name, float(value), unit, "lower" if better == "lower" else "higher", name == next(iter(declared)))


BATCH = {"cuda": 500, "cpu": 100}  # images a forward pass; on a CPU 100 is 1.45 times as fast as 500 (its caches)
CACHE_BYTES = 2 * 2**30  # features kept, so that several tasks encode the same images once


def frozen(variant: Variant, device: torch.device) -> Encode:
    """The variant as a function of uint8 images [N, C, H, W] to float32 features [N, D, h, w] on the CPU.

    Evaluation mode, no gradient, in batches. Features are remembered by the identity of the images asked for, and the
    images with them, so that a reused address or a change in place is never mistaken for the same images.
    """
    variant.to(device).eval()
    batch = BATCH[device.type]
    known: dict[tuple[int, tuple[int, ...], tuple[int, ...], int], tuple[Tensor, Tensor, int]] = {}
    held = 0

    @torch.inference_mode()
    def compute(images: Tensor) -> Tensor:
        starts = range(0, len(images), batch)
        parts = (standardise(images[start : start + batch].to(device)) for start in starts)
        return torch.cat([variant.encode(part).float().cpu() for part in parts])

    def encode(images: Tensor) -> Tensor:
        nonlocal held
        if images.is_inference():  # has no version that would tell of a change in place
            return compute(images).clone()
        key = (images.data_ptr(), tuple(images.shape), images.stride(), images._version)
        if key not in known or known[key][1]._version != known[key][2]:  # a task may have changed its features
            features = compute(images).clone()  # a plain tensor, no inference tensor
            size = features.nbytes
            if held + size > CACHE_BYTES:
                return features
            held += size
            known[key] = images, features, features._version
        return known[key][1]

    return encode
