"""Figures: what a score costs, and what a variant saw and painted. Needs no screen and keeps no global state."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from maebench.records import write_whole
from maebench.stats import Board, Column, Row

# Source: Okabe and Ito, colours that colour-blind readers tell apart; their yellow is too pale for a marker.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vP*X<>hp"
_GREY, _PALE = "#666666", "#cccccc"
_LEGEND = 60  # names a legend holds; with more, colours and markers repeat anyway
_TILE = 96  # pixels an image is drawn with, at least
_REACH = 1.5  # Ours: a floor further from the points than their range is named at the edge, or it would flatten them


def accuracy_vs_cost(path: Path, boards: Sequence[Board]) -> None:
    """Write a PNG with a panel per data set, machine and task: the metric over the seconds of pretraining.

    Rows are points with the sd over seeds, floors are dashed lines, and the grey line joins the rows that none beats.
    """
    strips = [(board, machine) for board in boards for machine in board.hardware]
    tasks = [[one for one in board.columns if not one.is_cost and one.metric] for board, _ in strips]
    wide = max(1, *map(len, tasks))
    looks = _looks([row for board in boards for row in board.rows if not row.floor])
    breadth = 3.9 * wide + 0.4
    columns = max(1, int(breadth / (0.6 + 0.07 * max(map(len, looks), default=0))))
    height = 3.1 * len(strips) + 0.4 + 0.2 * math.ceil(min(len(looks), _LEGEND) / columns)
    figure = Figure(figsize=(breadth, height), dpi=150, layout="constrained")
    panels = figure.subplots(len(strips), wide, squeeze=False)
    for (board, machine), scored, line in zip(strips, tasks, panels, strict=True):
        where = f"{board.title}, {machine}" if len(board.hardware) > 1 else board.title
        for panel in line[len(scored) :]:
            panel.set_axis_off()
        for column, panel in zip(scored, line, strict=False):
            _panel(panel, board, machine, column, looks)
            panel.set_title(f"{column.task}\n", fontsize=9, fontweight="bold", loc="left", parse_math=False)
            panel.text(0, 1.02, where, fontsize=7, color=_GREY, transform=panel.transAxes, parse_math=False)
    names = list(looks)[:_LEGEND]
    marks = [Line2D([], [], color=looks[name][0], marker=looks[name][1], ls="", ms=6) for name in names]
    title = f"and {len(looks) - len(names)} more" if len(looks) > len(names) else None
    legend = figure.legend(
        marks, names, title=title, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def _looks(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """The label of each row -> its colour, one per variant, and its marker, another for each row of the variant."""
    labels = {row.label: row.variant for row in sorted(rows, key=lambda row: (row.variant, row.label))}
    variants = list(dict.fromkeys(labels.values()))
    seen: dict[str, int] = {}
    looks = {}
    for label, variant in labels.items():
        number = seen[variant] = seen.get(variant, -1) + 1
        looks[label] = _COLOURS[variants.index(variant) % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    return looks


def _panel(panel: Axes, board: Board, machine: str, column: Column, looks: dict[str, tuple[str, str]]) -> None:
    seconds = next((one.key for one in board.columns if one.is_cost and one.metric == "pretrain_seconds"), None)
    points, ends = [], []
    for row in board.rows:
        score, cost = row.cells[column.key], row.cells[seconds].mean if seconds else None
        if not row.floor and score.mean is not None:
            ends += [score.mean - (score.sd or 0), score.mean + (score.sd or 0)]  # all machines share the range
        if not row.floor and row.hardware == machine and score.mean is not None and cost is not None:
            points.append((cost, score.mean, score.sd or 0.0, row.label))
    edge = min((cost for cost, *_ in points if cost > 0), default=1.0) / 3
    points = [(max(cost, edge), mean, sd, label) for cost, mean, sd, label in points]
    _front(panel, [(cost, mean) for cost, mean, *_ in points], column.better)
    for cost, mean, sd, label in points:
        colour, marker = looks[label]
        panel.errorbar(cost, mean, sd or None, color=colour, marker=marker, ms=6, capsize=3, lw=1, mec="white", mew=0.6)
    floors = {row.label: row.cells[column.key].mean for row in board.rows if row.floor}
    _floors(panel, {name: mean for name, mean in floors.items() if mean is not None}, ends)
    _seconds(panel, [cost for cost, *_ in points] or [1.0], edge)
    arrow = {"higher": "↑", "lower": "↓"}[column.better]
    name = " ".join(word for word in (column.metric, column.unit, arrow) if word)
    panel.set_ylabel(name, fontsize=8, parse_math=False)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#eeeeee", lw=0.6)
    panel.set_axisbelow(True)


def _front(panel: Axes, points: Sequence[tuple[float, float]], better: str) -> None:
    """Join the points that no point beats at its cost or less."""
    sign = 1 if better == "higher" else -1
    front: list[tuple[float, float]] = []
    for cost, mean in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * mean > sign * front[-1][1]:
            front.append((cost, mean))
    if len(front) > 1:
        panel.step(*zip(*front, strict=True), where="post", color=_PALE, lw=1.5, zorder=1)


def _floors(panel: Axes, floors: dict[str, float], ends: Sequence[float]) -> None:
    """Dashed lines named at the right; names are pushed apart, and one far off is named at the edge, with an arrow."""
    ends = ends or list(floors.values()) or [0.0]
    reach = _REACH * (max(ends) - min(ends)) or 0.1 * abs(ends[0]) or 1.0
    near = [mean for mean in floors.values() if min(ends) - reach <= mean <= max(ends) + reach]
    low, high = min([*ends, *near]), max([*ends, *near])
    margin = 0.08 * (high - low) or reach
    low, high = low - margin, high + margin
    panel.set_ylim(low, high)
    names = sorted(floors, key=lambda name: floors[name])
    places = [(floors[name] - low) / (high - low) for name in names]
    for name, place, height in zip(names, places, _apart(places, 0.065), strict=True):
        mean, inside = floors[name], 0 <= place <= 1
        if inside:
            panel.axhline(mean, color=_GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        text = name if inside else f"{name} {mean:.3g} {'↓' if place < 0 else '↑'}"
        panel.text(
            1.02, height, text, fontsize=7, color=_GREY, va="center", transform=panel.transAxes, parse_math=False
        )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising places, kept within [0, 1] and then pushed apart, each as little as its neighbours allow."""
    found = [min(max(place, 0.0), 1.0) for place in places]
    for _ in range(200):  # enough for as many names as a panel can hold
        for one in range(1, len(found)):
            push = (gap - (found[one] - found[one - 1])) / 2
            if push > 0:
                found[one - 1 : one + 1] = found[one - 1] - push, found[one] + push
    return found


def _seconds(panel: Axes, costs: Sequence[float], edge: float) -> None:
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


def reconstruction(
    path: Path, images: NDArray[np.floating], seen: NDArray[np.floating], pixels: NDArray[np.floating], title: str
) -> None:
    """Write a PNG of three rows: input, what the encoder saw, reconstruction; each [B, C, H, W] in [0, 1].

    NaN in `seen` is hidden and drawn hatched; values outside [0, 1] are clipped; pixels are drawn as squares.
    """
    count, _, height, width = images.shape
    scale = max(1, math.ceil(_TILE / min(height, width)))
    gap, names = 6, ("input", "seen", "reconstruction")
    rows = [[_tile(image, scale) for image in batch] for batch in (images, seen, pixels)]
    tall, broad = height * scale + gap, width * scale + gap
    dpi, left, top = 100, 110, 34
    size = (left + broad * count, top + tall * len(rows))
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi), dpi=dpi)
    figure.text(
        left / size[0], 1 - 0.5 * top / size[1], title, fontsize=10, fontweight="bold", va="center", parse_math=False
    )
    for down, (name, tiles) in enumerate(zip(names, rows, strict=True)):
        bottom = size[1] - top - tall * (down + 1) + gap
        figure.text(
            (left - 8) / size[0], (bottom + (tall - gap) / 2) / size[1], name, fontsize=9, ha="right", va="center"
        )
        for across, tile in enumerate(tiles):
            figure.figimage(tile, left + broad * across, bottom, resize=False)
    _save(figure, path)


def _tile(image: NDArray[np.floating], scale: int) -> NDArray[np.floating]:
    """[C, H, W] -> [H * scale, W * scale, 3]; other than three channels are shown as their mean."""
    three = image if len(image) == 3 else np.repeat(image.mean(0, keepdims=True), 3, axis=0)
    large = three.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
    y, x = np.indices(large.shape[:2])
    hatch = np.where((x + y) % 8 < 2, 0.55, 0.78)[..., None]
    return np.where(np.isnan(large), hatch, large.clip(0, 1))


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", facecolor="white", metadata={"Software": None})
    write_whole(path, data.getvalue())
