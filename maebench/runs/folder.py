"""The folder of one run: its lock, its weights, its guesses. Every file is whole or absent."""

import errno
import fcntl
import io
import json
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from torch import Tensor

from maebench.runs.drawing import MASKS, PICTURE
from maebench.runs.plan import Plugin, RunSpec, cell_name
from maebench.runs.records import cell_rows, read_run, write_whole


def make_writable(folder: Path) -> None:
    """Make a results folder. Raises ValueError where nothing can be written to it."""
    try:
        write_whole(folder / ".writable", b"")
        (folder / ".writable").unlink(missing_ok=True)  # another process may try at the same time
    except OSError as error:
        raise ValueError(f"--out {folder}: cannot be written to ({error.strerror}); name another folder") from None


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system that has none


def _flock(file: IO[str]) -> Literal["mine", "taken", "none"]:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return "none"
        raise OSError(error.errno, f"cannot be locked ({error.strerror})", file.name) from error
    return "mine"


def unlocked(folder: Path) -> list[str]:
    """A line where the file system of a folder has no locks, none elsewhere."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".lock-") as file:
        if _flock(file.file) != "none":
            return []
    return [f"{folder} is on a file system without locks; let one command at a time work in it"]


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_whole(path, buffer.getvalue())


def load_tensors(path: Path) -> dict[str, Any]:
    """The content of `save_tensors`, on the CPU; nothing but tensors and plain values is unpickled.

    Raises ValueError for a file that is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            if bad := archive.testzip():
                raise ValueError(f"{path}: {bad} is damaged")
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: is damaged ({type(error).__name__})") from None


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: every path in it, and its lock."""

    path: Path

    @property
    def declaration(self) -> Path:
        """What the run is, and the checksum of its data."""
        return self.path / "run.json"

    @property
    def weights(self) -> Path:
        """The trained weights, and what the training cost."""
        return self.path / "weights.pt"

    @property
    def checkpoints(self) -> tuple[Path, Path]:
        """The newest state of an unfinished training and the one before."""
        return self.path / "checkpoint.pt", self.path / "checkpoint.previous.pt"

    @property
    def picture(self) -> Path:
        """Input, what the encoder saw, reconstruction."""
        return self.path / PICTURE

    @property
    def masks(self) -> Path:
        """Masks, and how often each position is hidden."""
        return self.path / MASKS

    @property
    def features(self) -> Path:
        """Where the encoder's features are kept until its tasks are done."""
        return self.path / "features"

    @property
    def cells(self) -> list[Path]:
        """The files of all finished cells."""
        return sorted(path for path in self.path.glob("*.jsonl") if ".failed." not in path.name)

    @property
    def snapshots(self) -> list[Path]:
        """The weights of steps that are kept for good."""
        return sorted(self.path.glob("weights.step*.pt"))

    def snapshot(self, step: int) -> Path:
        """The weights of one step."""
        return self.path / f"weights.step{step}.pt"

    def cell(self, task: Plugin) -> Path:
        """The rows of a finished cell."""
        return self.path / f"{cell_name(task)}.jsonl"

    def guess(self, task: Plugin) -> Path:
        """The guesses of a finished cell."""
        return self.path / f"{cell_name(task)}.npz"

    def failure(self, task: Plugin) -> Path:
        """The row of a failed cell."""
        return self.path / f"{cell_name(task)}.failed.jsonl"

    def traceback(self, task: Plugin) -> Path:
        """Where a failed cell failed, for whoever wrote the plug-in."""
        return self.path / f"{cell_name(task)}.failed.txt"

    def finished(self, task: Plugin) -> bool:
        """Whether the cell is there and whole, so that it need not be done again."""
        return bool(cell_rows(self.cell(task)))

    def sweep(self) -> None:
        """Remove the drafts of a process that was killed while it wrote."""
        for draft in self.path.glob(".*.draft"):
            draft.unlink()

    def forget_features(self) -> None:
        """Remove the features that were kept for its tasks."""
        shutil.rmtree(self.features, ignore_errors=True)

    def set_aside(self, tasks: Iterable[Plugin]) -> Iterator[str]:
        """Rename the files of these cells where they are damaged; a line for each."""
        for path in map(self.cell, tasks):
            if path.exists():
                path.replace(path.with_suffix(".damaged"))
                yield f"{path} is empty or damaged; set aside as {path.stem}.damaged, and done again"

    def declared(self) -> dict[str, Any]:
        """What `declare` noted: "encoder" (`EncoderSpec.content`), "shape" (C, H, W), "data_checksum"; or nothing."""
        return read_run(self.declaration)

    def declare(self, spec: RunSpec, shape: Sequence[int], checksum: str) -> Iterator[str]:
        """Note what the run is; a line where it was damaged. ValueError where its results were made from other data."""
        said = self.declared()
        if self.declaration.exists() and not said:
            yield f"{self.declaration} is empty or damaged; written again"
        rows = [row for path in self.cells for row in cell_rows(path)]
        if {said.get("data_checksum"), *(row.provenance.get("data_checksum") for row in rows)} - {checksum, None}:
            raise ValueError(
                f"{spec.encoder.dataset.name} has changed since the results in {self.path} were made; use another --out"
            )
        declared = {"encoder": spec.encoder.content(), "shape": list(shape), "data_checksum": checksum}
        write_whole(self.declaration, json.dumps(declared, indent=1).encode())

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the folder against other processes; gives False where one holds it. A killed process lets go.

        On a file system without locks nobody is held off; see `unlocked`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            yield _flock(file) != "taken"


def run_folders(out: Path) -> list[RunFolder]:
    """All runs of a results folder."""
    return [RunFolder(path.parent) for path in sorted(out.glob("*/run.json"))]


@dataclass(frozen=True)
class Checkpoints:
    """The state of an unfinished training, in the folder of its run: the newest two, and snapshots that stay."""

    folder: RunFolder
    every: float
    """seconds between two of them"""
    line: Callable[[str], None] = print
    """says that a damaged one was set aside"""

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep a state, and the one before it."""
        newest, before = self.folder.checkpoints
        if newest.exists():
            newest.replace(before)
        save_tensors(newest, content)

    def latest(self) -> dict[str, Any] | None:
        """The newest state that is whole; a damaged one is set aside, with a message."""
        for path in self.folder.checkpoints:
            if path.exists():
                try:
                    return load_tensors(path)
                except ValueError as error:
                    path.replace(path.with_suffix(".damaged"))
                    self.line(f"{error}; set aside as {path.stem}.damaged, going on from the one before or the start")
        return None

    def clear(self) -> None:
        """Drop both: the training is done."""
        for path in self.folder.checkpoints:
            path.unlink(missing_ok=True)

    def snapshot(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights of a step, to be probed once training is over."""
        save_tensors(self.folder.snapshot(step), {"weights": dict(weights)})


def save_guess(path: Path, guess: Tensor, scores: Tensor | None = None) -> None:
    """Write guesses [N, ...] and, where they are known, the images' `scores` [N] as arrays of a compressed npz file."""
    buffer = io.BytesIO()
    if scores is None:
        np.savez_compressed(buffer, guess=guess.numpy())
    else:
        np.savez_compressed(buffer, guess=guess.numpy(), scores=scores.numpy())
    write_whole(path, buffer.getvalue())
