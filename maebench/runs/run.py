"""One run: pretrain or load, freeze, then every missing cell. A failure becomes a record; the next cell goes on."""

import errno
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maebench.contracts import CENTRE, SPREAD, Encode, Split, Variant, standardise
from maebench.runs import drawing
from maebench.runs.build import assemble, masker_of
from maebench.runs.folder import Checkpoints, RunFolder, load_tensors, save_guess, save_tensors
from maebench.runs.masks import masked
from maebench.runs.plan import EncoderSpec, Plugin, RunSpec
from maebench.runs.progress import Progress
from maebench.runs.provenance import hardware, joint
from maebench.runs.records import (
    Metric,
    ResultRecord,
    RunsFailed,
    cell_rows,
    ratio_words,
    write_failure,
    write_rows,
    write_whole,
)
from maebench.runs.scoring.cost import COST, cost
from maebench.runs.scoring.evaluate import Outcome, Trained, evaluate, trains
from maebench.runs.scoring.features import frozen, kept, layer_count
from maebench.runs.scoring.masked import masked_by
from maebench.seeding import stream
from maebench.training.devices import World
from maebench.training.loop import Diverged, Job, Training, pretrain
from maebench.training.masker import Masker
from maebench.training.timing import Stopwatch

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
OWN_PHASES = ("extract", "probe", "eval")  # of a task's cell; the others are the run's


def states(splits: Mapping[str, Split]) -> tuple[int, ...]:
    """What torch counts changes of each split's images by."""
    return tuple(split.images._version for split in splits.values())


@dataclass(frozen=True)
class Run:
    """What it takes to complete one run in its folder."""

    spec: RunSpec
    folder: RunFolder
    keep: Checkpoints
    splits: Mapping[str, Split]
    states: tuple[int, ...]
    """of the images of the splits, as `states` tells them"""
    plugins: Path | None
    clock: Stopwatch
    world: World
    progress: Progress
    note: Callable[[str], None]
    """takes a line for each failure"""

    @property
    def shared(self) -> bool:
        """Whether all processes train it together; floors and closed forms are the first one's alone."""
        return self.world.size > 1 and self.spec.encoder.budget.trained

    def untouched(self, who: str) -> None:
        """Raise ValueError where plug-in code has changed images of the data set in place."""
        if states(self.splits) != self.states:
            raise ValueError(f"{who} has changed images of the data set in place; a plug-in must work on a copy")

    def complete(self, cells: Sequence[Plugin], facts: Mapping[str, Any]) -> None:
        """Carry out these cells, the cost last, since it counts what the others took."""
        try:
            variant, training, masker = self.train()
            self.untouched(f"variant {self.spec.encoder.variant.name}")
            masker.to(self.clock.device)
            trained = self._trained(variant, masker=masker)
        except (Exception, SystemExit) as error:
            for task in cells:
                self._fail(task, facts, error)
            if isinstance(error, Diverged):
                self.keep.clear()  # from there it would only diverge again
            if self.shared and not isinstance(error, Diverged):  # the other processes are somewhere else by now
                raise RunsFailed(f"{self.spec.label}: failed in one of the processes, so all end") from error
            return
        self._picture(variant)
        for task in sorted(cells, key=lambda task: task == COST):
            self._cell(task, trained, training, facts)
        self.folder.forget_features()

    def train(self) -> tuple[Variant, Training, Masker]:
        """The trained variant: its weights loaded where they are on disk."""
        spec, masker = self.spec, masker_of(self.spec.encoder, self.plugins)
        variant = self._assembled(masker)
        path = self.folder.weights
        if path.exists() and self.world.rank == 0:
            try:
                content = load_tensors(path)
                variant.load_state_dict(content["weights"])
                masker.load_state_dict(content.get("masking", {}))
                training = Training(**content["training"])
                for step in training.snapshots:
                    load_tensors(self.folder.snapshot(step))
            except Exception as error:
                path.replace(path.with_suffix(".damaged.pt"))
                named = isinstance(error, ValueError | OSError)
                reason = error if named else f"{path} does not fit ({type(error).__name__})"
                self.progress.line(f"{reason}; weights.pt is set aside as weights.damaged.pt, training again")
                masker = masker_of(spec.encoder, self.plugins)
                variant = self._assembled(masker)  # anew: some weights may be loaded by now
            else:
                self.clock.add(training.seconds)
                self.keep.clear()  # a kill may have come between the weights and this
                return variant, training, masker
        self.folder.forget_features()  # they are of weights that are no more
        with self.progress.steps(spec.label) as on_step:
            if self.shared and self.world.rank == 0:
                self.world.announce(spec.run_id)
            budget, seed, every = spec.encoder.budget, spec.encoder.seed or 0, spec.encoder.probe_every
            here, machine = self.clock.device, hardware(self.clock.device)
            job = Job(variant, budget, seed, here, self.clock, masker, self.keep, every, self.world, machine, on_step)
            training = pretrain(job, self.splits["train"].images)
        if self.world.rank == 0 and not spec.encoder.budget.untrained:
            kept = {"weights": variant.state_dict(), "masking": masker.state_dict()}
            save_tensors(path, {**kept, "training": asdict(training)})
            self.keep.clear()
        return variant, training, masker

    def _assembled(self, masker: Masker | None = None) -> Variant:
        return assemble(self.spec.encoder, self._shape, self.plugins, masker)

    @property
    def _shape(self) -> tuple[int, int, int]:
        channels, height, width = self.splits["train"].images.shape[1:]
        return channels, height, width

    def _trained(self, variant: Variant, state: str = "end", masker: Masker | None = None) -> Trained:
        """The variant as tasks may use it; `state` names its weights in the folder of its features."""
        device, folder = self.clock.device, self.folder.features / self.clock.device.type / state

        def features(layer: int | None) -> Encode:
            place = folder if layer is None else folder / f"layer{layer}"
            return kept(frozen(variant, device, layer), self.splits, place)

        layers = range(1, layer_count(variant.to(device).eval(), self.splits["train"].images) + 1)
        seed = self.spec.encoder.seed or 0
        masked = masked_by(self.spec.encoder, variant, self._shape, self.plugins)
        each = [features(layer) for layer in layers]
        return Trained(variant, features(None), seed, self.clock, each, masked, masker or Masker())

    def _picture(self, variant: Variant) -> None:
        if self.spec.floor or variant.elsewhere:
            return
        draws = {self.folder.picture: (picture, "test"), self.folder.masks: (masks_picture, "train")}
        for path, (draw, split) in draws.items():
            if path.exists():
                continue
            try:
                draw(path, variant, self.splits[split].images, self.spec.encoder, self.clock.device)
            except (Exception, SystemExit) as error:
                self._note(path.name, error)

    def _cell(self, task: Plugin, trained: Trained, training: Training, facts: Mapping[str, Any]) -> None:
        spent_before = dict(self.clock.seconds)
        try:
            self.untouched("a task before")
            if task == COST:
                images, size = self.splits["train"].images, self.world.size if self.shared else 1
                before = self._assembled() if self.spec.encoder.budget.trained else None
                outcome = cost(self.spec, trained, training, images, self._phases, size, before)
                facts = {
                    **facts,
                    **joint(training.machines),
                }  # not where what is left is measured, but where it trained
            else:
                outcome = self._with_snapshots(task, evaluate(task, trained, self.splits, self.plugins), training)
            self.untouched(f"task {task.name}")
            spent = {phase: self.clock.seconds[phase] - spent_before.get(phase, 0.0) for phase in OWN_PHASES}
            if outcome.guess is not None:
                save_guess(self.folder.guess(task), outcome.guess, outcome.scores)
            write_rows(self.folder.cell(task), rows(self.spec, task, outcome, spent, facts))
            for stale in (self.folder.failure(task), self.folder.traceback(task)):
                stale.unlink(missing_ok=True)
        except (Exception, SystemExit) as error:
            self._fail(task, facts, error)

    def _phases(self) -> dict[str, float]:
        """Seconds of the whole run by phase: this process's and those of cells that an earlier one finished."""
        self.clock.switch(self.clock.current)
        phases: dict[str, float] = dict(self.clock.seconds)
        cells = [found[0] for path in self.folder.cells if (found := cell_rows(path))]
        for phase in OWN_PHASES:
            phases[phase] = math.fsum(row.phases.get(phase, 0.0) for row in cells)
        return phases

    def _with_snapshots(self, task: Plugin, outcome: Outcome, training: Training) -> Outcome:
        """The outcome, and its headline at every snapshot; a task that trains for itself has it at the end alone."""
        if trains(task, self.plugins):
            return outcome
        found: list[Metric] = []
        for step in sorted(training.snapshots):
            variant = self._assembled()
            variant.load_state_dict(load_tensors(self.folder.snapshot(step))["weights"])
            past = evaluate(task, self._trained(variant, f"step{step}"), self.splits, self.plugins)
            (headline,) = (metric for metric in past.metrics if metric.headline)
            found.append(replace(headline, name=f"{headline.name}@step={step}", headline=False))
        return replace(outcome, metrics=(*outcome.metrics, *found))

    def _fail(self, task: Plugin, facts: Mapping[str, Any], error: BaseException) -> None:
        reason = self._note(task.name, error)
        text = "".join(traceback.format_exception(error))
        write_whole(self.folder.traceback(task), text.encode(errors="backslashreplace"))
        (row,) = rows(self.spec, task, None, {}, facts, reason)
        write_failure(self.folder.failure(task), row)

    def _note(self, what: str, error: BaseException) -> str:
        """Say that something failed and why, on one line; a full disk ends the run, since nothing more can be kept."""
        if isinstance(error, OSError) and error.errno in DISK:
            raise error
        said = "".join(traceback.format_exception_only(error))  # copes with an error that cannot say what it is
        reason = " ".join(said.encode(errors="backslashreplace").decode().split())  # and with the name of a file
        self.note(f"{self.spec.label}, {what}: {reason}")
        return reason


def rows(
    spec: RunSpec,
    task: Plugin,
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
            budget=encoder.budget.content(),
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


SHOWN = 8


@torch.no_grad()
def picture(path: Path, variant: Variant, images: Tensor, encoder: EncoderSpec, device: torch.device) -> None:
    """Write a PNG of the first test images (uint8 [N, C, H, W]); visible pixels of a masked image are pasted back.

    None of a variant that paints no pixels.
    """
    batch = standardise(images[:SHOWN].to(device))
    result = variant.reconstruct(batch, stream(encoder.seed or 0, "picture"))
    if result.pixels is None:
        return
    pixels = torch.where(result.scored, result.pixels, result.seen)
    inputs, seen, outputs = [
        (part * SPREAD + CENTRE).clamp(0, 1).cpu().numpy() for part in (batch, result.seen, pixels)
    ]
    masking = f", {encoder.masking.name} {ratio_words(encoder.ratio)}" if encoder.masking else ""
    drawing.reconstruction(path, inputs, seen, outputs, f"{encoder.variant.name}{masking} on {encoder.dataset.name}")


def masks_picture(path: Path, variant: Variant, images: Tensor, encoder: EncoderSpec, device: torch.device) -> None:
    """Write a PNG of masks as the variant is given them, on train images (uint8 [N, C, H, W]); none without a mask."""
    if encoder.masking and encoder.ratio is not None:
        name, settings = encoder.masking.name, encoder.masking.settings
        row = masked(
            lambda part, rng: variant.reconstruct(part.to(device), rng).seen, images, name, settings, encoder.ratio
        )
        drawing.masks(path, [row])
