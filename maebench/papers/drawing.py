"""How the figures of a reproduction look: sheets of panels, lines with a band over seeds, maps of numbers."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maebench.leaderboard.panels import COLOURS, MARKERS
from maebench.runs.drawing import save_png
from maebench.runs.records import write_whole


def sheet(rows: int, columns: int, width: float = 3.3, height: float = 2.7) -> tuple[Figure, NDArray[Any]]:
    """An empty figure of rows x columns panels, each width x height inches, and its axes [rows, columns]."""
    figure = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def dress(panel: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title, axis labels and a quiet frame."""
    panel.set_title(title, fontsize=9, loc="left")
    panel.set_xlabel(x, fontsize=8)
    panel.set_ylabel(y, fontsize=8)
    panel.tick_params(which="both", labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#eeeeee", lw=0.6)
    panel.set_axisbelow(True)


def lines(panel: Axes, table: pd.DataFrame, x: str, y: str, by: str, names: str = "{}") -> None:
    """A line for each value of the column `by`: mean of `y` over the rows of each `x`, and a band of one sd.

    `names` is the text of the legend, with {} for the value.
    """
    for number, (value, part) in enumerate(table.groupby(by, sort=False)):
        spread = part.groupby(x)[y].agg(["mean", "std"]).fillna(0)
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        marker = marker if len(spread) <= 16 else ""
        panel.plot(spread.index, spread["mean"], color=colour, marker=marker, ms=4, lw=1.3, label=names.format(value))
        low, high = spread["mean"] - spread["std"], spread["mean"] + spread["std"]
        panel.fill_between(spread.index, low, high, color=colour, alpha=0.2, lw=0)
    panel.legend(fontsize=7, frameon=False)


def heat(panel: Axes, values: NDArray[np.floating], colours: str = "viridis", limit: float | None = None) -> None:
    """A map of numbers [rows, columns], with its own colour bar; `limit` makes the range -limit to limit."""
    low, high = (None, None) if limit is None else (-limit, limit)
    image = panel.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    assert panel.figure is not None
    bar = panel.figure.colorbar(image, ax=panel, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    panel.grid(visible=False)


def save(figure: Figure, path: Path) -> None:
    """Write path.png and path.svg, each whole or not at all; the same figure gives the same bytes."""
    save_png(figure, path.with_name(f"{path.name}.png"))
    data = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "maebench"}):
        figure.savefig(data, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    write_whole(path.with_name(f"{path.name}.svg"), data.getvalue())
