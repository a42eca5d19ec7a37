"""Plan -> files: pretrain or load, freeze, fit, measure, write. A cell on disk is never done again."""

import errno
import json
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from maebench import provenance, store
from maebench.assemble import assemble
from maebench.contracts import Encode, Split, Variant
from maebench.discovery import ask, find, load
from maebench.encoder import frozen
from maebench.evaluate import COST, cost, evaluate, rows
from maebench.pictures import picture
from maebench.plan import Part, RunSpec, cell_name, digest
from maebench.pretrain import Training, pretrain
from maebench.progress import Report
from maebench.records import write, write_whole

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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
    report: Report
    command: str
    failures: list[str] = field(default_factory=list)
    _data: tuple[str, dict[str, Split], str] = ("", {}, "")

    def missing(self, spec: RunSpec) -> tuple[Part, ...]:
        """The cells of a run that are not on disk."""
        folder = self.out / spec.run_id
        return tuple(task for task in (COST, *spec.tasks) if not (folder / f"{cell_name(task)}.jsonl").exists())

    def check(self, specs: Sequence[RunSpec]) -> None:
        """Load the data and build every variant once. Raises ValueError or LookupError before any work is done."""
        for spec in specs:
            splits, _ = self.splits(spec.encoder.dataset)
            _, *shape = splits["train"].images.shape
            assemble(spec.encoder, (shape[0], shape[1], shape[2]), self.plugins)

    def run(self, specs: Sequence[RunSpec]) -> None:
        """Complete the missing cells of every run; one that another process works on is looked at again at the end."""
        waiting, refused = deque(specs), 0
        with self.report.of(len(specs)), _room_in(self.out):
            while waiting:
                spec = waiting.popleft()
                with store.locked(self.out / spec.run_id) as mine:
                    if mine:
                        refused = 0
                        self._complete(spec)
                        continue
                waiting.append(spec)
                refused += 1
                if refused % len(waiting) == 0:
                    self.report.line(f"waiting: another process works on the remaining {len(waiting)} run(s)")
                    time.sleep(5)

    def splits(self, dataset: Part) -> tuple[dict[str, Split], str]:
        """The three splits of a data set and their checksum; the last data set asked for is kept in memory."""
        if self._data[0] != (key := digest(asdict(dataset))):
            self.report.line(f"loading {dataset.name} (prepared once, then cached)")
            module = load(find("datasets", dataset.name, self.plugins))
            offered = {"root": self.root, **dataset.settings}
            splits = {name: ask(module.load, {"split": name, **offered}) for name in ("train", "val", "test")}
            self._data = key, splits, digest([provenance.checksum(split) for split in splits.values()])
        return self._data[1], self._data[2]

    def _complete(self, spec: RunSpec) -> None:
        folder, cells = self.out / spec.run_id, self.missing(spec)
        if not cells:
            self.report.finish_run(f"{spec.label}  done by another process")
            return
        start = time.perf_counter()
        splits, checksum = self.splits(spec.encoder.dataset)
        for draft in folder.glob(".*.draft"):  # of a process that was killed while it wrote
            draft.unlink()
        self._declare(folder, spec, checksum)
        facts = {**provenance.describe(self.device), "data_checksum": checksum, "command": self.command}
        try:
            variant, training = self._encoder(folder, spec, splits["train"])
            encode = frozen(variant, self.device)
        except Exception as error:
            for task in cells:
                self._fail(folder, spec, task, facts, error)
        else:
            self._picture(folder, spec, variant, splits["test"])
            for task in cells:
                self._cell(folder, spec, task, (variant, training, encode), splits, facts)
        self.report.finish_run(f"{spec.label}  {time.perf_counter() - start:.1f} s")

    def _declare(self, folder: Path, spec: RunSpec, checksum: str) -> None:
        """Note what the run is; refuse a folder whose results were made from other data of the same name."""
        path = folder / "run.json"
        if path.exists() and json.loads(path.read_text())["data_checksum"] != checksum:
            raise ValueError(
                f"{spec.encoder.dataset.name} has changed since the results in {folder} were made; use another --out"
            )
        text = json.dumps({"encoder": asdict(spec.encoder), "data_checksum": checksum}, indent=1)
        write_whole(path, text.encode())

    def _encoder(self, folder: Path, spec: RunSpec, train: Split) -> tuple[Variant, Training]:
        channels, height, width = train.images.shape[1:]
        variant = assemble(spec.encoder, (channels, height, width), self.plugins)
        path = folder / "weights.pt"
        if path.exists():
            try:
                weights, measured = store.load_weights(path)
                variant.load_state_dict(weights)
                return variant, Training(**measured)
            except Exception as error:
                path.replace(folder / "weights.damaged.pt")
                self.report.line(f"{path} is damaged ({type(error).__name__}); set aside, training again")
        with self.report.steps(spec.label, spec.encoder.budget.get("steps", 0)) as on_step:
            training = pretrain(variant, train.images, spec.encoder, self.device, on_step)
        if spec.encoder.budget.get("steps", 1):
            store.save_weights(path, variant.state_dict(), asdict(training))
        return variant, training

    def _picture(self, folder: Path, spec: RunSpec, variant: Variant, test: Split) -> None:
        path = folder / "reconstruction.png"
        if spec.floor or path.exists():
            return
        try:
            picture(path, variant, test.images, spec.encoder, self.device)
        except Exception as error:
            self._note(f"{spec.label}, reconstruction.png", error)

    def _cell(
        self,
        folder: Path,
        spec: RunSpec,
        task: Part,
        trained: tuple[Variant, Training, Encode],
        splits: Mapping[str, Split],
        facts: Mapping[str, Any],
    ) -> None:
        variant, training, encode = trained
        start = time.perf_counter()
        try:
            if task == COST:
                outcome = cost(variant, training, splits["train"].images, self.device)
            else:
                outcome = evaluate(task, encode, splits, self.plugins)
            seconds = time.perf_counter() - start
            if outcome.guess is not None:
                store.save_guess(folder / f"{cell_name(task)}.npz", outcome.guess)
            write(folder / f"{cell_name(task)}.jsonl", rows(spec, task, outcome, seconds, facts))
            for stale in folder.glob(f"{cell_name(task)}.failed.*"):
                stale.unlink()
        except Exception as error:
            self._fail(folder, spec, task, facts, error)

    def _fail(self, folder: Path, spec: RunSpec, task: Part, facts: Mapping[str, Any], error: Exception) -> None:
        reason = self._note(f"{spec.label}, {task.name}", error)
        write_whole(folder / f"{cell_name(task)}.failed.txt", "".join(traceback.format_exception(error)).encode())
        write(folder / f"{cell_name(task)}.failed.jsonl", rows(spec, task, None, 0.0, facts, reason))

    def _note(self, what: str, error: Exception) -> str:
        """Say that something failed and why, on one line; a full disk ends the run, since nothing more can be kept."""
        if isinstance(error, OSError) and error.errno in DISK:
            raise error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self.failures.append(f"{what}: {reason}")
        self.report.line(f"failed: {self.failures[-1]}")
        return reason
