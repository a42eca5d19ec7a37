"""A folder of arrays per prepared data set: made once, checked by SHA-256 at every load, memory-mapped."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]


def cache_root() -> Path:
    """The cache folder: `MAEBENCH_CACHE`, else `maebench` under `XDG_CACHE_HOME` or `~/.cache`."""
    if folder := os.environ.get("MAEBENCH_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maebench"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cached(name: str, key: str, make: Callable[[], Arrays]) -> dict[str, np.ndarray]:
    """The arrays of `make()`, made once for this name and key. A damaged copy is made again.

    `key` must say everything the arrays depend on: version, settings, and size and time of the source files.
    """
    folder = cache_root() / name / hashlib.sha256(key.encode()).hexdigest()[:16]
    if (arrays := _load(folder)) is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes the arrays, the others wait and load them
            if (arrays := _load(folder)) is None:
                _store(folder, key, make())
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
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
