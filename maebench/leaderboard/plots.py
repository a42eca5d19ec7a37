"""Figures of scores: what a score costs, and how it grows over the training. Need no screen, keep no state."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maebench.leaderboard.board import Board, Column, Row, Share, summary
from maebench.leaderboard.frame import SECONDS, Curve
from maebench.leaderboard.panels import COLOURS, GREY, PALE, STROKES, Strip, log_seconds, looks, sheet


def accuracy_vs_cost(boards: Sequence[Board]) -> Figure:
    """A panel per board, machine and task: the metric over the seconds of pretraining.

    Rows are points with their 95% interval, floors are dashed lines, and the grey line joins the rows that none beats.
    A row whose seeds come from several machines has its score, over all of them, in the panel of each;
    one whose cost is not known is left out.
    """
    strips = [
        (board, machine, [one for one in board.columns if not one.is_cost and one.metric])
        for board in boards
        for machine in board.hardware
    ]
    styles = looks([row for board in boards for row in board.rows if not row.floor and _priced(board, row)])
    marks = {name: Line2D([], [], color=colour, marker=mark, ls="", ms=6) for name, (colour, mark) in styles.items()}
    return sheet(strips, marks, lambda panel, board, machine, column: _costs(panel, board, machine, column, styles))


def _costs(panel: Axes, board: Board, machine: str, column: Column, styles: dict[str, tuple[str, str]]) -> list[float]:
    """Draw the points of one machine; gives the ends of the error bars of all machines, which share the range."""
    points, ends = [], []
    for row in board.rows:
        score = row.cells[column.key]
        if not row.floor and score.mean is not None:
            ends += [score.mean - (score.half or 0), score.mean + (score.half or 0)]
    for row, share in _shares_on(board, machine):
        score, cost = row.cells[column.key], _price(board, share)
        if score.mean is not None and cost is not None:
            points.append((cost, score.mean, score.half or 0.0, row.label))
    edge = min((cost for cost, *_ in points if cost > 0), default=1.0) / 3
    points = [(max(cost, edge), mean, half, label) for cost, mean, half, label in points]
    _front(panel, [(cost, mean) for cost, mean, *_ in points], column.better)
    for cost, mean, half, label in points:
        colour, marker = styles[label]
        panel.errorbar(
            cost, mean, half or None, color=colour, marker=marker, ms=6, capsize=3, lw=1, mec="white", mew=0.6
        )
    log_seconds(panel, [cost for cost, *_ in points] or [1.0], edge)
    return ends


def _price(board: Board, share: Share) -> float | None:
    """Mean seconds of pretraining on one machine."""
    keys = [one.key for one in board.columns if one.is_cost and one.metric == SECONDS]
    return share.costs[keys[0]].mean if keys else None


def _priced(board: Board, row: Row) -> bool:
    return any(_price(board, share) is not None for share in row.shares)


def _front(panel: Axes, points: Sequence[tuple[float, float]], better: str) -> None:
    """Join the points that no point beats at its cost or less."""
    sign = 1 if better == "higher" else -1
    front: list[tuple[float, float]] = []
    for cost, mean in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * mean > sign * front[-1][1]:
            front.append((cost, mean))
    if len(front) > 1:
        panel.step(*zip(*front, strict=True), where="post", color=PALE, lw=1.5, zorder=1)


_MARKS = 12  # snapshots that are marked each; of more, some at equal distances on paper, so that a line stays a line
_LOG = 20  # Ours: from this ratio of the last to the first snapshot's seconds on, their axis is logarithmic


def accuracy_vs_time(boards: Sequence[Board]) -> Figure | None:
    """A panel per board, machine and task that has snapshots: the metric over the seconds of training.

    A row is a line through the means of its runs with a band of their sd, or a point where it has no snapshots; floors
    are dashed lines. None where no row has snapshots.
    """
    if not (strips := _strips(boards)):
        return None
    lines = _lines(strips)
    return sheet(strips, lines, lambda panel, board, machine, column: _panel(panel, board, machine, column, lines))


def _strips(boards: Sequence[Board]) -> list[Strip]:
    found: list[Strip] = []
    for board in boards:
        for machine in board.hardware:
            keys = {key for _, on in _shares_on(board, machine) for key, curves in on.curves.items() if _grow(curves)}
            columns = [one for one in board.columns if one.key in keys]
            found += [(board, machine, columns)] if columns else []
    return found


def _lines(strips: Sequence[Strip]) -> dict[str, Line2D]:
    """The label of each row that is drawn -> its look: colours and strokes go round, so that no two lines are alike."""
    drawn = [
        row
        for board, machine, columns in strips
        for row, share in _shares_on(board, machine)
        if any(any(share.curves[one.key]) for one in columns)
    ]
    grown = {row.label for row in drawn if any(map(_grow, row.curves.values()))}
    return {
        name: Line2D(
            [], [], color=COLOURS[place % len(COLOURS)], marker=marker, ms=5, mec="white", mew=0.5, lw=1.6,
            ls=STROKES[place // len(COLOURS) % len(STROKES)] if name in grown else "",
        )
        for place, (name, (_, marker)) in enumerate(looks(drawn).items())
    }  # fmt: skip


def _shares_on(board: Board, machine: str) -> list[tuple[Row, Share]]:
    return [(row, one) for row in board.rows if not row.floor for one in row.shares if one.hardware == machine]


def _grow(curves: Sequence[Curve]) -> bool:
    return any(point.step is not None for curve in curves for point in curve)


def _panel(panel: Axes, board: Board, machine: str, column: Column, lines: dict[str, Line2D]) -> list[float]:
    """Draw the lines of one machine; gives the ends of their bands."""
    shares = _shares_on(board, machine)
    found = {row.label: means(share.curves[column.key], row.curves[column.key]) for row, share in shares}
    found = {label: points for label, points in found.items() if points}
    times = [seconds for points in found.values() for seconds, *_ in points]
    later = [seconds for points in found.values() for seconds, *_ in points if seconds > 0 and len(points) > 1]
    logarithmic = bool(later) and max(later) > _LOG * min(later)
    edge = min(seconds for seconds in times if seconds > 0) / 3 if logarithmic else 0.0  # here stands no time at all
    ends: list[float] = []
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
    if logarithmic:
        log_seconds(panel, [max(seconds, edge) for seconds in times], edge)
    else:
        panel.set_xlim(0, 1.05 * max(times, default=1.0) or 1.0)
    panel.set_xlabel("pretraining so far, seconds", fontsize=8)
    return ends


def means(timed: Sequence[Curve], every: Sequence[Curve]) -> list[tuple[float, float, float | None]]:
    """The curves of a row's runs on one machine, and of all its runs -> each moment: seconds there, mean and sd of all.

    Only the snapshots that every run has: a mean over fewer runs would jump.
    """
    here, runs = ([{point.step: point for point in curve} for curve in curves if curve] for curves in (timed, every))
    moments = [step for step in (here[0] if here else ()) if all(step in run for run in runs)]
    seconds = [summary([run[step].seconds for run in here]) for step in moments]
    values = [summary([run[step].value for run in runs]) for step in moments]
    return [(time.mean or 0.0, value.mean or 0.0, value.sd) for time, value in zip(seconds, values, strict=True)]


@dataclass(frozen=True)
class Gap:
    """A difference of two rows, as it is drawn."""

    title: str
    unit: str
    better: str
    mean: float
    half: float
    """of its 95% interval"""
    least: float
    """the difference that would have been seen 4 times in 5"""
    apart: bool


def differences(a: str, b: str, gaps: Sequence[Gap]) -> Figure:
    """A strip a task: the difference a - b with its interval over the differences that would rarely have been seen.

    Each has its own scale, on which right of 0 is where a is better.
    """
    title = "\n".join(textwrap.fill(line, 80) for line in (a, f"against {b}"))
    figure = Figure(figsize=(6.4, 0.75 * len(gaps) + 0.15 * title.count("\n") + 0.95), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=9, fontweight="bold", x=0.02, ha="left", parse_math=False)
    for gap, panel in zip(gaps, figure.subplots(len(gaps), 1, squeeze=False)[:, 0], strict=True):
        sign = 1 if gap.better == "higher" else -1
        colour = GREY if not gap.apart else COLOURS[0] if sign * gap.mean > 0 else COLOURS[1]
        reach = 1.15 * max(abs(gap.mean) + gap.half, gap.least)
        panel.axvspan(-gap.least, gap.least, color="#eeeeee", lw=0, zorder=0)
        panel.axvline(0, color=GREY, lw=0.9, zorder=1)
        panel.errorbar(gap.mean, 0, xerr=gap.half, color=colour, marker="o", ms=6, capsize=3, lw=1.6)
        panel.set_xlim(-sign * reach, sign * reach)
        panel.set_yticks([0], [gap.title], fontsize=8, parse_math=False)
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=8)
        panel.spines[["top", "right", "left"]].set_visible(False)
        arrow = "" if sign > 0 else ", lower is better"
        panel.set_xlabel(
            f"{gap.unit}{arrow}".strip(), fontsize=7, color=GREY, loc="right", labelpad=0, parse_math=False
        )
    how = "Right of 0 the first row is better. Grey: not told apart. Band: would have been seen less than 4 times in 5."
    figure.supxlabel(how, fontsize=7, color=GREY)
    return figure
