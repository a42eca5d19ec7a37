"""The folder of one run: its lock, its weights, its guesses. Every file is whole or absent."""

import fcntl
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maebench.records import write_whole


def make_writable(folder: Path) -> None:
    """Make a results folder. Raises ValueError where nothing can be written to it."""
    try:
        write_whole(folder / ".writable", b"")
        (folder / ".writable").unlink()
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


def save_weights(path: Path, weights: Mapping[str, Tensor], training: Mapping[str, Any]) -> None:
    """Write a state dict and plain numbers about its training."""
    buffer = io.BytesIO()
    torch.save(
        {"weights": {name: weight.cpu() for name, weight in weights.items()}, "training": dict(training)}, buffer
    )
    write_whole(path, buffer.getvalue())


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict and the numbers of `save_weights`; nothing but tensors and plain values is unpickled."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return content["weights"], content["training"]


def save_guess(path: Path, guess: Tensor) -> None:
    """Write guesses [N, ...] as the array `guess` of a compressed npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, guess=guess.numpy())
    write_whole(path, buffer.getvalue())
