"""Plan -> files: every run of a plan, one after another. A cell on disk is never done again."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from maebench.contracts import Split, Variant, standardise
from maebench.data.reading.splits import load_splits
from maebench.models.vit import awkward_heads
from maebench.plugins import find
from maebench.runs import provenance
from maebench.runs.build import assemble, mask_grid, refuse_masks
from maebench.runs.config import Config
from maebench.runs.folder import Checkpoints, RunFolder, make_writable, unlocked
from maebench.runs.plan import EncoderSpec, Plugin, RunSpec, digest
from maebench.runs.progress import Progress
from maebench.runs.records import RunsFailed, misplaced, write_whole
from maebench.runs.run import DISK, Run, states
from maebench.runs.scoring.cost import COST
from maebench.runs.scoring.evaluate import encoded, known, refuse
from maebench.seeding import stream
from maebench.training.devices import ALONE, World, join, pick_device
from maebench.training.loop import Diverged
from maebench.training.threads import NUMBER, Allowance, cores, fewest, put, trial
from maebench.training.timing import Stopwatch, flops_per_image

THREADS = "threads.json"  # of a results folder


@contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        line = f"{folder}: {error.strerror}; make room, then the same command goes on (finished results are kept)"
        raise ValueError(line) from error


@dataclass
class Runner:
    """Carries out runs in one results folder, on one device."""

    out: Path
    root: Path
    plugins: Path | None
    device: torch.device
    progress: Progress
    command: str
    every: float = 60.0
    """seconds between two checkpoints of a training"""
    world: World = ALONE
    threads: Allowance | None = None
    """of the CPU, until they are settled; None to leave torch's as they are"""
    failures: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)
    _data: tuple[str, dict[str, Split], str] = ("", {}, "")

    def missing(self, spec: RunSpec) -> tuple[Plugin, ...]:
        """The cells of a run that are not on disk, or not whole."""
        folder = self.folder(spec)
        return tuple(task for task in (COST, *spec.tasks) if not folder.finished(task))

    def folder(self, spec: RunSpec) -> RunFolder:
        """Where a run's files are."""
        return RunFolder(self.out / spec.run_id)

    def finish(self, specs: Sequence[RunSpec], where: str) -> None:
        """Check the runs that are not complete, as `check` does, and complete them."""
        missing = []
        for spec in specs:
            if self.missing(spec):
                missing.append(spec)
            else:
                self.folder(spec).forget_features()  # of one that was killed at its very end
        self.progress.line(f"{len(specs)} runs planned, {len(specs) - len(missing)} of them complete in {self.out}")
        self.check(missing, where)
        self.run(missing)

    def check(self, specs: Sequence[RunSpec], where: str) -> None:
        """Load the data, build every variant and ask its masks and tasks, all once.

        Raises ValueError or LookupError before any work is done; `where` names the config in messages.
        """
        but_for_seeds = {
            digest(asdict(replace(spec, encoder=replace(spec.encoder, seed=None)))): spec for spec in specs
        }
        for spec in but_for_seeds.values():
            images = self.splits(spec.encoder.dataset)[0]["train"].images
            try:
                variant = self._admitted(spec, images)
            except ValueError as error:
                raise ValueError(f"{where}: {spec.encoder.dataset.name}, {error}") from None
            for line in self._remarks(spec, variant):
                if line not in self._said:
                    self.progress.line(line)
                    self._said.add(line)

    def _admitted(self, spec: RunSpec, images: Tensor) -> Variant:
        """The variant of a run that can be done for such images, uint8 [N, C, H, W]. Raises ValueError for others."""
        channels, height, width = images.shape[1:]
        variant = assemble(spec.encoder, (channels, height, width), self.plugins)
        if spec.encoder.masking:
            refuse_masks(variant, images)
        masks = mask_grid(spec.encoder, (channels, height, width), self.plugins)
        facts = {**known(variant, images), **encoded(variant, images), **masks}
        for task in spec.tasks:
            try:
                refuse(task, facts, self.plugins)
            except ValueError as error:
                raise ValueError(f"{error} (with variant {spec.encoder.variant.name})") from None
        return variant

    def _remarks(self, spec: RunSpec, variant: Variant) -> Iterator[str]:
        if self.device.type == "cuda" and (widths := awkward_heads(variant)):
            name = spec.encoder.variant.name
            yield f"{name}: attention heads of {widths} features are slow on a GPU; use a multiple of 8"
        if spec.encoder.budget.trained:
            yield spec.encoder.budget.protocol(self.world.size)

    def run(self, specs: Sequence[RunSpec]) -> None:
        """Complete the missing cells of every run; one that another process works on is looked at again at the end."""
        number, waiting, refused = self.settle(specs), deque(specs), 0
        with self.progress.of(len(specs)), _room_in(self.out):
            if number:
                write_whole(self.out / THREADS, json.dumps({"cores": cores(), "threads": number}).encode())
            while waiting:
                spec = waiting.popleft()
                with self.folder(spec).lock() as mine:
                    if mine:
                        refused = 0
                        self._complete(spec)
                        continue
                waiting.append(spec)
                refused += 1
                if refused % len(waiting) == 0:
                    self.progress.line(f"waiting: another process works on the remaining {len(waiting)} run(s)")
                    time.sleep(5)
        self.world.announce("")
        self.world.leave()

    def follow(self, specs: Sequence[RunSpec]) -> None:
        """What every process but the first does: train along with it, and nothing else."""
        known = {spec.run_id: spec for spec in specs}
        while run_id := self.world.heard():
            splits, _ = self.splits(known[run_id].encoder.dataset)
            try:
                self._one(known[run_id], Stopwatch(self.device), splits).train()
            except Diverged:
                continue
        self.world.leave()

    def settle(self, specs: Sequence[RunSpec]) -> int | None:
        """Choose the threads for these runs and say so, once -> the number, where the folder is to keep it.

        Ours: it keeps one, so that its costs can be compared and a killed training goes on to the bit. Tried is the
        largest step, since a small one waits for its threads longer than it gains.
        """
        if not specs:
            return None
        allowance, self.threads = self.threads, None
        if allowance is None or self.device.type != "cpu":
            return None
        number, why = allowance.number, allowance.why
        if number is None and (number := self._kept(allowance.cores)):
            why = f"as before in {self.out}"
        if number is None:
            number, why = self._tried(specs, allowance.cores)
        chosen = number or allowance.cores
        torch.set_num_threads(chosen)
        if allowance.why != NUMBER:
            put(chosen)
        self.progress.line(f"threads: {chosen} of {allowance.cores} cores ({why})")
        return number

    def _kept(self, available: int) -> int | None:
        """The number of threads that the folder was given where as many cores could be used."""
        try:
            kept = json.loads((self.out / THREADS).read_text())
            return int(kept["threads"]) if kept["cores"] == available else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _tried(self, specs: Sequence[RunSpec], available: int) -> tuple[int | None, str]:
        """The fewest threads with which the largest step is nearly as fast as it can be, if there is one; and why."""
        most, name, step = -1.0, "", None
        trained = [spec.encoder for spec in specs if spec.encoder.budget.trained]
        for encoder in {f"{one.variant} {one.budget}": one for one in trained}.values():
            try:
                operations, found = self._step(encoder)
            except Exception:  # it fails in its run as well, and is noted there
                continue
            if operations > most:
                most, name, step = operations, encoder.variant.name, found
        if step is None:
            return None, "nothing is trained step by step"
        seconds = trial(step, available, torch.set_num_threads)
        times = ", ".join(f"{1000 * spent:.3g} ms with {number}" for number, spent in seconds.items())
        return fewest(seconds), f"a step of {name} takes {times}"

    def _step(self, encoder: EncoderSpec) -> tuple[float, Callable[[], object]]:
        """Floating-point operations of a training step's forward pass, and what computes its loss and gradients."""
        train = self.splits(encoder.dataset)[0]["train"].images
        channels, height, width = train.shape[1:]
        variant = assemble(encoder, (channels, height, width), self.plugins).train()
        images = standardise(train[encoder.budget.micro_batches[0]])

        def step() -> None:
            torch.autograd.backward(variant.loss(images, stream(0, "trial")))

        step()  # raises where nothing can be trained
        return flops_per_image(variant, images[:2]) * len(images), step

    def splits(self, dataset: Plugin) -> tuple[dict[str, Split], str]:
        """The three splits of a data set and their checksum; the last data set asked for is kept in memory.

        Raises ValueError, LookupError, as `load_splits` does.
        """
        if self._data[0] != (key := digest(asdict(dataset))):
            self.progress.line(f"loading {dataset.name} (prepared once, then cached)")
            splits = load_splits(find("datasets", dataset.name, self.plugins), dataset.settings, self.root)
            self._data = key, splits, digest([provenance.checksum(split) for split in splits.values()])
        return self._data[1], self._data[2]

    def _complete(self, spec: RunSpec) -> None:
        folder, cells = self.folder(spec), self.missing(spec)
        if not cells:
            self.progress.finish_run(f"{spec.label}  done by another process")
            return
        clock = Stopwatch(self.device)
        with clock.phase("data"):
            splits, checksum = self.splits(spec.encoder.dataset)
        folder.sweep()
        for line in (*folder.set_aside(cells), *folder.declare(spec, splits["train"].images.shape[1:], checksum)):
            self.progress.line(line)
        facts = {**provenance.describe(self.device), "data_checksum": checksum, "command": self.command}
        facts["processes"] = self.world.size
        run = self._one(spec, clock, splits)
        run.complete(cells, facts)
        if states(splits) != run.states:
            self._data = ("", {}, "")  # spoilt: they are loaded again
        clock.switch("other")
        self.progress.finish_run(f"{spec.label}  {sum(clock.seconds.values()):.1f} s")

    def _one(self, spec: RunSpec, clock: Stopwatch, splits: Mapping[str, Split]) -> Run:
        folder = self.folder(spec)
        keep = Checkpoints(folder, self.every, self.progress.line)
        return Run(
            spec, folder, keep, splits, states(splits), self.plugins, clock, self.world, self.progress, self._failed
        )

    def _failed(self, line: str) -> None:
        self.failures.append(line)
        self.progress.line(f"failed: {line}")

    def report_failures(self) -> None:
        """Raise RunsFailed where a cell failed."""
        if self.failures:
            raise RunsFailed(f"{len(self.failures)} cells failed, the first: {self.failures[0]}")


def carry_out(
    config: Config,
    specs: Sequence[RunSpec],
    out: Path,
    root: Path,
    plugins: Path | None,
    device: str | None,
    console: Console,
    command: str,
    threads: Allowance | None = None,
    where: str = "config",
) -> Runner:
    """Complete all runs of a config in `out`, on `device` or else the config's; what is on disk is not done again.

    Of the processes that torchrun starts only the first (rank 0 of `Runner.world`) evaluates and talks. Failed cells
    are in `Runner.failures`. Raises ValueError or LookupError, one line, before any work is done.
    """
    make_writable(out)
    on = pick_device(device or config.device)
    world = join(on)
    progress = Progress(console if world.rank == 0 else Console(quiet=True))
    runner = Runner(out, root, plugins, on, progress, command, config.pretrain.checkpoint_every, world, threads)
    if world.rank:
        runner.follow(specs)
        return runner
    for line in [*unlocked(out), *misplaced(out)]:
        progress.line(f"warning: {line}")
    runner.finish(specs, where)
    return runner
