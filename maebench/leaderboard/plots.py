"""Figures of scores: what a score costs, and how it grows over the training. Need no screen, keep no state."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from maebench.leaderboard.board import Board, Column, Row, Share, summary
from maebench.leaderboard.frame import SECONDS, Curve
from maebench.runs.drawing import save_png

# Source: Okabe and Ito, colours that colour-blind readers tell apart; their yellow is too pale for a marker.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vP*X<>hp"
GREY, PALE = "#666666", "#cccccc"
_LEGEND = 60  # names a legend holds; with more, colours and markers repeat anyway
_REACH = 1.5  # Ours: a floor further from the points than their range is named at the edge, or it would flatten them

Strip = tuple[Board, str, Sequence[Column]]
"""a line of panels: a board, one of its machines, and the columns to draw"""


def sheet(
    path: Path, strips: Sequence[Strip], legend: dict[str, Line2D], draw: Callable[[Axes, Board, str, Column], None]
) -> None:
    """Write a PNG with a line of panels per board and machine, filled by `draw`, over one legend of named lines."""
    wide = max(1, *(len(columns) for *_, columns in strips)) if strips else 1
    breadth = 3.9 * wide + 0.4
    across = max(1, int(breadth / (0.6 + 0.07 * max(map(len, legend), default=0))))
    height = 3.1 * len(strips) + 0.4 + 0.2 * math.ceil(min(len(legend), _LEGEND) / across)
    figure = Figure(figsize=(breadth, height), dpi=150, layout="constrained")
    panels = figure.subplots(len(strips), wide, squeeze=False)
    for (board, machine, columns), line in zip(strips, panels, strict=True):
        where = f"{board.title}, {machine}" if len(board.hardware) > 1 else board.title
        for panel in line[len(columns) :]:
            panel.set_axis_off()
        for column, panel in zip(columns, line, strict=False):
            draw(panel, board, machine, column)
            _dress(panel, column, where)
    names = list(legend)[:_LEGEND]
    title = f"and {len(legend) - len(names)} more" if len(legend) > len(names) else None
    below = figure.legend(
        [legend[name] for name in names], names, title=title, loc="outside lower center", ncols=across, fontsize=8,
        frameon=False,
    )  # fmt: skip
    for text in below.get_texts():
        text.set_parse_math(False)
    save_png(figure, path)


def _dress(panel: Axes, column: Column, where: str) -> None:
    panel.set_title(f"{column.task}\n", fontsize=9, fontweight="bold", loc="left", parse_math=False)
    panel.text(0, 1.02, where, fontsize=7, color=GREY, transform=panel.transAxes, parse_math=False)
    arrow = {"higher": "↑", "lower": "↓"}[column.better]
    name = " ".join(word for word in (column.metric, column.unit, arrow) if word)
    panel.set_ylabel(name, fontsize=8, parse_math=False)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#eeeeee", lw=0.6)
    panel.set_axisbelow(True)


def looks(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """The label of each row -> its colour, one per variant, and its marker, another for each row of the variant."""
    labels = {row.label: row.variant for row in sorted(rows, key=lambda row: (row.variant, row.label))}
    variants = list(dict.fromkeys(labels.values()))
    seen: dict[str, int] = {}
    found = {}
    for label, variant in labels.items():
        number = seen[variant] = seen.get(variant, -1) + 1
        found[label] = COLOURS[variants.index(variant) % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return found


def floors(panel: Axes, board: Board, column: Column, ends: Sequence[float]) -> None:
    """Dashed lines named at the right; names are pushed apart, and one far off is named at the edge, with an arrow.

    Also sets the range of the panel, so that it holds `ends` and the floors near them.
    """
    means = {row.label: row.cells[column.key].mean for row in board.rows if row.floor}
    known = {label: mean for label, mean in means.items() if mean is not None}
    ends = ends or list(known.values()) or [0.0]
    reach = _REACH * (max(ends) - min(ends)) or 0.1 * abs(ends[0]) or 1.0
    near = [mean for mean in known.values() if min(ends) - reach <= mean <= max(ends) + reach]
    low, high = min([*ends, *near]), max([*ends, *near])
    margin = 0.08 * (high - low) or reach
    low, high = low - margin, high + margin
    panel.set_ylim(low, high)
    names = sorted(known, key=lambda name: known[name])
    places = [(known[name] - low) / (high - low) for name in names]
    for name, place, height in zip(names, places, apart(places, 0.065), strict=True):
        mean, inside = known[name], 0 <= place <= 1
        if inside:
            panel.axhline(mean, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        text = name if inside else f"{name} {mean:.3g} {'↓' if place < 0 else '↑'}"
        panel.text(1.02, height, text, fontsize=7, color=GREY, va="center", transform=panel.transAxes, parse_math=False)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising places, kept within [0, 1] and then pushed apart, each as little as its neighbours allow."""
    found = [min(max(place, 0.0), 1.0) for place in places]
    for _ in range(200):  # enough for as many names as a panel can hold
        for one in range(1, len(found)):
            push = (gap - (found[one] - found[one - 1])) / 2
            if push > 0:
                found[one - 1 : one + 1] = found[one - 1] - push, found[one] + push
    return found


def log_seconds(panel: Axes, costs: Sequence[float], edge: float) -> None:
    """A logarithmic axis in plain numbers, with a tick 0 at the edge where rows without cost stand."""
    low, high = min(costs), max(costs)
    panel.set_xscale("log")
    panel.set_xlim(low / 1.7, high * 1.7)
    steps = LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0)).tick_values(low / 1.7, high * 1.7)
    free = low / 1.7 if low > edge else 2 * edge
    ticks = {**({} if low > edge else {edge: "0"}), **{at: f"{at:g}" for at in steps if free < at < high * 1.7}}
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("pretraining, seconds", fontsize=8)


def accuracy_vs_cost(path: Path, boards: Sequence[Board]) -> None:
    """Write a PNG with a panel per board, machine and task: the metric over the seconds of pretraining.

    Rows are points with the sd over seeds, floors are dashed lines, and the grey line joins the rows that none beats.
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
    sheet(path, strips, marks, lambda panel, board, machine, column: _costs(panel, board, machine, column, styles))


def _costs(panel: Axes, board: Board, machine: str, column: Column, styles: dict[str, tuple[str, str]]) -> None:
    points, ends = [], []
    for row in board.rows:
        score = row.cells[column.key]
        if not row.floor and score.mean is not None:
            ends += [score.mean - (score.sd or 0), score.mean + (score.sd or 0)]  # all machines share the range
    for row, share in _shares_on(board, machine):
        score, cost = row.cells[column.key], _price(board, share)
        if score.mean is not None and cost is not None:
            points.append((cost, score.mean, score.sd or 0.0, row.label))
    edge = min((cost for cost, *_ in points if cost > 0), default=1.0) / 3
    points = [(max(cost, edge), mean, sd, label) for cost, mean, sd, label in points]
    _front(panel, [(cost, mean) for cost, mean, *_ in points], column.better)
    for cost, mean, sd, label in points:
        colour, marker = styles[label]
        panel.errorbar(cost, mean, sd or None, color=colour, marker=marker, ms=6, capsize=3, lw=1, mec="white", mew=0.6)
    floors(panel, board, column, ends)
    log_seconds(panel, [cost for cost, *_ in points] or [1.0], edge)


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
            ls=_STROKES[place // len(COLOURS) % len(_STROKES)] if name in grown else "",
        )
        for place, (name, (_, marker)) in enumerate(looks(drawn).items())
    }  # fmt: skip


def _shares_on(board: Board, machine: str) -> list[tuple[Row, Share]]:
    return [(row, one) for row in board.rows if not row.floor for one in row.shares if one.hardware == machine]


def _grow(curves: Sequence[Curve]) -> bool:
    return any(point.step is not None for curve in curves for point in curve)


def _panel(panel: Axes, board: Board, machine: str, column: Column, lines: dict[str, Line2D]) -> None:
    shares = _shares_on(board, machine)
    found = {row.label: means(share.curves[column.key], row.curves[column.key]) for row, share in shares}
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


def means(timed: Sequence[Curve], every: Sequence[Curve]) -> list[tuple[float, float, float | None]]:
    """The curves of a row's runs on one machine, and of all its runs -> each moment: seconds there, mean and sd of all.

    Only the snapshots that every run has: a mean over fewer runs would jump.
    """
    here, runs = ([{point.step: point for point in curve} for curve in curves if curve] for curves in (timed, every))
    moments = [step for step in (here[0] if here else ()) if all(step in run for run in runs)]
    seconds = [summary([run[step].seconds for run in here]) for step in moments]
    values = [summary([run[step].value for run in runs]) for step in moments]
    return [(time.mean or 0.0, value.mean or 0.0, value.sd) for time, value in zip(seconds, values, strict=True)]
