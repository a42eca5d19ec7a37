"""What runs in a results folder took on this hardware: the best forecast for runs that differ from them in the seed."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from maebench.evaluate import COST
from maebench.plan import Encoder, Part, cell_name
from maebench.provenance import describe
from maebench.records import ResultRecord, read

HARDWARE = ("device", "device_name", "threads")


@dataclass(frozen=True)
class Need:
    """What one pretraining or one task takes."""

    seconds: float | None
    """None where no forecast is made"""
    extract: float = 0.0
    """seconds of encoding, which the tasks of a run share"""
    memory: float = 0.0
    """peak MiB"""
    disk: float = 0.0
    """bytes"""
    spare: float = 0.0
    """bytes of checkpoints, until the training is done"""
    snapshots: int = 0
    basis: Literal["calibrated", "measured"] = "calibrated"


def pretraining(out: Path, encoder: Encoder, device: torch.device) -> Need | None:
    """The median pretraining of this encoder under any seed; None where there is none."""
    found = list(_rows(out, encoder, COST, device))
    if not found:
        return None
    folder, last = found[-1][0], _values(found[-1][1])
    weights = [path.stat().st_size for path in folder.glob("weights*.pt")]
    return Need(
        median(_values(rows)["pretrain_seconds"] for _, rows in found),
        memory=last.get("peak_memory", 0.0),
        disk=sum(weights),
        spare=6 * min(weights, default=0) if encoder.budget else 0.0,
        snapshots=sum(name.startswith("pretrain_seconds@") for name in last),
        basis="measured",
    )


def cell(out: Path, encoder: Encoder, task: Part, device: torch.device) -> Need | None:
    """The median of this task on this encoder under any seed, snapshots included; None where there is none."""
    found = list(_rows(out, encoder, task, device))
    if not found:
        return None
    guess = found[-1][0] / f"{cell_name(task)}.npz"
    seconds = median(rows[0].seconds for _, rows in found)
    return Need(seconds, disk=guess.stat().st_size if guess.exists() else 0.0, basis="measured")


def _rows(out: Path, encoder: Encoder, task: Part, device: torch.device) -> Iterator[tuple[Path, list[ResultRecord]]]:
    """Folder and rows of a cell, of each run of the encoder on this hardware."""
    wanted = json.loads(json.dumps(asdict(replace(encoder, seed=None))))
    here = describe(device)
    for path in sorted(out.glob("*/run.json")):
        file = path.with_name(f"{cell_name(task)}.jsonl")
        if file.exists() and {**json.loads(path.read_text())["encoder"], "seed": None} == wanted:
            rows = list(read(file))
            if all(rows[0].provenance.get(key) == here[key] for key in HARDWARE):
                yield path.parent, rows


def _values(rows: list[ResultRecord]) -> dict[str, float]:
    metrics = (row.metric for row in rows)
    return {metric.name: metric.value for metric in metrics if metric and metric.value is not None}
