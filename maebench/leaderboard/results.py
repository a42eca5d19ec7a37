"""A results folder as a value: its boards and its table, drawn in a notebook."""

from html import escape
from pathlib import Path

import pandas as pd

from maebench.leaderboard.board import Board
from maebench.leaderboard.comparison.compare import Comparison, compare
from maebench.leaderboard.report import read, wide_table
from maebench.leaderboard.tables import board_table, notes


class Results:
    """What `maebench run` has left in a folder. Final."""

    def __init__(self, folder: str | Path) -> None:
        """Raises LookupError where the folder holds no results."""
        self.folder = Path(folder)
        self._read = read(self.folder)

    @property
    def details(self) -> pd.DataFrame:
        """A row each metric of each run: all that was measured."""
        return self._read.frame

    @property
    def boards(self) -> list[Board]:
        """One a data set, its settings and a kind of budget; rows best first, then floors."""
        return self._read.boards

    @property
    def warnings(self) -> list[str]:
        """One line for each thing that was left out."""
        return self._read.warnings

    @property
    def table(self) -> pd.DataFrame:
        """A row each row of the boards: mean, sd and n of each headline metric and cost, and the settings in full."""
        return wide_table(self.boards)

    def compare(self, a: str, b: str) -> Comparison:
        """Two rows, named by words of their labels: what is known of their difference, as sentences and as a table.

        Raises LookupError, one line, where the words name no row or several, or no task is common.
        """
        return compare(self._read, self._read, a, b)

    def __repr__(self) -> str:
        """The boards as plain tables."""
        tables = (f"{board.title}\n{_shown(board).to_string(index=False)}" for board in self.boards)
        return "\n\n".join([f"Results({str(self.folder)!r})", *tables, *self.warnings])

    def _repr_html_(self) -> str:
        """The boards as a notebook shows them; every text is escaped."""
        parts = []
        for board in self.boards:
            table = _shown(board).to_html(index=False, border=0)
            below = "".join(f"<li>{escape(name)}: {escape(text)}</li>" for name, text in notes(board))
            parts.append(
                f"<h4>{escape(board.title)}</h4>{table}<details><summary>notes</summary><ul>{below}</ul></details>"
            )
        parts += [f"<p>{escape(line)}</p>" for line in self.warnings]
        return "\n".join(parts)


def _shown(board: Board) -> pd.DataFrame:
    heads, rows = board_table(board)
    table: pd.DataFrame = pd.DataFrame([[cell.text for cell in row] for row in rows], columns=heads)
    return table


def results(folder: str | Path) -> Results:
    """The results in a folder. Raises LookupError where it holds none."""
    return Results(folder)
