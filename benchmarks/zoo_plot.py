"""Draw the rows of a board of maskings and objectives, best first, as boards/README.md shows them.

python benchmarks/zoo_plot.py DIR FILE.png     a results folder, as for zoo_claims.py; equal steps
"""

import statistics
import sys
from pathlib import Path

from matplotlib.figure import Figure
from zoo import UNIFORM, Board, scored, spread
from zoo_claims import listed

from maebench.leaderboard.panels import COLOURS
from maebench.runs.drawing import save_png


def draw(board: Board) -> Figure:
    """Of each row the probe, its 95% interval over seeds, and what its step costs beside one under uniform masks."""
    seeds = {name: board.values(name) for name in board.own if listed(board.rows[name]) and board.values(name)}
    known = {name: spread(found) for name, found in seeds.items()}
    names = sorted(known, key=lambda name: known[name].mean)
    operations = {name: statistics.fmean(board.values(name, "cost", "flops_step").values()) for name in names}
    figure = Figure(figsize=(8, 0.22 * len(names) + 1), layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        one = known[name]
        marker, colour = ("o", COLOURS[0]) if board.rows[name].masks else ("s", COLOURS[1])
        axes.errorbar(one.mean, place, xerr=one.half, fmt=marker, color=colour, markersize=5, lw=1.2)
        told = f"{operations[name] / operations[str(UNIFORM)]:.2f} x   {len(seeds[name])}"
        axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    axes.annotate("operations, seeds", (1.01, len(names)), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    for row, dashes in {str(UNIFORM): (None, None), "untrained vit_mae": (3, 3)}.items():
        if found := board.values(row):
            axes.axvline(statistics.fmean(found.values()), color="0.6", lw=0.8, dashes=dashes, zorder=0)
    axes.set_yticks(range(len(names)), [name.removeprefix("vit_mae ") for name in names], fontsize=7)
    axes.set_ylim(-1, len(names) + 0.6)
    axes.set_xlabel(
        "linear probe, %, 95% interval over seeds (none: one seed)\n"
        "circles: maskings of vit_mae; squares: objectives; line: uniform; dashes: vit_mae untrained",
        fontsize=8,
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Write the picture."""
    folder, file = sys.argv[1:]
    save_png(draw(Board(scored(Path(folder)), "steps")), Path(file))


if __name__ == "__main__":
    main()
