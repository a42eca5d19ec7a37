"""A results folder -> the files of a report, beside the results. Never imports torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maebench import plots, records, render
from maebench.leaderboard import boards, tidy
from maebench.stats import Board, Row, words


@dataclass(frozen=True)
class Report:
    """What `write_all` found and wrote."""

    boards: list[Board]
    paths: list[Path]
    warnings: list[str]
    """one line for each thing that was left out"""


def write_all(folder: Path) -> Report:
    """Write leaderboard.csv, .md and .html, details.csv and accuracy_vs_cost.png into the results folder.

    Each is whole or absent, and the same results give the same bytes. Raises LookupError where there is no result.
    """
    frame, warnings = tidy(folder)
    if frame.empty:
        raise LookupError("; ".join([f"no results in {folder}, `maebench run CONFIG` writes some", *warnings]))
    found, lines = boards(frame)
    known = facts(frame)
    figure = folder / "accuracy_vs_cost.png"
    plots.accuracy_vs_cost(figure, found)
    texts = {
        "leaderboard.csv": table(found).to_csv(index=False, lineterminator="\n"),
        "leaderboard.md": render.markdown(found, known),
        "leaderboard.html": render.html(found, known, folder),
        "details.csv": frame.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in texts.items():
        records.write_whole(folder / name, text.encode())
    return Report(found, [*(folder / name for name in texts), figure], warnings + lines)


def facts(frame: pd.DataFrame) -> dict[str, str]:
    """A tidy frame -> where its results come from, in words; several values are joined."""
    known = [json.loads(text) for text in frame["provenance"].unique()]

    def values(name: str) -> list[str]:
        return sorted({str(one[name]) for one in known if one.get(name) is not None})

    packages = ("maebench", "torch", "numpy", "timm", "scikit-learn", "python")
    days = [date[:10] for date in values("date")]
    found = {
        "Command": "; ".join(values("command")),
        "Hardware": "; ".join(sorted(frame["hardware"].unique())),
        "Software": "; ".join(f"{name} {', '.join(values(name))}" for name in packages if values(name)),
        "Commit": "; ".join(values("commit")) + " (with changes)" * ("True" in values("dirty")),
        "Date": " to ".join(sorted({*days[:1], *days[-1:]})),
    }
    return {name: text for name, text in found.items() if text}


def table(boards: Sequence[Board]) -> pd.DataFrame:
    """One wide table of all boards: mean, sd and n of each metric, and the settings in full."""
    rows = [_wide(board, row) for board in boards for row in board.rows]
    wide: pd.DataFrame = pd.DataFrame(rows).astype({"rank": "Int64"})
    return wide


def _wide(board: Board, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "dataset": board.dataset,
        "dataset_settings": words(board.settings),
        "rank": row.rank,
        "variant": row.name,
        "settings": words(row.settings),
        "masking": row.masking,
        "masking_settings": words(row.masking_settings),
        "ratio": row.ratio,
        "budget": words(row.budget),
        "floor": row.floor,
        "deterministic": not row.seeds,
        "seeds": row.runs,
        "hardware": row.hardware,
    }
    for column in board.columns:
        cell, name = row.cells[column.key], render.head(column, board, "")
        found |= {name: cell.mean, f"{name} sd": cell.sd, f"{name} n": cell.n}
    return {**found, "failures": "; ".join(row.failures)}
