"""The rows of a board of maskings and objectives, for zoo_claims.py and zoo_plot.py."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maebench.declaration import Kind as PluginKind
from maebench.leaderboard.board import defaults
from maebench.leaderboard.comparison.statistics import Interval, Scores, interval
from maebench.leaderboard.frame import tidy
from maebench.training.budget import KINDS, Kind

SIZES = {
    *("width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads", "widths", "depths", "kernel"),
    *("predictor_width", "predictor_depth", "predictor_heads"),
}
PROBE = "linear_probe", "top1"
Seeds = Mapping[int, float]


@dataclass(frozen=True)
class Row:
    """A row; settings that are not given are as by default, sizes apart."""

    variant: str = "vit_mae"
    settings: Mapping[str, Any] = field(default_factory=dict)
    masking: str | None = "uniform"
    masking_settings: Mapping[str, Any] = field(default_factory=dict)
    ratio: float | str | None = 0.75

    def __str__(self) -> str:
        """As a table names it."""
        words = [self.variant, *(f"{key}: {value}" for key, value in self.settings.items())]
        if self.masking:
            words += [self.masking, *(f"{key}: {value}" for key, value in self.masking_settings.items())]
        return " ".join([*words, *([str(self.ratio)] if self.masking and self.ratio != 0.75 else [])])

    @property
    def masks(self) -> bool:
        """Whether this is `vit_mae` as by default, under some masking."""
        return (self.variant, self.settings) == ("vit_mae", {})


UNIFORM = Row()


def plain(row: Row) -> bool:
    """Whether this is `vit_mae` as by default at ratio 0.75, under some masking."""
    return row.masks and row.ratio == 0.75


def masked(name: str, **settings: Any) -> Row:
    """`vit_mae` under another strategy."""
    return Row(masking=name, masking_settings=settings)


def coloured(colour: str) -> Row:
    """`vit_mae` under noise of a colour."""
    return masked("colour") if colour == "green" else masked("colour", colour=colour)


class Board:
    """What the runs of one kind of budget scored."""

    def __init__(self, frame: pd.DataFrame, kind: Kind) -> None:
        """Rows that the frame has not of this kind of budget are those of steps."""
        kinds = frame["budget"].map(lambda text: next((kind for kind in KINDS if kind in json.loads(text)), None))
        self.rows: dict[str, Row] = {}
        """the trained ones by their names"""
        self._found: dict[tuple[str, str, str], dict[int, float]] = {}
        self._add(frame[kinds == kind])
        self.own = {*self.rows}
        """names of those that have runs of this kind"""
        self._add(frame[kinds == "steps"])

    def _add(self, frame: pd.DataFrame) -> None:
        known = {*self._found}
        for _, run in frame.groupby("run_id"):
            one = run.iloc[0]
            row_of = one["variant"], _changes("variants", one["variant"], one["settings"])
            if one["floor"]:
                name = f"untrained {Row(*row_of, None)}"
            else:
                row = Row(*row_of, None, {}, None)
                if isinstance(name := one["masking"], str):
                    row = Row(*row_of, name, _changes("maskings", name, one["masking_settings"]), one["ratio"])
                name = str(row)
                self.rows[name] = row
            for task, metric, value in zip(run["task"], run["metric"], run["value"], strict=True):
                if (key := (name, task, metric)) in known:
                    continue
                seeds = self._found.setdefault(key, {})
                if int(one["seed"]) in seeds:
                    raise SystemExit(
                        f"{name}, seed {one['seed']}: two runs; remove those that `maebench report` leaves out"
                    )
                seeds[int(one["seed"])] = float(value)

    def values(self, row: Row | str, task: str = PROBE[0], metric: str = PROBE[1]) -> Seeds:
        """Seed -> value."""
        return self._found.get((str(row), task, metric), {})


def _changes(kind: PluginKind, name: str, told: str) -> dict[str, Any]:
    """The settings that are not as by default, sizes apart."""
    plain = defaults(kind, name)
    return {key: value for key, value in json.loads(told).items() if key not in SIZES and value != plain[key]}


def spread(seeds: Seeds) -> Interval:
    """The mean over seeds with its 95% interval."""
    return interval(Scores(np.array([*seeds.values()]), tuple(seeds)))


def scored(folder: Path) -> pd.DataFrame:
    """What the runs of a folder scored, of those that have a seed."""
    frame, _ = tidy(folder)
    return frame[(frame["status"] == "ok") & frame["seed"].notna() & frame["value"].notna()]
