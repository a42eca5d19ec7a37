"""The seconds of training at which rows reach a target; where a run does not, all that is known is "later"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maebench.leaderboard.board import Board, Column, Share
from maebench.leaderboard.frame import Curve
from maebench.plugins import nearest


@dataclass(frozen=True)
class Goal:
    """A value that the headline metric of a task shall reach."""

    task: str
    value: float


@dataclass(frozen=True)
class Reach:
    """When a row reaches a target, over its runs on one machine."""

    seconds: float | None
    """median; None where it is only known to be later than `after`"""
    after: float
    """seconds of the last snapshot that falls short, 0 where none does; median where `seconds` is None"""
    reached: int
    runs: int


def parse(given: Sequence[str], boards: Sequence[Board]) -> tuple[Goal, ...]:
    """["probe=45"] -> targets. Raises ValueError for no number, and for a task that no board has scores of."""
    tasks = sorted({one.task for board in boards for one in board.columns if not one.is_cost and one.metric})
    found = []
    for word in given:
        task, equals, number = word.partition("=")
        if not equals:
            raise ValueError(f"--target {word}: write TASK=VALUE")
        if task not in tasks:
            raise ValueError(f"--target {word}: no results of a task called '{task}'{nearest(task, tasks)}")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"--target {word}: '{number}' is no number; write TASK=VALUE")
        found.append(Goal(task, value))
    return tuple(dict.fromkeys(found))


def columns(board: Board, target: Goal) -> list[Column]:
    """The columns of a board that a target is about: one for each settings of the task."""
    return [one for one in board.columns if one.task == target.task and one.metric and not one.is_cost]


def reach(share: Share, column: Column, value: float) -> Reach:
    """When a row reaches a value on one machine.

    Ours: a run reaches it at its first snapshot that is as good, without interpolation. The median of an even number of
    runs is the later of the middle two. A run that falls short counts as later than its end, one without scores as
    later than 0; where that leaves the median open, only a time is given that it is later than.
    """
    each = [_first(curve, column.better, value) for curve in share.curves[column.key]]
    each += [(math.inf, 0.0)] * (share.runs - len(each))
    reached = sum(math.isfinite(at) for at, _ in each)
    middle = len(each) // 2
    at, short = sorted(each)[middle]
    if at == sorted(short if math.isinf(at) else at for at, short in each)[middle]:
        return Reach(at, short, reached, len(each))
    return Reach(None, sorted(short for _, short in each)[middle], reached, len(each))


def _first(curve: Curve, better: str, value: float) -> tuple[float, float]:
    """Seconds of the first point that is as good, infinite where none is, and of the last point before it, or 0."""
    short = 0.0
    for point in curve:
        if point.value >= value if better == "higher" else point.value <= value:
            return point.seconds, short
        short = point.seconds
    return math.inf, short
