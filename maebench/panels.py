"""What the figures of scores share: a sheet of panels, looks of rows, floors, an axis of seconds."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from maebench.runs.drawing import save
from maebench.stats import Board, Column, Row

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
    save(figure, path)


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
