"""Rows of snapshots -> curves: a headline metric over the seconds of training."""

from dataclasses import dataclass

import pandas as pd

Key = tuple[str, str, str]
"""task, its settings as JSON, metric"""
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
    times = fine[cost & (fine["base"] == "pretrain_seconds")][["run_id", "step", "value"]]
    heads = fine.loc[~cost & fine["headline"].astype(bool), [*task]].drop_duplicates()
    scores = fine[~cost].merge(heads, on=task)
    joined = scores.merge(times, on=["run_id", "step"], suffixes=("", "_seconds")).sort_values("step")
    found: dict[tuple[str, Key], list[Point]] = {}
    for row in joined[["run_id", *task, "step", "value_seconds", "value"]].itertuples(index=False, name=None):
        run, *key, step, seconds, value = row
        point = Point(None if step == _END else int(step), seconds, value)
        found.setdefault((run, (key[0], key[1], key[2])), []).append(point)
    return {key: tuple(points) for key, points in found.items()}
