"""One frozen encoder x one task -> metrics and guesses."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from maebench.contracts import Encode, Predict, Split, Variant
from maebench.models.teacher import following
from maebench.plugins import ask, find, load
from maebench.runs.plan import Plugin
from maebench.runs.records import Metric
from maebench.runs.scoring.features import frozen, layer_count
from maebench.runs.scoring.masked import Masked, by_hidden_pixels
from maebench.tasks.readouts.whole import remembered
from maebench.training.masker import Masker
from maebench.training.timing import Stopwatch

EQUAL = 1e-6  # of the mean size of a score: how far their mean may be from the headline


@dataclass(frozen=True)
class Outcome:
    """What one cell found."""

    metrics: tuple[Metric, ...]
    readout: str = ""
    guess: Tensor | None = None
    """[N, ...], float16 where the values fit: the headline was computed from just these values"""
    scores: Tensor | None = None
    """float32 [N], of each test image; their mean is the headline"""


@dataclass(frozen=True)
class Trained:
    """A trained encoder, as tasks may use it."""

    variant: Variant
    encode: Encode
    seed: int
    clock: Stopwatch
    layers: Sequence[Encode] = ()
    """the feature map after each part of the encoder, input first; none where the variant has no `layers`"""
    masked: Masked | None = None
    """what the variant makes of images of which given patches are hidden; None: as one that is handed no `hide`"""
    masker: Masker = field(default_factory=Masker)
    """what drew its masks in training"""

    def timed(self, encode: Encode) -> Encode:
        """`encode`, its time charged to "extract"."""

        def watched(images: Tensor) -> Tensor:
            with self.clock.phase("extract"):
                return encode(images)

        return watched

    @cached_property
    def offered(self) -> dict[str, Any]:
        """What a task's `fit` can ask for, besides its data and settings."""
        encode = self.timed(self.encode)
        return {
            "encode": encode,
            "layers": tuple(map(self.timed, self.layers)),
            "whole": remembered(encode),
            "masked": self.masked or by_hidden_pixels(self.variant),
            "trainable": self.trainable,
            "seed": self.seed,
        }

    def trainable(self) -> Variant:
        """A copy on the same device that a task may train."""
        variant = copy.deepcopy(self.variant).train().requires_grad_()
        for weight in following(variant):
            weight.requires_grad_(False)
        for stage in getattr(variant, "stages", list)():
            stage.requires_grad_()  # be it a copy that followed: it is what `encode` uses
        return variant


def evaluate(task: Plugin, trained: Trained, splits: Mapping[str, Split], plugins: Path | None = None) -> Outcome:
    """Fit the task's read-out on train and val, guess on the test images, measure; the fit never sees the test split.

    Raises ValueError where the task refuses, or breaks its contract: a row of guesses per image, declared and finite
    metrics.
    """
    module, splits = load(find("tasks", task.name, plugins)), {name: _own(split) for name, split in splits.items()}
    refuse(task, known(trained.variant, splits["train"].images), plugins)
    data = {"train": splits["train"], "val": splits["val"]}
    with trained.clock.phase("probe"):
        predict = ask(module.fit, {**trained.offered, **data, **task.settings})
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


ENCODED = ("grid", "layers")


def encoded(variant: Variant, images: Tensor) -> dict[str, Any]:
    """What a task's `check` can ask for that an image must be encoded for, uint8 [N, C, H, W].

    `grid`, (h, w) of the feature map, and `layers`, how many the variant has; nothing where it cannot encode yet,
    before a fit in closed form.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            grid = tuple(frozen(variant, torch.device("cpu"))(images[:1]).shape[2:])
            return dict(zip(ENCODED, (grid, layer_count(variant, images)), strict=True))
        except Exception:
            return {}


def refuse(task: Plugin, facts: Mapping[str, Any], plugins: Path | None = None) -> None:
    """Raise ValueError, one line, for a task that cannot be done: its `check`, if it has one, is asked with the facts.

    A `check` that asks, without a default, for what is not known before a fit (ENCODED) is not asked then.
    """
    check = getattr(load(find("tasks", task.name, plugins)), "check", None)
    if check is None:
        return
    wanted = inspect.signature(check).parameters
    if any(name in wanted and wanted[name].default is inspect.Parameter.empty for name in set(ENCODED) - {*facts}):
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
    if wrong := len(guess) - int(guess.isfinite().reshape(len(guess), -1).all(1).sum()):
        raise ValueError(f"task {task.name}: {wrong} of {len(guess)} guesses are not finite")
    if guess.is_floating_point() and (half := guess.half()).isfinite().all():
        guess = half  # kept as measured, at half the space
    values = {**_asked(module.measure, task, guess, test), **getattr(predict, "costs", {})}
    metrics = tuple(_metric(task.name, name, value, module.METRICS) for name, value in values.items())
    headline = next((metric for metric in metrics if metric.headline), None)
    if headline is None or headline.value is None:
        raise ValueError(f"task {task.name}: measure gave no '{next(iter(module.METRICS))}', its headline metric")
    kept = module.kept(guess) if hasattr(module, "kept") else guess
    return Outcome(metrics, getattr(predict, "readout", ""), kept, _scores(task, module, kept, test, headline.value))


def _asked(function: Callable[..., Any], task: Plugin, guess: Tensor, test: Split) -> Any:
    """What a function of a task says of guesses for the test images."""
    offered = {"guess": guess.float() if guess.is_floating_point() else guess, "images": test.images}
    return ask(function, {**task.settings, **offered, "targets": test.targets})


def _scores(task: Plugin, module: ModuleType, kept: Tensor, test: Split, headline: float) -> Tensor | None:
    """Float32 [N] by the task's `per_image`. Raises ValueError where their mean is not the headline."""
    if not hasattr(module, "per_image"):
        return None
    scores: Tensor = _asked(module.per_image, task, kept, test).double()
    mean, wanted, size = float(scores.mean()), [len(test.images)], float(scores.abs().mean())
    if list(scores.shape) != wanted or not abs(mean - headline) <= EQUAL * max(size, abs(headline)) < math.inf:
        raise ValueError(
            f"task {task.name}: per_image must be {wanted} and its mean the headline, {headline:g}, "
            f"but it is {list(scores.shape)} and its mean {mean:g}"
        )
    return scores.float()


def _metric(task: str, name: str, value: float, declared: Mapping[str, tuple[str, str]]) -> Metric:
    base = name.split("@")[0]
    if base not in declared:
        raise ValueError(f"task {task}: metric '{name}' is not in METRICS ({', '.join(declared)})")
    if not torch.isfinite(torch.tensor(float(value))):
        raise ValueError(f"task {task}: metric '{name}' is {value}, no finite number")
    unit, better = declared[base]
    return Metric(name, float(value), unit, "lower" if better == "lower" else "higher", name == next(iter(declared)))
