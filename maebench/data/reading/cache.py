"""A folder of arrays per prepared data set: made once, checked by SHA-256 at every load, memory-mapped."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]


def cache_root() -> Path:
    """The cache folder: `MAEBENCH_CACHE`, else `maebench` under `XDG_CACHE_HOME` or `~/.cache`.

    Raises ValueError where nothing says which.
    """
    if folder := os.environ.get("MAEBENCH_CACHE"):
        return Path(folder)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "maebench"
    try:
        return Path.home() / ".cache" / "maebench"
    except RuntimeError:
        raise ValueError("this user has no home folder; set MAEBENCH_CACHE to a folder for prepared data") from None


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Say of an OSError where it comes from and what to do."""
    try:
        yield
    except OSError as error:
        told = f"prepared data cannot be kept ({error.strerror}); set MAEBENCH_CACHE to another folder"
        raise OSError(error.errno, told, str(folder)) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cached(name: str, key: str, make: Callable[[], Arrays]) -> dict[str, np.ndarray]:
    """The arrays of `make()`, made once for this name and key. A damaged copy is made again.

    `key` must say everything the arrays depend on: version, settings, and size and time of the source files.
    """
    folder = cache_root() / name / hashlib.sha256(key.encode()).hexdigest()[:16]
    if (arrays := _load(folder)) is None:
        with _room(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = folder.with_suffix(".lock").open("w")
        with lock:
            with suppress(OSError):  # a file system without locks: then each process makes them for itself
                fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes the arrays, the others wait and load them
            if (arrays := _load(folder)) is None:
                made = make()
                with _room(folder.parent):
                    _store(folder, key, made)
                arrays = _load(folder)
        assert arrays is not None, folder
    return arrays


def _load(folder: Path) -> dict[str, np.ndarray] | None:
    try:
        sums = json.loads((folder / "manifest.json").read_text())["sha256"]
        if all(sha256(folder / file) == digest for file, digest in sums.items()):
            return {Path(file).stem: np.load(folder / file, mmap_mode="c", allow_pickle=False) for file in sums}
    except (OSError, ValueError, KeyError):
        pass
    return None


def _store(folder: Path, key: str, arrays: Arrays) -> None:
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        for name, array in arrays.items():
            np.save(draft / f"{name}.npy", array, allow_pickle=False)
        sums = {path.name: sha256(path) for path in sorted(draft.glob("*.npy"))}
        (draft / "manifest.json").write_text(json.dumps({"key": key, "sha256": sums}, indent=1))
        try:
            draft.replace(folder)
        except OSError:  # one is there: damaged, or of a process that was faster
            if _load(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
                draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
