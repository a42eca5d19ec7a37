"""What a pretraining and a task take, from a short try on the device itself.

Ours: a few real training steps, by the loop that trains, at a learning rate of 0; each task and each closed-form fit on
two small shares of the images, and the line through the two gives the time for all of them. Peak memory is that of the
try: a task's grows with its images, so it may be more.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from maebench.contracts import Split, Variant
from maebench.runs.build import assemble, masker_of
from maebench.runs.folder import RunFolder, run_folders
from maebench.runs.plan import EncoderSpec, Plugin, digest
from maebench.runs.provenance import describe
from maebench.runs.records import ResultRecord, cell_rows, ratio_words
from maebench.runs.runner import Runner
from maebench.runs.scoring.cost import COST
from maebench.runs.scoring.evaluate import Trained, evaluate, trains
from maebench.runs.scoring.features import frozen
from maebench.training.budget import Budget, Kind
from maebench.training.loop import Job, Training, pretrain
from maebench.training.masker import Masker
from maebench.training.step_cost import total_steps
from maebench.training.timing import Stopwatch, peak_memory, reset_peak_memory

HARDWARE = ("device", "device_name", "threads")


@dataclass(frozen=True)
class Need:
    """What one pretraining or one task takes."""

    seconds: float | None
    """None where no forecast is made"""
    extract: float = 0.0
    """seconds of encoding, which the tasks of a run share"""
    memory: float = 0.0
    """peak MiB"""
    disk: float = 0.0
    """bytes"""
    spare: float = 0.0
    """bytes of checkpoints, until the training is done"""
    snapshots: int = 0
    basis: Literal["calibrated", "measured"] = "calibrated"


def measured_pretraining(out: Path, encoder: EncoderSpec, device: torch.device) -> Need | None:
    """The median pretraining of this encoder under any seed; None where there is none."""
    found = list(_rows(out, encoder, COST, device))
    if not found:
        return None
    folder, last = found[-1][0], _values(found[-1][1])
    weights = [path.stat().st_size for path in (folder.weights, *folder.snapshots) if path.exists()]
    return Need(
        median(_values(rows).get("pretrain_seconds", 0.0) for _, rows in found),  # none: it was trained elsewhere
        memory=last.get("peak_memory", 0.0),
        disk=sum(weights),
        spare=6 * min(weights, default=0) if encoder.budget.trained else 0.0,
        snapshots=sum(name.startswith("pretrain_seconds@") for name in last),
        basis="measured",
    )


def measured_cell(out: Path, encoder: EncoderSpec, task: Plugin, device: torch.device) -> Need | None:
    """The median of this task on this encoder under any seed, snapshots included; None where there is none."""
    found = list(_rows(out, encoder, task, device))
    if not found:
        return None
    guess = found[-1][0].guess(task)
    seconds = median(rows[0].seconds for _, rows in found)
    return Need(seconds, disk=guess.stat().st_size if guess.exists() else 0.0, basis="measured")


def _rows(
    out: Path, encoder: EncoderSpec, task: Plugin, device: torch.device
) -> Iterator[tuple[RunFolder, list[ResultRecord]]]:
    """Folder and rows of a cell, of each run of the encoder on this hardware."""
    wanted = json.loads(json.dumps(replace(encoder, seed=None).content()))
    here = describe(device)
    for folder in run_folders(out):
        rows = cell_rows(folder.cell(task))
        alike = rows and {**folder.declared().get("encoder", {}), "seed": None} == wanted
        if alike and all(rows[0].provenance.get(key) == here[key] for key in HARDWARE):
            yield folder, rows


def _values(rows: list[ResultRecord]) -> dict[str, float]:
    metrics = (row.metric for row in rows)
    return {metric.name: metric.value for metric in metrics if metric and metric.value is not None}


T = TypeVar("T")

SHARES = (0.05, 0.2)  # of the images. Ours: work that does not grow with them, such as a solve, shows in the difference
FEWEST = (100, 400)  # images of train, where it has them; fewer would time the overhead
SHORT = 3.0  # seconds. Ours: the first use of a library took up to 1.3 s


@dataclass(frozen=True)
class Sample:
    """What some work took on so many images: seconds by phase."""

    images: int
    seconds: Mapping[str, float]


def extend(few: Sample, many: Sample, images: int) -> dict[str, float]:
    """Seconds by phase for so many images, on the line through two samples.

    Between what the larger sample took and its multiple: a noisy clock leads no further.
    """
    if images == many.images:
        return dict(many.seconds)

    def at(phase: str, most: float) -> float:
        rise = (most - few.seconds.get(phase, 0.0)) / (many.images - few.images)
        return min(most + max(0.0, rise) * (images - many.images), most * images / many.images)

    return {phase: at(phase, most) for phase, most in many.seconds.items()}


def tried(work: Callable[[int], tuple[Sample, T]]) -> tuple[Sample, Sample, T]:
    """Samples of both shares, and what else the larger gave. A short first try is repeated: it may load libraries."""
    few, _ = work(0)
    if sum(few.seconds.values()) < SHORT:
        few, _ = work(0)
    many, rest = work(1)
    return few, many, rest


def cut(splits: Mapping[str, Split], number: int) -> dict[str, Split]:
    """Share `number` of every split, evenly spaced, since a data set may be in the order of its classes."""
    share = min(1.0, max(SHARES[number], FEWEST[number] / len(splits["train"].images)))
    return {name: _spaced(split, max(10, math.ceil(share * len(split.images)))) for name, split in splits.items()}


def _spaced(split: Split, wanted: int) -> Split:
    count = len(split.images)
    rows = [place * count // min(wanted, count) for place in range(min(wanted, count))]
    return Split(split.images[rows], {name: target[rows] for name, target in split.targets.items()})


LOOK = 2.0  # seconds of training that give the pace. Ours: 20 steps or more of what a CPU can train in minutes


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what} fails in the calibration: {type(error).__name__}: {error}") from error


@dataclass
class Calibration:
    """Measures on the runner's device what real runs of the same encoder have not told; each thing once."""

    runner: Runner
    known: dict[str, Need] = field(default_factory=dict)
    built: dict[str, Variant] = field(default_factory=dict)
    """the last variant alone, since all of them would count as memory; fitted where it has a closed form"""

    def pretraining(self, encoder: EncoderSpec) -> Need:
        """What one pretraining takes. Raises ValueError, one line, where it fails."""
        return self._once(
            [replace(encoder, seed=None).content()],
            lambda: measured_pretraining(self.runner.out, encoder, self.runner.device) or self._pretraining(encoder),
        )

    def cell(self, encoder: EncoderSpec, task: Plugin, snapshots: int) -> Need:
        """What one task takes, that many snapshots included. Raises ValueError, one line, where it fails."""
        if need := measured_cell(self.runner.out, encoder, task, self.runner.device):
            return need
        need = self._once([_features(encoder), asdict(task)], lambda: self._cell(encoder, task))
        if need.seconds is None or trains(task, self.runner.plugins):
            return need
        return replace(need, seconds=need.seconds + snapshots * (need.seconds + need.extract))

    def _once(self, key: Any, measure: Callable[[], Need]) -> Need:
        if (name := digest(key)) not in self.known:
            self.known[name] = measure()
        return self.known[name]

    def _splits(self, encoder: EncoderSpec) -> dict[str, Split]:
        return self.runner.splits(encoder.dataset)[0]

    def _build(self, encoder: EncoderSpec, masker: Masker | None = None) -> Variant:
        channels, height, width = self._splits(encoder)["train"].images.shape[1:]
        return assemble(encoder, (channels, height, width), self.runner.plugins, masker)

    def _pretraining(self, encoder: EncoderSpec) -> Need:
        name, splits = encoder.variant.name, self._splits(encoder)
        name += f" with {encoder.masking.name} {ratio_words(encoder.ratio)}" if encoder.masking else ""
        if encoder.budget.untrained:
            return Need(0.0)
        with _told(name):
            masker = masker_of(encoder, self.runner.plugins)
            variant = self._build(encoder, masker)
            self.built = {digest(_features(encoder)): variant}
            weights = sum(tensor.nbytes for tensor in variant.state_dict().values())
            if encoder.budget.fitted:
                self.runner.progress.line(f"calibrating {name}: a fit on two shares of the images")
                few, many, memory = tried(lambda number: self._fit(encoder, variant, cut(splits, number)["train"]))
                seconds = extend(few, many, len(splits["train"].images))["train"]
                return Need(seconds, memory=memory, disk=weights)
            if not any(weight.requires_grad for weight in variant.parameters()):
                return Need(0.0, disk=weights)
            self.runner.progress.line(f"calibrating {name}: a few training steps")
            return self._pace(encoder, variant, masker, splits["train"].images, weights)

    def _fit(self, encoder: EncoderSpec, variant: Variant, train: Split) -> tuple[Sample, float]:
        training = pretrain(self._job(encoder.budget, variant, Masker()), train.images)
        return Sample(len(train.images), training.seconds), training.memory or 0.0

    def _job(self, budget: Budget, variant: Variant, masker: Masker) -> Job:
        return Job(variant, budget, 0, self.runner.device, Stopwatch(self.runner.device), masker)

    def _pace(self, encoder: EncoderSpec, variant: Variant, masker: Masker, images: Tensor, weights: int) -> Need:
        """Two steps, compilation with them, then as many as LOOK allows."""
        budget = encoder.budget

        def steps_of(kind: Kind, amount: float) -> Training:
            return pretrain(self._job(replace(budget, kind=kind, amount=amount, base_lr=0.0), variant, masker), images)

        start, running = steps_of("steps", 2), steps_of("seconds", LOOK)
        step = budget.batch / median(running.rates) if running.rates else running.trained / running.steps
        few = images[:2].to(self.runner.device)
        total = total_steps(budget, variant, masker, few, len(images), start.prepare_flops)
        steps = total or max(1, round(budget.amount / step))
        seconds = max(0.0, start.trained - 2 * step) + steps * step if total else budget.amount
        snapshots = (steps - 1) // encoder.probe_every if encoder.probe_every else 0
        memory = max(start.memory or 0.0, running.memory or 0.0)
        return Need(seconds, memory=memory, disk=weights * (1 + snapshots), spare=6 * weights, snapshots=snapshots)

    def _cell(self, encoder: EncoderSpec, task: Plugin) -> Need:
        """The task on two shares of the images; one that trains for itself, for one of its epochs on each."""
        splits, epochs = self._splits(encoder), 1
        with _told(f"{task.name} of {encoder.variant.name}"):
            if trains(task, self.runner.plugins):
                if not isinstance(task.settings.get("epochs"), int):
                    return Need(None)
                epochs = task.settings["epochs"]
                task = replace(task, settings={**task.settings, "epochs": 1})
            self.runner.progress.line(f"calibrating {task.name} of {encoder.variant.name}: two shares of the images")
            if (key := digest(_features(encoder))) not in self.built:
                self.built = {key: self._build(encoder)}
            few, many, outcome = tried(lambda number: self._evaluate(self.built[key], task, splits, number))
        seconds = extend(few, many, sum(len(split.images) for split in splits.values()))
        spent = epochs * seconds.get("probe", 0.0) + seconds.get("eval", 0.0)
        return Need(spent, extract=seconds.get("extract", 0.0), memory=outcome.memory, disk=outcome.disk)

    def _evaluate(
        self, variant: Variant, task: Plugin, splits: Mapping[str, Split], number: int
    ) -> tuple[Sample, Need]:
        parts = cut(splits, number)
        if isinstance(images := task.settings.get("fit_images"), int):  # how tasks call a limit to the images of a fit
            share = len(parts["train"].images) / len(splits["train"].images)
            task = replace(task, settings={**task.settings, "fit_images": math.ceil(images * share)})
        device, clock = self.runner.device, Stopwatch(self.runner.device)
        reset_peak_memory(device)
        outcome = evaluate(task, Trained(variant, frozen(variant, device), 0, clock), parts, self.runner.plugins)
        guess = outcome.guess.nbytes / len(parts["test"].images) if outcome.guess is not None else 0.0
        need = Need(0.0, memory=peak_memory(device), disk=guess * len(splits["test"].images))
        return Sample(sum(len(split.images) for split in parts.values()), dict(clock.seconds)), need


def _features(encoder: EncoderSpec) -> Any:
    """What the time of a task depends on: neither seed nor budget nor masks change the size of features."""
    return [asdict(encoder.dataset), asdict(encoder.variant)]
