"""Result files -> one tidy frame, and the learning curves in it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maebench.runs import records

ROW = ["variant", "settings", "masking", "masking_settings", "ratio", "budget", "floor"]
"""what makes two results the same row of a board: everything but the seed and the hardware"""


def tidy(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows of every `folder/<run_id>/*.jsonl`, one a metric, failed ones included; and a line per file skipped.

    Dicts are JSON text. A damaged file is skipped, not fatal: its cells are then missing, so its row gets no rank. A
    failure is skipped where the cell was done later.
    """
    found: list[records.ResultRecord] = []
    warnings = []
    for path in sorted(folder.glob("*/*.jsonl")):
        done = path.with_name(path.name.replace(".failed.jsonl", ".jsonl"))
        if not path.is_file() or (done != path and records.cell_rows(done)):
            continue
        try:
            found += [replace(record, run_id=path.parent.name) for record in records.read_rows(path)]
        except ValueError as error:
            warnings.append(f"skipped: {error}")
    return framed(found), warnings


def framed(found: Iterable[records.ResultRecord]) -> pd.DataFrame:
    """Records -> a frame with a row each."""
    rows = [_flat(record) for record in found]
    names = [field.name for field in (*fields(records.ResultRecord), *fields(records.Metric)) if field.name != "name"]
    frame = pd.DataFrame(rows, columns=[*names, "hardware"]).astype({"value": float})
    return with_seeds(frame, [row["seed"] for row in rows])


def with_seeds(frame: pd.DataFrame, seeds: Sequence[int | None]) -> pd.DataFrame:
    """The frame with the seed of each row, None where nothing is random, to the last digit.

    As objects: pandas would make floats of integers with gaps, which are exact up to 2^53 only.
    """
    exact: pd.DataFrame = frame.assign(seed=np.array(seeds, dtype=object))
    return exact


def _flat(record: records.ResultRecord) -> dict[str, Any]:
    row = {**vars(record), "settings": {**record.settings}}
    metric = {**vars(row.pop("metric") or records.Metric("", None))}
    for name in ("masking", "ratio"):  # a variant that hides by settings of its own is shown like the others
        if row[name] is None:
            row[name] = row["settings"].pop(name, None)
    machine = record.provenance
    row["hardware"] = str(machine.get("device_name") or machine.get("device") or "unknown")
    for kind, least in (("threads", 1), ("processes", 2)):
        if (number := machine.get(kind) or 0) >= least:
            row["hardware"] += f", {number} {kind}"
    texts = {name: json.dumps(value, sort_keys=True) for name, value in row.items() if isinstance(value, dict)}
    return {**row, **texts, "metric": metric.pop("name"), **metric}


Key = tuple[str, str, str]
"""task, its settings as JSON, metric"""
SECONDS = "pretrain_seconds"
"""the cost that scores are drawn over"""
_NAME = r"^(?P<metric>.+?)(?:@step=(?P<step>\d+))?$"
_END = float("inf")  # sorts the final value, which carries no step, behind every snapshot


@dataclass(frozen=True)
class Point:
    """A headline metric of one run at one moment of its training."""

    step: int | None
    """None at the end of the training"""
    seconds: float
    """of training until then; probing is not counted"""
    value: float


Curve = tuple[Point, ...]


def curves(frame: pd.DataFrame) -> dict[tuple[str, Key], Curve]:
    """Tidy rows -> the curve of each run and headline metric: its snapshots `metric@step=k`, then the final value.

    A value whose seconds the cost cell does not know (`pretrain_seconds@step=k`) is left out.
    """
    fine = frame[frame["status"] == "ok"].dropna(subset="value")
    names = fine["metric"].str.extract(_NAME)
    fine = fine.assign(base=names["metric"], step=names["step"].astype(float).fillna(_END))
    cost, task = fine["task"] == "cost", ["task", "task_settings", "base"]
    times = fine[cost & (fine["base"] == SECONDS)][["run_id", "step", "value"]]
    heads = fine.loc[~cost & fine["headline"].astype(bool), [*task]].drop_duplicates()
    scores = fine[~cost].merge(heads, on=task)
    joined = scores.merge(times, on=["run_id", "step"], suffixes=("", "_seconds")).sort_values("step")
    found: dict[tuple[str, Key], list[Point]] = {}
    for row in joined[["run_id", *task, "step", "value_seconds", "value"]].itertuples(index=False, name=None):
        run, *key, step, seconds, value = row
        point = Point(None if step == _END else int(step), seconds, value)
        found.setdefault((run, (key[0], key[1], key[2])), []).append(point)
    return {key: tuple(points) for key, points in found.items()}
