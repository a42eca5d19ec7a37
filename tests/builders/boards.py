"""Result files as runs write them, without running anything, and their boards."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maebench.leaderboard.board import Board
from maebench.leaderboard.report import read
from maebench.runs import records
from maebench.runs.records import Metric, ResultRecord, write_rows

CPU = {"device": "cpu", "device_name": "Small CPU", "threads": 2, "torch": "2.6.0", "maebench": "0.1"}
PROBE = Metric("top1", 0.0, "%", "higher", True)
HEADLINES = {"probe": PROBE, "depth": Metric("absrel", 0.0, "", "lower", True)}
ENDS = {"probe": (10.0, 100.0), "depth": (1.0, 0.0)}
"""floor and ceiling of each task"""
COSTS = {"pretrain_seconds": 60.0, "images_per_second": 2500.0, "parameters": 612034.0, "peak_memory": 512.0}
TRAINED = {"steps": 600, "lr": 1e-3}


def record(run: str, variant: str, seed: int | None, **given: Any) -> ResultRecord:
    """One record with plausible words for all that is not given."""
    identity = {"dataset": "scenes", "dataset_settings": {"size": 32}, "settings": {}, "floor": False}
    hiding = {"masking": None, "masking_settings": {}, "ratio": None}
    task = {"task": "probe", "task_version": 1, "task_settings": {}, "readout": "global", "seconds": 1.0}
    budget = {} if seed is None else TRAINED
    words: dict[str, Any] = {**identity, **hiding, **task, "budget": budget, "metric": PROBE, "provenance": CPU}
    return ResultRecord(run_id=run, variant=variant, seed=seed, **{**words, **given})


def put(folder: Path, variant: str, seed: int | None, scores: dict[str, float | str], **given: Any) -> str:
    """Write the cells of one run, {task: value, or the reason why it failed}, and its cost; returns its id.

    `costs` and `details`, of each task, are metrics by name beside the headline.
    """
    run = given.pop("run", f"{variant}-{given.get('ratio')}-{seed}")
    costs, details = {**COSTS, **given.pop("costs", {})}, given.pop("details", {})
    for task, value in scores.items():
        row = record(run, variant, seed, **{"task": task, **given})
        if isinstance(value, str):
            rows = [replace(row, metric=None, status="failed", reason=value)]
        else:
            rows = [replace(row, metric=replace(HEADLINES[task], value=value))]
            rows.append(replace(row, metric=Metric(f"{HEADLINES[task].name}@worst", value / 2)))
            ends = zip(("floor", "ceiling"), ENDS[task], strict=True)
            known = {**{f"{HEADLINES[task].name}@{end}": at for end, at in ends}, **details}
            rows += [replace(row, metric=Metric(name, at)) for name, at in known.items()]
        write_rows(folder / run / f"{task}@{row.task_version}.jsonl", rows)
    row = record(run, variant, seed, **{**given, "task": "cost", "task_version": 1})
    ways = {"images_per_second": "higher"}
    metrics = [Metric(name, value, "", ways.get(name, "lower")) for name, value in costs.items()]
    write_rows(folder / run / "cost@1.jsonl", [replace(row, metric=metric) for metric in metrics])
    return run


def only(folder: Path) -> Board:
    """The board of a folder that has one."""
    (board,) = read(folder).boards
    return board


def put_on_two_machines(folder: Path, **given: Any) -> None:
    """Three seeds of one setting, the last with another number of threads, and a row of one machine behind it."""
    for seed, (threads, seconds) in enumerate([(1, 60.0), (1, 62.0), (2, 30.0)]):
        costs = {"pretrain_seconds": seconds}
        put(folder, "vit", seed, {"probe": 50.0 + seed}, provenance={**CPU, "threads": threads}, costs=costs, **given)
    put(folder, "linear", None, {"probe": 40.0}, costs={"parameters": 5.0})


def grow(folder: Path, run: str, task: str, points: dict[int, tuple[float, float]]) -> None:
    """Add snapshots, {step: (seconds, value)}, to the cells of a run that is on disk, the way a run writes them."""
    for cell, place in (("cost", 0), (task, 1)):
        (path,) = (folder / run).glob(f"{cell}@*.jsonl")
        rows = list(records.read_rows(path))
        known = {row.metric.name for row in rows if row.metric}
        final = next(row for row in rows if row.metric)  # the headline, or the seconds of pretraining
        assert final.metric
        for step, point in points.items():
            metric = replace(final.metric, name=f"{final.metric.name}@step={step}", value=point[place], headline=False)
            rows += [replace(final, metric=metric)] if metric.name not in known else []
        records.write_rows(path, rows)


def learn(folder: Path, variant: str, seed: int, values: list[float], seconds: float = 60.0, **given: Any) -> None:
    """A run whose probe has these values at equal steps of its training, the last at its end after `seconds`."""
    run = put(folder, variant, seed, {"probe": values[-1]}, costs={"pretrain_seconds": seconds}, **given)
    moments = np.linspace(0, seconds, len(values) + 1)[1:-1]
    points = zip(moments.tolist(), values[:-1], strict=True)
    grow(folder, run, "probe", {100 * number: point for number, point in enumerate(points, 1)})


def put_scored(
    folder: Path, variant: str, scores: dict[str, np.ndarray], seeds: Sequence[int | None] = (), **given: Any
) -> None:
    """Runs of one row, {task: scores of images [seeds, images]}, kept beside the cells the way a run keeps them."""
    count = len(next(iter(scores.values())))
    for place, seed in enumerate(seeds or range(count)):
        kept = {task: values[place].astype(np.float32) for task, values in scores.items()}
        means = {task: float(one.mean(dtype=float)) for task, one in kept.items()}
        run = put(folder, variant, seed, means, run=f"{variant}-{given.get('masking')}-{seed}", **given)
        for task, one in kept.items():
            (cell,) = (folder / run).glob(f"{task}@*.jsonl")
            np.savez_compressed(cell.with_suffix(".npz"), guess=np.zeros(len(one)), scores=one)
