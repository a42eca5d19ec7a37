"""A results folder -> the files of a report, beside the results. Never imports torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maebench.leaderboard import pages, plots
from maebench.leaderboard.board import Board, Row, Share, Summary, words
from maebench.leaderboard.certainty import certain
from maebench.leaderboard.comparison.scores import Cells
from maebench.leaderboard.frame import tidy
from maebench.leaderboard.information import score_vs_components
from maebench.leaderboard.rows import boards
from maebench.leaderboard.tables import Scale, head
from maebench.leaderboard.time_to_target import Goal, columns, parse, reach
from maebench.runs import records
from maebench.runs.drawing import save_png


@dataclass(frozen=True)
class Leaderboard:
    """What a results folder says."""

    folder: Path
    frame: pd.DataFrame
    """as `tidy` gives it"""
    boards: list[Board]
    targets: tuple[Goal, ...]
    warnings: list[str]
    """one line for each thing that was left out"""
    scale: Scale = "raw"
    """of the scores in tables for people; leaderboard.csv has both"""


def read(folder: Path, targets: Sequence[str] = (), scale: Scale = "raw") -> Leaderboard:
    """The boards of a results folder, and the targets ("task=value") that they shall be asked about.

    Raises LookupError where there is no result, ValueError for a target that cannot be.
    """
    frame, warnings = tidy(folder)
    warnings += records.misplaced(folder)
    if frame.empty:
        raise LookupError("; ".join([f"no results in {folder}, `maebench run CONFIG` writes some", *warnings]))
    known, lines = boards(frame)
    cells = Cells(folder, frame)
    sure = [certain(board, cells) for board in known]
    known, lines = [board for board, _ in sure], [*lines, *(line for _, some in sure for line in some)]
    return Leaderboard(folder, frame, known, parse(targets, known), warnings + lines, scale)


def write(results: Leaderboard, out: Path) -> list[Path]:
    """Write leaderboard.csv, .md and .html, details.csv and the figures into `out`; gives their paths.

    accuracy_vs_time.png needs rows with snapshots, score_vs_components.png tasks that read several numbers of
    components, time_to_target.csv targets, variance.csv scores: older ones are removed. Each is whole or absent, and
    the same results give the same bytes.
    """
    boards, targets, known = results.boards, results.targets, facts(results.frame)
    for name in ("accuracy_vs_time.png", "score_vs_components.png", "time_to_target.csv", "variance.csv"):
        (out / name).unlink(missing_ok=True)
    save_png(plots.accuracy_vs_cost(boards), out / "accuracy_vs_cost.png")
    if figure := plots.accuracy_vs_time(boards):
        save_png(figure, out / "accuracy_vs_time.png")
    if figure := score_vs_components(boards):
        save_png(figure, out / "score_vs_components.png")
    texts = {
        "leaderboard.csv": _csv(wide_table(boards)),
        "leaderboard.md": pages.markdown(boards, known, targets, results.scale),
        "leaderboard.html": pages.html(boards, known, results.folder, out, targets, results.scale),
        **({} if (parts := variances(boards)).empty else {"variance.csv": _csv(parts)}),
        "details.csv": _csv(results.frame),
        **({"time_to_target.csv": _csv(times(boards, targets))} if targets else {}),
    }
    for name, text in texts.items():
        records.write_whole(out / name, text.encode())
    return [out / name for name in (*texts, *pages.FIGURES) if (out / name).exists()]


@dataclass(frozen=True)
class Written:
    """A leaderboard and the files of its report."""

    boards: list[Board]
    targets: tuple[Goal, ...]
    paths: list[Path]
    warnings: list[str]


def write_all(folder: Path, targets: Sequence[str] = ()) -> Written:
    """Read a results folder and write its report into it. Raises what `read` raises."""
    results = read(folder, targets)
    return Written(results.boards, results.targets, write(results, folder), results.warnings)


def _csv(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n"))


def facts(frame: pd.DataFrame) -> dict[str, str]:
    """A tidy frame -> where its results come from, in words; several values are joined."""
    known = [json.loads(text) for text in frame["provenance"].unique()]

    def values(name: str) -> list[str]:
        return sorted({str(one[name]) for one in known if one.get(name) is not None})

    packages = ("maebench", "torch", "numpy", "scikit-learn", "python")
    days = [date[:10] for date in values("date")]
    found = {
        "Command": "; ".join(values("command")),
        "Hardware": "; ".join(sorted(frame["hardware"].unique())),
        "Software": "; ".join(f"{name} {', '.join(values(name))}" for name in packages if values(name)),
        "Commit": "; ".join(values("commit")) + " (with changes)" * ("True" in values("dirty")),
        "Date": " to ".join(sorted({*days[:1], *days[-1:]})),
    }
    return {name: text for name, text in found.items() if text}


def wide_table(boards: Sequence[Board]) -> pd.DataFrame:
    """One wide table of all boards: mean, half of the 95% interval, sd and n of each metric, and the settings in full.

    "floor to ceiling" is the mean between the task's floor, 0, and its ceiling, 1.
    """
    rows = [_wide(board, row) for board in boards for row in board.rows]
    rows += [
        {**_board(board), "variant": name, "floor": True}
        | {head(one, board, ""): scores[one.key] for one in board.columns if one.key in scores}
        for board in boards
        for name, scores in board.baselines.items()
    ]
    wide: pd.DataFrame = pd.DataFrame(rows).astype({"best rank": "Int64", "worst rank": "Int64"})
    return wide


def variances(boards: Sequence[Board]) -> pd.DataFrame:
    """A row for each score on a board: its mean, and the variance of one run's score by what causes it.

    `seed`: another pretraining seed; `images`: another sample of as many test images; `residual`: what a seed does to
    single images; `probe`: another draw of a read-out that draws, a part of `seed`. Empty where it cannot be told.
    """
    found = [
        {**_board(board), **_row(row, row.shares), "task": column.task, "task_settings": column.settings}
        | {"metric": column.metric, "mean": cell.mean, "±": cell.half, **asdict(cell.sources)}
        for board in boards
        for row in board.rows
        for column in board.columns
        if (cell := row.cells[column.key]).sources and any(asdict(cell.sources).values())
    ]
    long: pd.DataFrame = pd.DataFrame(found)
    return long


def times(boards: Sequence[Board], targets: Sequence[Goal]) -> pd.DataFrame:
    """A row for each target, row of a board and machine; `seconds` is empty where all that is known is `later_than`."""
    found = []
    for board, target in ((board, target) for board in boards for target in targets):
        shares = [(row, share) for row in board.rows for share in row.shares]
        for column, (row, share) in ((column, one) for column in columns(board, target) for one in shares):
            when = reach(share, column, target.value)
            what = {"task": column.task, "task_settings": column.settings, "metric": column.metric, "unit": column.unit}
            goal = {"better": column.better, "target": target.value}
            cell = {"reached": when.reached, "seconds": when.seconds, "later_than": when.after}
            found.append({**_board(board), **what, **goal, **_row(row, [share]), **cell})
    long: pd.DataFrame = pd.DataFrame(found).astype({"seconds": float})
    return long


def _board(board: Board) -> dict[str, Any]:
    return {"dataset": board.dataset, "dataset_settings": words(board.settings), "budget_kind": board.kind}


def _row(row: Row, shares: Sequence[Share]) -> dict[str, Any]:
    return {
        "variant": row.name,
        "settings": words(row.settings),
        "masking": row.masking,
        "masking_settings": words(row.masking_settings),
        "ratio": row.ratio,
        "budget": words(row.budget),
        "floor": row.floor,
        "deterministic": not row.seeds,
        "seeds": sum(share.runs for share in shares),
        "hardware": "; ".join(share.hardware for share in shares),
    }


def _wide(board: Board, row: Row) -> dict[str, Any]:
    best, worst = row.rank or (None, None)
    found: dict[str, Any] = {**_board(board), "best rank": best, "worst rank": worst, **_row(row, row.shares)}
    found["coverage"] = row.coverage([one for one in board.columns if not one.is_cost])
    found |= _numbers("overall", row.overall)
    for column in board.columns:
        name = head(column, board, "")
        found |= _numbers(name, row.cells[column.key])
        if not column.is_cost:
            found[f"{name} floor to ceiling"] = row.between.get(column.key, Summary()).mean
    return {**found, "failures": "; ".join(row.failures), "flags": "; ".join(row.flags)}


def _numbers(name: str, cell: Summary) -> dict[str, Any]:
    return {name: cell.mean, f"{name} ±": cell.half, f"{name} sd": cell.sd, f"{name} n": cell.n}
