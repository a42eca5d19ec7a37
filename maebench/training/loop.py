"""The one training loop: AdamW, warm-up, cosine decay; resumable at any step. A closed form is fitted instead."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from maebench.contracts import Variant, standardise
from maebench.models.teacher import MEMORY
from maebench.plugins import ask_method
from maebench.seeding import stream
from maebench.training.batches import augment, indices
from maebench.training.budget import Budget
from maebench.training.devices import ALONE, World
from maebench.training.masker import Masker
from maebench.training.optimiser import CHECK_EVERY, adamw, learning_rate
from maebench.training.step_cost import total_steps
from maebench.training.timing import (
    Stopwatch,
    counted,
    energy,
    matmul_precision,
    peak_memory,
    peak_reserved,
    peak_rss,
    reset_peak_memory,
)


@dataclass
class Training:
    """What a pretraining has cost and where it stands; a checkpoint keeps it."""

    steps: int = 0
    """steps done"""
    resumes: int = 0
    loss: float | None = None
    """of the last step looked at"""
    seconds: dict[str, float] = field(default_factory=dict)
    """by phase: "data", "warmup" (the first steps after each start, compilation with them), "train", "save" """
    rates: list[float] = field(default_factory=list)
    """images/s of each block of steps, warm-up left out"""
    snapshots: dict[int, float] = field(default_factory=dict)
    """step -> seconds of training until then"""
    memory: float | None = None
    """peak MiB: allocated on a GPU, resident set on a CPU"""
    reserved: float | None = None
    """peak MiB that torch took from a GPU"""
    rss: float | None = None
    """peak MiB of the process's resident set"""
    energy: float | None = None
    """joules of the GPU"""
    machines: list[dict[str, Any]] = field(default_factory=list)
    """`Job.machine` of each start, equal ones once"""
    first_loss: float | None = None
    """of the first step looked at"""
    prepare_flops: float = 0.0
    """operations of what was done once, before the first step"""

    @property
    def trained(self) -> float:
        """Seconds of warm-up and training, without data, checkpoints and probes."""
        return self.seconds.get("warmup", 0.0) + self.seconds.get("train", 0.0)


class Keeper(Protocol):
    """Keeps the state of an unfinished training."""

    @property
    def every(self) -> float:
        """Seconds between two states."""

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep a state."""

    def latest(self) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is none."""

    def snapshot(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights of a step for good."""


class Diverged(ArithmeticError):
    """The loss or a weight is no longer finite: in all processes at the same step."""


@dataclass(frozen=True)
class Job:
    """One pretraining: what is trained, where, and what watches over it."""

    variant: Variant
    budget: Budget
    seed: int
    device: torch.device
    clock: Stopwatch
    masker: Masker = field(default_factory=Masker)
    """draws the masks of the variant, and is stepped along with it"""
    keep: Keeper | None = None
    probe_every: int | None = None
    """steps between two snapshots"""
    world: World = ALONE
    machine: Mapping[str, Any] = field(default_factory=dict)
    """the hardware, as records describe it"""
    on_step: Callable[[int, int], None] = lambda done, of: None
    """how much of the budget is used: steps, or seconds where the budget is in seconds"""


BETAS = (0.9, 0.95)  # He et al. 2022
ADVICE = "lower pretrain.base_lr or mend the variant"


def pretrain(job: Job, images: Tensor) -> Training:
    """Train the variant in place on uint8 images [N, C, H, W]; labels are not passed.

    Goes on from the newest checkpoint where there is one. Without a budget the variant is fitted; an untrained floor
    or a variant without weights comes back at once. Raises Diverged when the loss is no longer finite.
    """
    variant, budget = job.variant.to(job.device).train(), job.budget
    job.masker.to(job.device)
    if budget.untrained:
        return Training()
    with job.clock.phase("data"):
        resident = images.to(job.device)
    reset_peak_memory(job.device)
    if budget.fitted:
        with job.clock.phase("train"):
            variant.fit(resident)  # type: ignore[operator]  # the plan has seen that it can
        return _measured(Training(), job)
    if not any(weight.requires_grad for weight in variant.parameters()):
        return Training()
    with job.clock.phase("warmup"), matmul_precision(budget.precision):
        return _Loop(job, resident).run()


class _Loop:
    """One training: its optimiser, the order of its images, and what it has cost so far."""

    def __init__(self, job: Job, images: Tensor) -> None:
        self.job, self.images, self.budget, self.seed = job, images, job.budget, job.seed
        self.optimiser = adamw([(job.variant, 1.0)], self.budget.weight_decay, BETAS)
        self.training = self._resume()
        self.energy = (self.training.energy or 0.0) - (energy(job.device) or 0.0)
        prepared = self.training.prepare_flops
        self.total = total_steps(self.budget, job.variant, job.masker, images[:2], len(images), prepared)
        self.parts = self.budget.micro_batches
        self.order = indices(len(images), self.budget.batch, self.seed, self.training.steps)
        self.loss = self._compiled()
        self.saved = -math.inf if self.training.resumes else time.perf_counter()  # at once, so that no resume is lost
        self.marked = math.nan

    def run(self) -> Training:
        """Step until the budget is used."""
        job, training, loss = self.job, self.training, None
        done = self._done()
        while done < 1:
            rate = learning_rate(done, self.budget.peak_rate, self.budget.warmup)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            chance = stream(self.seed, "ratio", training.steps) if job.masker.random else None
            job.masker.begin(done, float(torch.rand((), generator=chance)) if chance else 0.0)
            loss = self._gradients()
            self.optimiser.step()
            training.steps += 1
            before, done = done, self._done()
            advance = 1 / self.total if self.total else done - before
            job.masker.step(job.variant, rate, advance, self.budget.memory or MEMORY)
            ask_method(job.variant, "after_step", {"progress": before, "advance": advance})
            if training.steps % CHECK_EVERY == 0:
                self._look(loss)
            self._keep()
            job.on_step(*self._progress())
        if loss is not None and training.steps % CHECK_EVERY:
            self._look(loss)
        job.masker.begin(1.0, 0.5)
        if not all(weight.isfinite().all() for weight in (*job.variant.parameters(), *job.masker.weights)):
            raise Diverged(f"a weight is not finite after the last step; {ADVICE}")
        return self._measured()

    def _compiled(self) -> Callable[[Tensor, Generator], Tensor]:
        loss, mode = self.job.variant.loss, self.budget.compile
        if mode == "none":
            return loss
        with torch.no_grad():  # what a variant works out once and keeps would break the compiled graph in two
            loss(standardise(self.images[:2]), stream(0, "compile"))
        return torch.compile(loss, mode=mode)

    def _done(self) -> float:
        """The share of the budget that is used: half a step ahead where it is counted in steps."""
        if self.total is not None:
            return (self.training.steps + 0.5) / self.total
        return self.job.world.first(self._seconds() / self.budget.amount, self.job.device)

    def _seconds(self) -> float:
        return self.job.clock.read("warmup", "train")

    def _progress(self) -> tuple[int, int]:
        if self.total is not None:
            return self.training.steps, self.total
        return int(self._seconds()), int(self.budget.amount)

    def _gradients(self) -> Tensor:
        """Sum the gradients of an effective batch over micro-batches and processes -> this process's share of the loss.

        Masks and augmentation depend on seed, step and micro-batch: no number of processes changes them.
        """
        self.optimiser.zero_grad()
        batch, size, world = next(self.order).to(self.images.device), self.budget.batch, self.job.world
        total = torch.zeros((), device=self.images.device)
        for number in range(world.rank, len(self.parts), world.size):
            part, key = self.parts[number], self.training.steps * len(self.parts) + number
            images = augment(self.images[batch[part]], self.budget.augment, stream(self.seed, "augment", key))
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.budget.precision == "bfloat16"):
                loss = self.loss(images, stream(self.seed, "masking", key)) * (share := (part.stop - part.start) / size)
            loss.backward()
            self.job.masker.learn(share)
            total += loss.detach()
        world.add_gradients([*self.job.variant.parameters(), *self.job.masker.weights])
        return total

    def _look(self, loss: Tensor) -> None:
        """Note the loss and the pace; the first block of steps after a start is warm-up."""
        warm = self.job.clock.switch("train") == "train"
        now, whole = self.job.clock.seconds["train"], self.training.steps % CHECK_EVERY == 0
        if warm and whole:
            self.training.rates.append(CHECK_EVERY * self.budget.batch / (now - self.marked))
        self.marked = now
        self.training.loss = value = float(self.job.world.total(loss))
        if self.training.first_loss is None:
            self.training.first_loss = value
        if not math.isfinite(value):
            raise Diverged(f"the loss became {value} at step {self.training.steps}; {ADVICE}")

    def _keep(self) -> None:
        job, training = self.job, self.training
        if job.keep is None or job.world.rank:
            return
        every = job.probe_every
        if every and training.steps % every == 0 and training.steps != self.total:
            with job.clock.phase("save"):
                training.snapshots[training.steps] = self._seconds()
                job.keep.snapshot(training.steps, job.variant.state_dict())
        if time.perf_counter() - self.saved >= job.keep.every:
            with job.clock.phase("save"):
                state = {"weights": job.variant.state_dict(), "optimiser": self.optimiser.state_dict()}
                job.keep.save({**state, "masking": job.masker.state_dict(), "training": asdict(self._measured())})
            self.saved = time.perf_counter()

    def _resume(self) -> Training:
        job = self.job
        content = job.keep.latest() if job.keep and job.world.rank == 0 else None
        job.world.first(0.0, job.device)  # the first process may have set a damaged file aside
        if job.keep and job.world.rank:
            content = job.keep.latest()
        if content is None:
            return Training(prepare_flops=counted(self._prepare))
        job.variant.load_state_dict(content["weights"])
        self.optimiser.load_state_dict(content["optimiser"])
        job.masker.load_state_dict(content["masking"])
        training = Training(**content["training"])
        training.resumes += 1
        job.clock.add(training.seconds)
        return training

    def _prepare(self) -> None:
        """Show the train split to what looks at it before training."""
        if callable(prepare := getattr(self.job.variant, "prepare", None)):
            with torch.no_grad():
                prepare(self.images)
        self.job.masker.prepare(self.images)

    def _measured(self) -> Training:
        if (used := energy(self.job.device)) is not None:
            self.training.energy = self.energy + used
        return _measured(self.training, self.job)


def _measured(training: Training, job: Job) -> Training:
    """The training with its seconds, its machines and its peak memory so far."""
    if job.machine not in training.machines:
        training.machines.append(dict(job.machine))
    job.clock.switch(job.clock.current)
    training.seconds = dict(job.clock.seconds)
    training.memory = max(training.memory or 0.0, peak_memory(job.device))
    training.rss = max(training.rss or 0.0, peak_rss())
    if (reserved := peak_reserved(job.device)) is not None:
        training.reserved = max(training.reserved or 0.0, reserved)
    return training
