"""Lines of panels over one legend, with the floors in every panel: the frame of the figures of scores."""

import textwrap
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from maebench.leaderboard.board import Board, Column, Row
from maebench.runs.drawing import any_letters

# Source: Okabe and Ito, colours that colour-blind readers tell apart; their yellow is too pale for a marker.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vP*X<>hp"
STROKES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
GREY, PALE = "#666666", "#cccccc"
_LEGEND = 60  # names a legend holds; with more, colours and markers repeat anyway
_LETTER = 0.08  # inches that a letter of a legend takes, on the safe side
_NAME = 26  # letters beside a panel; a floor with a longer name has a number there, and its name in the legend
_FLOORS = 12  # names beside a panel: those of the best floors
_DASHED = (0, (4, 3))
_REACH = 1.5  # Ours: a floor further from the points than their range is named at the edge, or it would flatten them

Strip = tuple[Board, str, Sequence[Column]]
"""a line of panels: a board, one of its machines, and the columns to draw"""
Draw = Callable[[Axes, Board, str, Column], Sequence[float]]
"""draws the rows of one machine into a panel; gives the lowest and highest values that shall be in sight"""


def sheet(strips: Sequence[Strip], legend: dict[str, Line2D], draw: Draw) -> Figure:
    """A line of panels per board and machine, filled by `draw`, over one legend of named lines.

    As high as panels and legend need; as wide as the panels, or for a long name up to the width of two.
    """
    floors = _called([board for board, *_ in strips])
    line = Line2D([], [], color=GREY, lw=0.9, ls=_DASHED)
    legend = {**legend, **{f"{name}: {label}": line for label, name in floors.items() if name != label}}
    wide = max(1, *(len(columns) for *_, columns in strips)) if strips else 1
    breadth = max(3.9 * wide, min(7.8, 0.2 + _LETTER * max(map(len, legend), default=0))) + 0.4
    figure = Figure(figsize=(breadth, 3.1), dpi=150, layout="constrained")
    panels = figure.subplots(len(strips), wide, squeeze=False)
    for (board, machine, columns), row in zip(strips, panels, strict=True):
        where = f"{board.title}, {machine}" if len(board.hardware) > 1 else board.title
        for panel in row[len(columns) :]:
            panel.set_axis_off()
        for column, panel in zip(columns, row, strict=False):
            _draw_floors(panel, board, column, draw(panel, board, machine, column), floors)
            _dress(panel, column, board.task_of(column), _folded(where, breadth / wide - 0.6))
    with any_letters():
        height = _legend(figure, legend, breadth).get_window_extent().height / figure.dpi
    figure.set_size_inches(breadth, 3.1 * len(strips) + height + 0.2)
    return figure


def _legend(figure: Figure, legend: dict[str, Line2D], breadth: float) -> Legend:
    names = list(legend)[:_LEGEND]
    texts = [_folded(name, breadth - 0.8) for name in names]
    longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
    title = f"and {len(legend) - len(names)} more" if len(legend) > len(names) else None
    below = figure.legend(
        [legend[name] for name in names], texts, title=title, loc="outside lower center", fontsize=8, frameon=False,
        ncols=max(1, int(breadth / (0.6 + _LETTER * longest))),
    )  # fmt: skip
    for text in below.get_texts():
        text.set_parse_math(False)
    return below


def _folded(text: str, inches: float) -> str:
    """A text in lines of that many inches, broken between words where it can be."""
    return textwrap.fill(text, max(1, int(inches / _LETTER)), break_on_hyphens=False)


def _dress(panel: Axes, column: Column, title: str, where: str) -> None:
    lines = "\n" * len(where.splitlines())
    panel.set_title(f"{title}{lines}", fontsize=9, fontweight="bold", loc="left", parse_math=False)
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


def _called(boards: Sequence[Board]) -> dict[str, str]:
    """The label of each floor -> what it is called beside the panels: a number where that has no room."""
    labels = sorted({row.label for board in boards for row in board.rows if row.floor})
    long = [label for label in labels if len(label) > _NAME]
    return {label: f"floor {long.index(label) + 1}" if label in long else label for label in labels}


def _draw_floors(panel: Axes, board: Board, column: Column, ends: Sequence[float], called: dict[str, str]) -> None:
    """Dashed lines, the best named at the right: names are pushed apart, one far off is at the edge, with an arrow.

    Also sets the range of the panel, so that it holds `ends` and the floors near them.
    """
    means = {called[row.label]: row.cells[column.key].mean for row in board.rows if row.floor}
    known = {name: mean for name, mean in means.items() if mean is not None}
    ends = ends or list(known.values()) or [0.0]
    reach = _REACH * (max(ends) - min(ends)) or 0.1 * abs(ends[0]) or 1.0
    near = [mean for mean in known.values() if min(ends) - reach <= mean <= max(ends) + reach]
    low, high = min([*ends, *near]), max([*ends, *near])
    margin = 0.08 * (high - low) or reach
    low, high = low - margin, high + margin
    panel.set_ylim(low, high)
    for mean in near:
        panel.axhline(mean, color=GREY, lw=0.9, ls=_DASHED, zorder=1)
    names = sorted(known, key=lambda name: known[name], reverse=column.better == "higher")[:_FLOORS]
    names.sort(key=lambda name: known[name])
    places = [(known[name] - low) / (high - low) for name in names]
    for name, place, height in zip(names, places, apart(places, 0.065), strict=True):
        text = name if 0 <= place <= 1 else f"{name}: {known[name]:.3g} {'↓' if place < 0 else '↑'}"
        panel.text(1.02, height, text, fontsize=7, color=GREY, va="center", transform=panel.transAxes, parse_math=False)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising places, kept within [0, 1] and pushed apart there, each as little as its neighbours allow."""
    found = list(places)
    for _ in range(300):  # enough for as many names as a panel can hold
        found = [min(max(place, 0.0), 1.0) for place in found]
        for one in range(1, len(found)):
            push = (gap - (found[one] - found[one - 1])) / 2
            if push > 0:
                found[one - 1 : one + 1] = found[one - 1] - push, found[one] + push
    return found


def log_seconds(panel: Axes, costs: Sequence[float], edge: float) -> None:
    """A logarithmic axis in plain numbers, with a tick 0 at the edge where rows without cost stand."""
    low, high = min(costs), max(costs)
    panel.set_xlim(low / 1.7, high * 1.7)  # first, or the scale looks for limits of its own, and warns of a single cost
    panel.set_xscale("log")
    steps = LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0)).tick_values(low / 1.7, high * 1.7)
    free = low / 1.7 if low > edge else 2 * edge
    ticks = {**({} if low > edge else {edge: "0"}), **{at: f"{at:g}" for at in steps if free < at < high * 1.7}}
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("pretraining, seconds", fontsize=8)
