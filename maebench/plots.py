"""Figures: what a score costs, and what a variant saw and painted. Needs no screen and keeps no global state."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from maebench.panels import PALE, floors, log_seconds, looks, sheet
from maebench.stats import Board, Column


def accuracy_vs_cost(path: Path, boards: Sequence[Board]) -> None:
    """Write a PNG with a panel per board, machine and task: the metric over the seconds of pretraining.

    Rows are points with the sd over seeds, floors are dashed lines, and the grey line joins the rows that none beats.
    """
    strips = [
        (board, machine, [one for one in board.columns if not one.is_cost and one.metric])
        for board in boards
        for machine in board.hardware
    ]
    styles = looks([row for board in boards for row in board.rows if not row.floor])
    marks = {name: Line2D([], [], color=colour, marker=mark, ls="", ms=6) for name, (colour, mark) in styles.items()}
    sheet(path, strips, marks, lambda panel, board, machine, column: _costs(panel, board, machine, column, styles))


def _costs(panel: Axes, board: Board, machine: str, column: Column, styles: dict[str, tuple[str, str]]) -> None:
    price = next((one.key for one in board.columns if one.is_cost and one.metric == "pretrain_seconds"), None)
    points, ends = [], []
    for row in board.rows:
        score, cost = row.cells[column.key], row.cells[price].mean if price else None
        if not row.floor and score.mean is not None:
            ends += [score.mean - (score.sd or 0), score.mean + (score.sd or 0)]  # all machines share the range
        if not row.floor and row.hardware == machine and score.mean is not None and cost is not None:
            points.append((cost, score.mean, score.sd or 0.0, row.label))
    edge = min((cost for cost, *_ in points if cost > 0), default=1.0) / 3
    points = [(max(cost, edge), mean, sd, label) for cost, mean, sd, label in points]
    _front(panel, [(cost, mean) for cost, mean, *_ in points], column.better)
    for cost, mean, sd, label in points:
        colour, marker = styles[label]
        panel.errorbar(cost, mean, sd or None, color=colour, marker=marker, ms=6, capsize=3, lw=1, mec="white", mew=0.6)
    floors(panel, board, column, ends)
    log_seconds(panel, [cost for cost, *_ in points] or [1.0], edge)


def _front(panel: Axes, points: Sequence[tuple[float, float]], better: str) -> None:
    """Join the points that no point beats at its cost or less."""
    sign = 1 if better == "higher" else -1
    front: list[tuple[float, float]] = []
    for cost, mean in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * mean > sign * front[-1][1]:
            front.append((cost, mean))
    if len(front) > 1:
        panel.step(*zip(*front, strict=True), where="post", color=PALE, lw=1.5, zorder=1)
