"""Figure: what a read-out gets from the first k principal components of an encoder's features. Needs no screen."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from maebench.leaderboard.board import Board, Column, Row
from maebench.leaderboard.panels import COLOURS, GREY, STROKES, Strip, looks, sheet


def score_vs_components(boards: Sequence[Board]) -> Figure | None:
    """A panel per board and task: the headline metric against k, mean and 95% interval over seeds; floors are grey.

    None where no task has scored several k.
    """
    strips: list[Strip] = []
    for board in boards:
        keys = {key for row in board.rows for key in row.axes}
        columns = [one for one in board.columns if one.key in keys]
        strips += [(board, "", columns)] if columns else []
    if not strips:
        return None
    styles = _styles([row for board, *_ in strips for row in board.rows if row.axes])
    lines = {label: Line2D([], [], **style) for label, style in styles.items()}
    floors = {board.title: [row for row in board.rows if row.floor] for board, *_ in strips}
    raced: list[Strip] = [  # floors are lines here as well, not the level lines that a sheet draws of them
        (replace(board, rows=tuple(row for row in board.rows if not row.floor)), "", columns)
        for board, _, columns in strips
    ]
    return sheet(
        raced,
        lines,
        lambda panel, board, _, column: _panel(panel, [*board.rows, *floors[board.title]], column, styles),
    )


def _styles(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """The label of each row -> how its line is drawn: colours and strokes go round, floors are grey and thin."""
    found: dict[str, dict[str, Any]] = {}
    for place, (label, (_, marker)) in enumerate(looks([row for row in rows if not row.floor]).items()):
        colour, stroke = COLOURS[place % len(COLOURS)], STROKES[place // len(COLOURS) % len(STROKES)]
        found[label] = {"color": colour, "ls": stroke, "marker": marker, "lw": 1.6}
    for place, (label, (_, marker)) in enumerate(looks([row for row in rows if row.floor]).items()):
        found[label] = {"color": GREY, "ls": STROKES[1 + place % 3], "marker": marker, "lw": 1.1}
    return {label: {**style, "ms": 4, "mec": "white", "mew": 0.5} for label, style in found.items()}


def _panel(panel: Axes, rows: Sequence[Row], column: Column, styles: dict[str, dict[str, Any]]) -> list[float]:
    """Draw the line of each row; gives the ends of all."""
    ends: list[float] = []
    ticks: set[int] = set()
    for row in rows:
        points = row.axes.get(column.key, ())
        ks, means = [k for k, _ in points], [one.mean or 0.0 for _, one in points]
        halves = [one.half or 0.0 for _, one in points]
        if not points:
            continue
        low, high = ([mean + sign * half for mean, half in zip(means, halves, strict=True)] for sign in (-1, 1))
        ends += [*means] if row.floor else [*low, *high]
        ticks |= set(ks)
        style = styles[row.label]
        panel.fill_between(ks, low, high, color=style["color"], alpha=0.15, lw=0)
        panel.plot(ks, means, zorder=2 if row.floor else 3, **style)
    panel.set_xscale("log", base=2)
    panel.set_xticks(sorted(ticks), [f"{k}" for k in sorted(ticks)])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("principal components read, k", fontsize=8)
    return ends
