"""The folder of one run: its lock, its weights, its guesses. Every file is whole or absent."""

import fcntl
import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maebench.runs.records import write_whole


def make_writable(folder: Path) -> None:
    """Make a results folder. Raises ValueError where nothing can be written to it."""
    try:
        write_whole(folder / ".writable", b"")
        (folder / ".writable").unlink(missing_ok=True)  # another process may try at the same time
    except OSError as error:
        raise ValueError(f"--out {folder}: cannot be written to ({error.strerror}); name another folder") from None


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the folder against other processes; gives False where one holds it already. A killed process lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


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
class Checkpoints:
    """The state of an unfinished training, in the folder of its run: the newest two, and snapshots that stay."""

    folder: Path
    every: float
    """seconds between two of them"""
    line: Callable[[str], None] = print
    """says that a damaged one was set aside"""

    @property
    def paths(self) -> tuple[Path, Path]:
        """The newest and the one before."""
        return self.folder / "checkpoint.pt", self.folder / "checkpoint.previous.pt"

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep a state, and the one before it."""
        newest, before = self.paths
        if newest.exists():
            newest.replace(before)
        save_tensors(newest, content)

    def latest(self) -> dict[str, Any] | None:
        """The newest state that is whole; a damaged one is set aside, with a message."""
        for path in self.paths:
            if path.exists():
                try:
                    return load_tensors(path)
                except ValueError as error:
                    path.replace(path.with_suffix(".damaged"))
                    self.line(f"{error}; set aside as {path.stem}.damaged, going on from the one before or the start")
        return None

    def clear(self) -> None:
        """Drop both: the training is done."""
        for path in self.paths:
            path.unlink(missing_ok=True)

    def snapshot_path(self, step: int) -> Path:
        """Where the weights of one step are."""
        return self.folder / f"weights.step{step}.pt"

    def snapshot(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights of a step, to be probed once training is over."""
        save_tensors(self.snapshot_path(step), {"weights": dict(weights)})


def save_guess(path: Path, guess: Tensor) -> None:
    """Write guesses [N, ...] as the array `guess` of a compressed npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, guess=guess.numpy())
    write_whole(path, buffer.getvalue())
