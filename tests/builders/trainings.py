"""Short trainings of small variants, and what runs have left in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Generator, Tensor

from builders.plugins import CPU
from maebench.contracts import Reconstruction, Variant
from maebench.plugins import ask_method
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.runs.records import read_rows
from maebench.training.loop import Job
from maebench.training.timing import Stopwatch

SHAPE = (3, 8, 8)
TINY = {"patch": 4, "width": 16, "depth": 1, "heads": 4, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 4}
VIT = Plugin("vit_mae", {**TINY, "target": "pixels"}, "")
UNIFORM = Plugin("toy_random", {"tilt": 0.0}, "")


class Recorded(Variant):
    """A variant that keeps every loss it gives."""

    def __init__(self, inner: Variant) -> None:
        super().__init__()
        self.inner, self.losses = inner, []

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        return self.inner.reconstruct(images, rng)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        value = self.inner.loss(images, rng)
        self.losses.append(float(value.detach()))
        return value

    def encode(self, images: Tensor) -> Tensor:
        return self.inner.encode(images)

    def prepare(self, images: Tensor) -> None:
        if callable(prepare := getattr(self.inner, "prepare", None)):
            prepare(images)

    def after_step(self, progress: float, advance: float) -> None:
        ask_method(self.inner, "after_step", {"progress": progress, "advance": advance})


def job(variant: Variant, spec: EncoderSpec, **others: Any) -> Job:
    budget, probe_every = spec.budget, spec.probe_every
    return Job(variant, budget, spec.seed or 0, CPU, Stopwatch(CPU), probe_every=probe_every, **others)


class StopError(Exception):
    """Ends a training between two steps, as a kill would."""


def stop_at(step: int) -> Callable[[int, int], None]:
    def on_step(done: int, of: int) -> None:
        if done == step:
            raise StopError

    return on_step


def newest(folder: Path) -> int:
    """When the newest checkpoint of the one training was written; 0 without one."""
    stamps = [0]
    for path in folder.glob("r/*/checkpoint*.pt"):
        try:
            stamps.append(path.stat().st_mtime_ns)
        except FileNotFoundError:  # renamed just now
            continue
    return max(stamps)


def trained(folder: Path) -> Path:
    """The folder of the run that was trained step by step."""
    (run,) = (path.parent for path in folder.glob("r/*/run.json") if "micro_batch" in path.read_text())
    return run


def metrics(folder: Path, cells: str = "*/[!c]*@*.jsonl") -> dict[tuple[str, str], float | None]:
    """(cell, metric) -> value; by default over the tasks' cells of all runs."""
    found = {}
    for path in folder.glob(f"r/{cells}"):
        for row in read_rows(path):
            assert row.metric, row.reason
            found[f"{path.parent.name}/{path.name}", row.metric.name] = row.metric.value
    return found


def cost(folder: Path) -> dict[str, float | None]:
    """What the training cost, by metric."""
    return {name: value for (_, name), value in metrics(folder, f"{trained(folder).name}/cost@*.jsonl").items()}
