"""Figure: what a read-out gets from the first k principal components of an encoder's features. Needs no screen."""

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from maebench.leaderboard.board import Board, Column, Row
from maebench.leaderboard.panels import COLOURS, GREY, Strip, looks, sheet

_STROKES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


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
    rows = [row for board, *_ in strips for row in board.rows if row.axes]
    lines = {
        label: _look(place, marker)
        for place, (label, (_, marker)) in enumerate(looks([row for row in rows if not row.floor]).items())
    }
    for place, (label, (_, marker)) in enumerate(looks([row for row in rows if row.floor]).items()):
        lines[label] = Line2D([], [], color=GREY, marker=marker, ms=4, lw=1.1, ls=_STROKES[1 + place % 3])
    floors = {board.title: [row for row in board.rows if row.floor] for board, *_ in strips}
    raced: list[Strip] = [  # floors are lines here as well, not the level lines that a sheet draws of them
        (replace(board, rows=tuple(row for row in board.rows if not row.floor)), "", columns)
        for board, _, columns in strips
    ]
    return sheet(
        raced,
        lines,
        lambda panel, board, _, column: _panel(panel, [*board.rows, *floors[board.title]], column, lines),
    )


def _look(place: int, marker: str) -> Line2D:
    colour, stroke = COLOURS[place % len(COLOURS)], _STROKES[place // len(COLOURS) % len(_STROKES)]
    return Line2D([], [], color=colour, marker=marker, ms=5, mec="white", mew=0.5, lw=1.6, ls=stroke)


def _panel(panel: Axes, rows: Sequence[Row], column: Column, lines: dict[str, Line2D]) -> list[float]:
    """Draw the line of each row; gives the ends of all."""
    ends: list[float] = []
    ticks: set[int] = set()
    for row in rows:
        points = row.axes.get(column.key, ())
        ks, means = [k for k, _ in points], [one.mean or 0.0 for _, one in points]
        halves = [one.half or 0.0 for _, one in points]
        look = lines.get(row.label)
        if look is None or not points:
            continue
        low, high = ([mean + sign * half for mean, half in zip(means, halves, strict=True)] for sign in (-1, 1))
        ends += [*means] if row.floor else [*low, *high]
        ticks |= set(ks)
        panel.fill_between(ks, low, high, color=look.get_color(), alpha=0.15, lw=0)
        (line,) = panel.plot(ks, means)
        line.update_from(look)
        line.set(markersize=4, zorder=2 if row.floor else 3)
    panel.set_xscale("log", base=2)
    panel.set_xticks(sorted(ticks), [f"{k}" for k in sorted(ticks)])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("principal components read, k", fontsize=8)
    return ends
