"""The scores behind the cells of boards: of each run, and of each test image where they were kept. Never torch."""

import glob
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maebench.leaderboard.board import Board, Column, Row
from maebench.leaderboard.comparison.statistics import Scores
from maebench.leaderboard.frame import ROW, Key
from maebench.runs import records

ENDS = ("floor", "ceiling")
"""what a task calls the score of knowing nothing and the best one, in details of its headline"""
_CLOSE = 1e-4  # Ours: how far the mean over images may be from the headline, as a share of the mean size of a score


class Cells:
    """Of a results folder: which runs a cell of a board comes from, and their scores. Final."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        """`frame` as `tidy` gives it; scores of images are read from the folder when they are asked for."""
        self.folder = folder
        sets = frame.groupby(["dataset", "dataset_settings", "task"])["task_version"]
        newest = frame[frame["task_version"] == sets.transform("max")]
        dates = [str(json.loads(text).get("date", "")) for text in newest["provenance"]]
        ratio = newest["ratio"].astype(object).where(newest["ratio"].notna(), -1.0)
        identity = newest.assign(date=dates, masking=newest["masking"].fillna(""), ratio=ratio)
        self._rows = dict(list(identity.groupby(["dataset", "dataset_settings", *ROW], sort=False)))
        self._cells: dict[tuple[Any, ...], dict[Key, pd.DataFrame]] = {}

    def runs(self, board: Board, row: Row, column: Column) -> pd.DataFrame:
        """A row for each run that has this cell, by seed; of the runs of one seed the newest, as on the board."""
        hiding = row.masking, _text(row.masking_settings), -1.0 if row.ratio is None else row.ratio
        what = row.variant, _text(row.settings), *hiding, _text(row.budget), row.floor
        key = board.dataset, _text(board.settings), *what
        if key not in self._cells:
            self._cells[key] = _by_cell(self._rows[key])
        found: pd.DataFrame = self._cells[key].get(column.key, self._rows[key].iloc[:0])
        mean = row.cells[column.key].mean if column.key in row.cells else None
        assert mean is None or np.isclose(found["value"].mean(), mean), "not the runs that the board shows"
        return found

    def scores(self, board: Board, row: Row, column: Column) -> Scores | None:
        """What `statistics` asks for: of images if all runs kept them; None where no run has the cell.

        Raises ValueError for kept scores that are damaged, or whose mean is not the headline.
        """
        runs = self.runs(board, row, column)
        if runs.empty:
            return None
        seeds = tuple(int(seed) for seed in runs["seed"].dropna())
        cells = [
            self._cell(run, column, version) for run, version in zip(runs["run_id"], runs["task_version"], strict=True)
        ]
        images = [_kept(path, value) for path, value in zip(cells, runs["value"], strict=True)]
        kept = [one for one in images if one is not None]
        if len({len(one) for one in kept}) > 1:
            raise ValueError(
                f"{cells[0]}: runs of {row.label} have scores of different numbers of images; run it again"
            )
        draws = tuple(_draws(path, column.metric) for path in cells)
        values = np.stack(kept) if len(kept) == len(images) else runs["value"].to_numpy(dtype=np.float64)
        return Scores(values, seeds, draws)

    def headlines(self, board: Board, row: Row, column: Column) -> Scores | None:
        """The same, of runs alone."""
        runs = self.runs(board, row, column)
        seeds = tuple(int(seed) for seed in runs["seed"].dropna())
        return None if runs.empty else Scores(runs["value"].to_numpy(dtype=np.float64), seeds)

    def scaled(self, board: Board, row: Row, column: Column, scores: Scores) -> Scores | None:
        """The same between floor, 0, and ceiling, 1, of each run; None where the task says none, or they are equal."""
        ends = [self._details(board, row, replace(column, metric=f"{column.metric}@{end}")) for end in ENDS]
        if any(len(end) != len(scores.values) for end in ends) or (ends[0] == ends[1]).any():
            return None
        floor, ceiling = (end.reshape(-1, *[1] * (scores.values.ndim - 1)) for end in ends)
        return Scores((scores.values - floor) / (ceiling - floor), scores.seeds)

    def _details(self, board: Board, row: Row, column: Column) -> NDArray[np.float64]:
        return self.runs(board, row, column)["value"].to_numpy(dtype=np.float64)

    def _cell(self, run: str, column: Column, version: int) -> Path:
        """The file of a cell, whose name holds a hash of the task's settings."""
        paths = (self.folder / run).glob(f"{glob.escape(column.task)}@{version}*.jsonl")
        settings = json.loads(column.settings)
        for path in sorted(path for path in paths if not path.name.endswith(".failed.jsonl")):
            row = next(records.read_rows(path))
            if (row.task, row.task_version, row.task_settings) == (column.task, version, settings):
                return path
        raise LookupError(f"{self.folder / run}: the cell of {column.task} is gone; read the folder again")


def _by_cell(part: pd.DataFrame) -> dict[Key, pd.DataFrame]:
    """The records of one board row -> cell -> those of its newest run of each seed, by seed."""
    part = part.sort_values(["date", "run_id"])
    runs = part.drop_duplicates("run_id", keep="last").drop_duplicates("seed", keep="last")["run_id"]
    part = part[part["run_id"].isin(runs) & (part["status"] == "ok")].dropna(subset="value")
    cell = ["task", "task_settings", "metric"]
    kept = part.sort_values("seed")[[*cell, "run_id", "task_version", "seed", "value", "provenance"]]
    return dict(list(kept.groupby(cell, sort=False)))


def _text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _draws(path: Path, metric: str) -> NDArray[np.float64]:
    rows = [row.metric for row in records.read_rows(path) if row.metric]
    return np.array([one.value for one in rows if one.name.startswith(f"{metric}@draw=")], dtype=np.float64)


def _kept(cell: Path, headline: float) -> NDArray[np.float64] | None:
    """The scores [N] beside a cell; None where there are none."""
    path = cell.with_suffix(".npz")
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            if "scores" not in arrays:
                return None
            found: NDArray[np.float64] = arrays["scores"].astype(np.float64)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.error) as error:
        raise ValueError(f"{path}: is damaged ({type(error).__name__}); remove the cell and run it again") from None
    if found.ndim != 1 or not abs(found.mean() - headline) <= _CLOSE * abs(found).mean():
        raise ValueError(
            f"{path}: its scores have not the mean {headline:g} of {cell.name}; remove the cell and run again"
        )
    return found
