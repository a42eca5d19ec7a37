"""Figure: how a score grows over the training. Needs no screen and keeps no global state."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from maebench.curves import Curve
from maebench.panels import COLOURS, Strip, floors, log_seconds, looks, sheet
from maebench.stats import Board, Column, Row, summary

_STROKES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_MARKS = 12  # snapshots that are marked each; of more, some at equal distances on paper, so that a line stays a line
_LOG = 20  # Ours: from this ratio of the last to the first snapshot's seconds on, their axis is logarithmic


def accuracy_vs_time(path: Path, boards: Sequence[Board]) -> None:
    """Write a PNG with a panel per board, machine and task that has snapshots: the metric over the seconds of training.

    A row is a line through the means of its runs with a band of their sd, or a point where it has no snapshots; floors
    are dashed lines. Where no row has snapshots, nothing is written.
    """
    if strips := _strips(boards):
        lines = _lines(strips)
        sheet(path, strips, lines, lambda panel, board, machine, column: _panel(panel, board, machine, column, lines))


def _strips(boards: Sequence[Board]) -> list[Strip]:
    found: list[Strip] = []
    for board in boards:
        for machine in board.hardware:
            keys = {key for row in _rows(board, machine) for key, curves in row.curves.items() if _grow(curves)}
            columns = [one for one in board.columns if one.key in keys]
            found += [(board, machine, columns)] if columns else []
    return found


def _lines(strips: Sequence[Strip]) -> dict[str, Line2D]:
    """The label of each row that is drawn -> its look: colours and strokes go round, so that no two lines are alike."""
    drawn = [
        row
        for board, machine, columns in strips
        for row in _rows(board, machine)
        if any(any(row.curves[one.key]) for one in columns)
    ]
    grown = {row.label for row in drawn if any(map(_grow, row.curves.values()))}
    return {
        name: Line2D(
            [], [], color=COLOURS[place % len(COLOURS)], marker=marker, ms=5, mec="white", mew=0.5, lw=1.6,
            ls=_STROKES[place // len(COLOURS) % len(_STROKES)] if name in grown else "",
        )
        for place, (name, (_, marker)) in enumerate(looks(drawn).items())
    }  # fmt: skip


def _rows(board: Board, machine: str) -> list[Row]:
    return [row for row in board.rows if not row.floor and row.hardware == machine]


def _grow(curves: Sequence[Curve]) -> bool:
    return any(point.step is not None for curve in curves for point in curve)


def _panel(panel: Axes, board: Board, machine: str, column: Column, lines: dict[str, Line2D]) -> None:
    found = {row.label: means(row.curves[column.key]) for row in _rows(board, machine)}
    found = {label: points for label, points in found.items() if points}
    times = [seconds for points in found.values() for seconds, *_ in points]
    later = [seconds for points in found.values() for seconds, *_ in points if seconds > 0 and len(points) > 1]
    logarithmic = bool(later) and max(later) > _LOG * min(later)
    edge = min(seconds for seconds in times if seconds > 0) / 3 if logarithmic else 0.0  # here stands no time at all
    ends = []
    for label, points in found.items():
        look = lines[label]
        x = [max(seconds, edge) for seconds, *_ in points]
        low, high = ([mean + sign * (sd or 0) for _, mean, sd in points] for sign in (-1, 1))
        ends += [*low, *high]
        panel.fill_between(x, low, high, color=look.get_color(), alpha=0.18, lw=0)
        if len(points) == 1:
            panel.errorbar(x, points[0][1], points[0][2], color=look.get_color(), capsize=3, lw=1)
        panel.plot(
            x, [mean for _, mean, _ in points], color=look.get_color(), ls=look.get_linestyle(), lw=1.6,
            marker=look.get_marker(), ms=5, mec="white", mew=0.5, zorder=3,
            markevery=1 if len(points) <= _MARKS else 1 / _MARKS,
            clip_on=False,  # a closed form may stand on the axis
        )  # fmt: skip
    floors(panel, board, column, ends)
    if logarithmic:
        log_seconds(panel, [max(seconds, edge) for seconds in times], edge)
    else:
        panel.set_xlim(0, 1.05 * max(times, default=1.0) or 1.0)
    panel.set_xlabel("pretraining so far, seconds", fontsize=8)


def means(curves: Sequence[Curve]) -> list[tuple[float, float, float | None]]:
    """The curves of a row's runs -> seconds, mean and sd of each moment.

    Only the snapshots that every run has: a mean over fewer runs would jump.
    """
    runs = [{point.step: point for point in curve} for curve in curves if curve]
    moments = [[run[step] for run in runs] for step in (runs[0] if runs else ()) if all(step in run for run in runs)]
    found = [(summary([one.seconds for one in points]), summary([one.value for one in points])) for points in moments]
    return [(time.mean or 0.0, value.mean or 0.0, value.sd) for time, value in found]
