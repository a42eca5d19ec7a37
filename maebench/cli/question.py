"""The question that `maebench run --until-sure` decides: which two of a config's rows, and on which task."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maebench.leaderboard.board import Board, Column, Row
    from maebench.runs.config import Config
    from maebench.runs.plan import Plugin, RunSpec
    from maebench.runs.records import ResultRecord

MOST = 20
"""Ours: seeds at most, where the command line does not say"""


@dataclass(frozen=True)
class Asked:
    """What the command line says of it."""

    rows: tuple[str, str]
    """words of their labels"""
    least: float | None
    task: str | None
    most: int | None

    @property
    def words(self) -> list[str]:
        """As they stand on the command line."""
        single = {"--difference": self.least, "--task": self.task, "--most": self.most}
        given = [word for name, value in single.items() if value is not None for word in (name, str(value))]
        return ["--until-sure", *self.rows, *given]


@dataclass(frozen=True)
class Side:
    """One of the two rows."""

    label: str
    spec: "RunSpec"
    """of its lowest seed"""

    @property
    def random(self) -> bool:
        """Whether its runs differ by seed; one run stands for all where they do not."""
        return self.spec.encoder.seed is not None

    def run(self, seed: int) -> "RunSpec":
        """Its run of a seed."""
        return replace(self.spec, encoder=replace(self.spec.encoder, seed=seed)) if self.random else self.spec


@dataclass(frozen=True)
class Question:
    """Which of two rows is better on one task, or whether they differ by less than what matters."""

    a: Side
    b: Side
    board: "Board"
    column: "Column"
    task: "Plugin"
    least: float
    seeds: tuple[int, ...]
    """of the config"""
    most: int

    @property
    def unit(self) -> str:
        """What follows a difference."""
        from maebench.leaderboard.comparison.contest import unit

        return unit(self.column)

    @property
    def where(self) -> str:
        """The data set and the task."""
        return f"On {self.board.title}, {self.board.task_of(self.column)}"


def ask(given: Asked, config: "Config", specs: "Sequence[RunSpec]", where: str, plugins: Path | None) -> Question:
    """What is asked of the runs of a config. Raises ValueError or LookupError, one line, before any work is done."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("--until-sure works in one process; start it without torchrun")
    board, rows, column = _column(given, specs, where, plugins)
    by_id = {spec.run_id: spec for spec in specs}
    a, b = (Side(row.label, by_id[row.run_id]) for row in rows)
    if not (a.random or b.random):
        raise ValueError(f"nothing is random in {a.label} and {b.label}: no seed says more; `maebench compare` them")
    named = f"{column.task} {column.metric} {column.unit}".strip()
    if given.least is None or not 0 < given.least < math.inf:
        raise ValueError(f"--until-sure needs --difference D, the least difference in {named} that matters, above 0")
    task, _ = (_task(side.spec, column) for side in (a, b))
    return Question(a, b, board, column, task, given.least, config.seeds, _most(given, config))


def _task(spec: "RunSpec", column: "Column") -> "Plugin":
    texts = {(one.name, json.dumps(one.settings, sort_keys=True)): one for one in spec.tasks}
    if (column.task, column.settings) not in texts:
        raise ValueError(f"--until-sure: {spec.label} has no task {column.task}, since it predicts no pixels")
    return texts[column.task, column.settings]


def _most(given: Asked, config: "Config") -> int:
    from maebench.leaderboard.comparison.sequential import FEWEST
    from maebench.runs.config import LARGEST

    count = len(config.seeds)
    most = max(MOST, count) if given.most is None else given.most
    if most < max(FEWEST, count):
        why = f"nothing is decided with fewer than {FEWEST}" if most < FEWEST else f"the config has {count}"
        raise ValueError(f"--most {most}: seeds are too few, {why}")
    if max(config.seeds) + most - count > LARGEST:
        raise ValueError(f"seeds: seed {max(config.seeds)} leaves no room for more; the largest is {LARGEST}")
    return most


def _column(
    given: Asked, specs: "Sequence[RunSpec]", where: str, plugins: Path | None
) -> "tuple[Board, tuple[Row, Row], Column]":
    """The two rows that the words name among those of a config, and the task's column on their board."""
    from maebench.leaderboard.comparison.compare import named
    from maebench.leaderboard.frame import framed
    from maebench.leaderboard.rows import boards

    known, _ = boards(framed(_unscored(specs, plugins)))
    firsts, seconds = (named(known, words, where) for words in given.rows)
    both = [(*firsts[place], seconds[place][1]) for place in firsts if place in seconds]
    if twice := next((row.label for _, row, other in both if row == other), ""):
        raise LookupError(f"{where}: '{given.rows[0]}' and '{given.rows[1]}' both name {twice}; name two rows")
    every = [(board, (row, other), column) for board, row, other in both for column in board.columns]
    if not every:
        raise LookupError(f"{where}: '{given.rows[0]}' and '{given.rows[1]}' have no task on the same data")
    words = set((given.task or "").split())
    found = [one for one in every if words <= set(one[0].task_of(one[2]).split())]
    if len(found) != 1:
        tasks = ", ".join(f"'{board.task_of(column)}' ({board.title})" for board, _, column in every)
        more = ", and add words of a data set to A and B" * (len(both) > 1)
        raise LookupError(f"{where}: --task '{given.task or ''}' must have words of one of {tasks}{more}")
    return found[0]


def _unscored(specs: "Sequence[RunSpec]", plugins: Path | None) -> "Iterator[ResultRecord]":
    """What the headlines of these runs will be records of, without their values."""
    from maebench.plugins import find
    from maebench.runs.records import Metric
    from maebench.runs.run import rows
    from maebench.runs.scoring.evaluate import Outcome

    for spec in specs:
        for task in spec.tasks:
            name, (unit, better) = next(iter(find("tasks", task.name, plugins).constants["METRICS"].items()))
            yield from rows(spec, task, Outcome((Metric(name, None, unit, better, True),)), {}, {})
