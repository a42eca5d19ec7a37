"""What a pretraining and a task take, from a short try on the device itself.

Ours: a few real training steps, by the loop that trains, at a learning rate of 0; each task and each closed-form fit on
two small shares of the images, and the line through the two gives the time for all of them. Peak memory is that of the
try: a task's grows with its images, so it may be more.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from torch import Tensor

from maebench import measured
from maebench.assemble import assemble
from maebench.config import BUDGETS
from maebench.contracts import Split, Variant, standardise
from maebench.encoder import frozen
from maebench.evaluate import Trained, evaluate, trains
from maebench.measured import Need
from maebench.plan import Encoder, Part, digest
from maebench.runner import Runner
from maebench.shares import Sample, cut, extend, tried
from maebench.training.budget import total_steps
from maebench.training.loop import Job, Training, pretrain
from maebench.training.timing import Stopwatch, flops_per_image, peak_memory, reset_peak_memory

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

    def pretraining(self, encoder: Encoder) -> Need:
        """What one pretraining takes. Raises ValueError, one line, where it fails."""
        return self._once(
            [asdict(replace(encoder, seed=None))],
            lambda: measured.pretraining(self.runner.out, encoder, self.runner.device) or self._pretraining(encoder),
        )

    def cell(self, encoder: Encoder, task: Part, snapshots: int) -> Need:
        """What one task takes, that many snapshots included. Raises ValueError, one line, where it fails."""
        if need := measured.cell(self.runner.out, encoder, task, self.runner.device):
            return need
        need = self._once([_features(encoder), asdict(task)], lambda: self._cell(encoder, task))
        if need.seconds is None or trains(task, self.runner.plugins):
            return need
        return replace(need, seconds=need.seconds + snapshots * (need.seconds + need.extract))

    def _once(self, key: Any, measure: Callable[[], Need]) -> Need:
        if (name := digest(key)) not in self.known:
            self.known[name] = measure()
        return self.known[name]

    def _splits(self, encoder: Encoder) -> dict[str, Split]:
        return self.runner.splits(encoder.dataset)[0]

    def _build(self, encoder: Encoder) -> Variant:
        channels, height, width = self._splits(encoder)["train"].images.shape[1:]
        return assemble(encoder, (channels, height, width), self.runner.plugins)

    def _pretraining(self, encoder: Encoder) -> Need:
        name, splits = encoder.variant.name, self._splits(encoder)
        name += f" with {encoder.masking.name} {encoder.ratio:g}" if encoder.masking else ""
        if encoder.budget.get("steps") == 0:
            return Need(0.0)
        with _told(name):
            variant = self._build(encoder)
            self.built = {digest(_features(encoder)): variant}
            weights = sum(tensor.nbytes for tensor in variant.state_dict().values())
            if not encoder.budget:
                self.runner.report.line(f"calibrating {name}: a fit on two shares of the images")
                few, many, memory = tried(lambda number: self._fit(encoder, variant, cut(splits, number)["train"]))
                seconds = extend(few, many, len(splits["train"].images))["train"]
                return Need(seconds, memory=memory, disk=weights)
            if not any(weight.requires_grad for weight in variant.parameters()):
                return Need(0.0, disk=weights)
            self.runner.report.line(f"calibrating {name}: a few training steps")
            return self._pace(encoder, variant, splits["train"].images, weights)

    def _fit(self, encoder: Encoder, variant: Variant, train: Split) -> tuple[Sample, float]:
        training = pretrain(self._job(encoder, variant), train.images)
        return Sample(len(train.images), training.seconds), training.memory or 0.0

    def _job(self, encoder: Encoder, variant: Variant) -> Job:
        return Job(variant, encoder, self.runner.device, Stopwatch(self.runner.device))

    def _pace(self, encoder: Encoder, variant: Variant, images: Tensor, weights: int) -> Need:
        """Two steps, compilation with them, then as many as LOOK allows."""
        budget = encoder.budget

        def steps_of(amount: Mapping[str, float]) -> Training:
            rest = {key: value for key, value in budget.items() if key not in BUDGETS}
            short = replace(encoder, budget={**rest, "base_lr": 0.0, **amount}, probe_every=None)
            return pretrain(self._job(short, variant), images)

        start, running = steps_of({"steps": 2}), steps_of({"seconds": LOOK})
        step = budget["batch"] / median(running.rates) if running.rates else running.trained / running.steps
        sample = standardise(images[:2].to(self.runner.device))
        total = total_steps(budget, len(images), lambda: flops_per_image(variant, sample))
        steps = total or max(1, round(budget["seconds"] / step))
        seconds = max(0.0, start.trained - 2 * step) + steps * step if total else float(budget["seconds"])
        snapshots = (steps - 1) // encoder.probe_every if encoder.probe_every else 0
        memory = max(start.memory or 0.0, running.memory or 0.0)
        return Need(seconds, memory=memory, disk=weights * (1 + snapshots), spare=6 * weights, snapshots=snapshots)

    def _cell(self, encoder: Encoder, task: Part) -> Need:
        """The task on two shares of the images; one that trains for itself, for one of its epochs on each."""
        splits, epochs = self._splits(encoder), 1
        with _told(f"{task.name} of {encoder.variant.name}"):
            if trains(task, self.runner.plugins):
                if not isinstance(task.settings.get("epochs"), int):
                    return Need(None)
                epochs = task.settings["epochs"]
                task = replace(task, settings={**task.settings, "epochs": 1})
            self.runner.report.line(f"calibrating {task.name} of {encoder.variant.name}: two shares of the images")
            if (key := digest(_features(encoder))) not in self.built:
                self.built = {key: self._build(encoder)}
            few, many, outcome = tried(lambda number: self._evaluate(self.built[key], task, splits, number))
        seconds = extend(few, many, sum(len(split.images) for split in splits.values()))
        spent = epochs * seconds.get("probe", 0.0) + seconds.get("eval", 0.0)
        return Need(spent, extract=seconds.get("extract", 0.0), memory=outcome.memory, disk=outcome.disk)

    def _evaluate(self, variant: Variant, task: Part, splits: Mapping[str, Split], number: int) -> tuple[Sample, Need]:
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


def _features(encoder: Encoder) -> Any:
    """What the time of a task hangs on: neither seed nor budget nor masks change the size of features."""
    return [asdict(encoder.dataset), asdict(encoder.variant)]
