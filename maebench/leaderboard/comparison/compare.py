"""Two rows of boards, compared task by task: numbers, and sentences that can be quoted. Never torch."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from maebench.leaderboard import plots
from maebench.leaderboard.board import Board, Row
from maebench.leaderboard.comparison.contest import HEADS, Contest, cells, numbers, sentence
from maebench.leaderboard.comparison.ranks import holm
from maebench.leaderboard.comparison.scores import Cells
from maebench.leaderboard.comparison.statistics import Difference, Scores, difference, interval
from maebench.leaderboard.frame import SECONDS
from maebench.leaderboard.pages import md
from maebench.leaderboard.report import Leaderboard
from maebench.leaderboard.tables import plain
from maebench.runs import records
from maebench.runs.drawing import save_png

_NAMED = 12  # rows that a message lists
HOW = (
    "Intervals and least differences are those of each task alone, p-values are corrected by Holm for all tasks here. "
    "Runs are paired by seed. With scores of images they are also paired by image, and what is said is about other "
    "seeds and other test images of the kind; without, it is about other seeds on these test images. The effect size "
    "is the mean over the standard deviation of the paired differences of seeds, with Hedges' correction. The least "
    "difference is what a test at 5% with these seeds would have shown 4 times in 5."
)


@dataclass(frozen=True)
class Comparison:
    """What is known of two rows. Shows itself as sentences."""

    a: str
    b: str
    contests: tuple[Contest, ...]
    costs: tuple[str, ...]
    """sentences"""
    warnings: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        """One a task, then those of cost."""
        tests = sum(one.p is not None for one in self.contests)
        return [*(sentence(one, self.a, self.b, tests) for one in self.contests), *self.costs]

    @property
    def table(self) -> pd.DataFrame:
        """A row a task, with all numbers."""
        table: pd.DataFrame = pd.DataFrame([numbers(one, self.a, self.b) for one in self.contests])
        return table

    def __repr__(self) -> str:
        """The sentences, a line each."""
        return "\n".join([*self.sentences, *self.warnings])


def compare(left: Leaderboard, right: Leaderboard, a: str, b: str) -> Comparison:
    """Compare the row of `left` that the words `a` name with the row of `right` that the words `b` name.

    A row is named by all or some words of its label, and of its board's title where that is needed. Raises LookupError,
    one line, where they name no row or several, or no task is common, and ValueError where the data differ.
    """
    firsts, seconds = named(left.boards, a, str(left.folder)), named(right.boards, b, str(right.folder))
    folders = Cells(left.folder, left.frame), Cells(right.folder, right.frame)
    found: list[Contest] = []
    costs: list[str] = []
    warnings: list[str] = []
    labels = (a, b)
    for place in (one for one in firsts if one in seconds):
        (board, row), (_, other) = pair = firsts[place], seconds[place]
        if left.folder == right.folder and row == other:
            raise LookupError(f"'{a}' and '{b}' both name {row.label}; name two rows")
        labels = (row.label, other.label)
        if left.folder != right.folder:
            labels = (f"{row.label} in {left.folder}", f"{other.label} in {right.folder}")
        contests, lines = _contests(folders, pair)
        found += contests
        warnings += lines
        costs += _costs(board.title, pair, labels)
    if not found:
        raise LookupError("; ".join([f"'{a}' and '{b}' have no scores of the same task on the same data", *warnings]))
    tested = [one.difference.p for one in found if one.difference and one.difference.p is not None]
    corrected = iter(holm(tested))
    final = [
        replace(one, p=next(corrected)) if one.difference and one.difference.p is not None else one for one in found
    ]
    return Comparison(*labels, tuple(final), tuple(costs), tuple(warnings))


Place = tuple[str, str]
"""a data set and its settings as JSON"""


def named(boards: Sequence[Board], query: str, where: str) -> dict[Place, tuple[Board, Row]]:
    """The one row of each data set that these words name, if any does; `where` opens the LookupError if not.

    A row whose whole label is among them goes before rows with words besides; words of a board's title choose it.
    """
    every, asked = [(board, row) for board in boards for row in board.rows], {*query.split()}
    some = [(board, row) for board, row in every if asked <= {*row.label.split(), *_bare(board.title).split()}]
    exact = [one for one in some if {*one[1].label.split()} <= asked]
    found: dict[Place, list[tuple[Board, Row]]] = {}
    for board, row in exact or some:
        rows = found.setdefault((board.dataset, json.dumps(board.settings, sort_keys=True)), [])
        if all(_identity(row) != _identity(known) for _, known in rows):  # what is not trained is on several boards
            rows.append((board, row))
    wrong = next((rows for rows in found.values() if len(rows) > 1), None)
    if not found or wrong:
        known = wrong or every
        labels = [f"'{row.label}'" + f" ({board.title})" * (len(boards) > 1) for board, row in known]
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        what = "several rows have the words of" if wrong else "no row has all the words of"
        raise LookupError(f"{where}: {what} '{query}': {', '.join(labels[:_NAMED])}{more}")
    return {place: one for place, (one,) in found.items()}


def _bare(title: str) -> str:
    return title.replace(",", " ")


def _identity(row: Row) -> tuple[Any, ...]:
    hiding = row.masking, row.masking_settings, row.ratio
    return row.variant, row.settings, *hiding, row.budget, row.floor


def _contests(
    folders: tuple[Cells, Cells], pair: tuple[tuple[Board, Row], tuple[Board, Row]]
) -> tuple[list[Contest], list[str]]:
    """What two rows have both done, without Holm's correction, and a line for each task that cannot be compared."""
    (board, row), (other_board, other) = pair
    theirs = {one.key for one in other_board.columns}
    found, lines = [], []
    for column in (one for one in board.columns if one.metric and not one.is_cost and one.key in theirs):
        runs = folders[0].runs(board, row, column), folders[1].runs(other_board, other, column)
        known = [json.loads(text) for part in runs for text in part["provenance"]]
        if len({one["data_checksum"] for one in known if one.get("data_checksum")}) > 1:
            raise ValueError(
                f"{board.title}: the results come from different contents of the data; they cannot be compared"
            )
        versions = sorted({int(one) for part in runs for one in part["task_version"]})
        if len(versions) > 1:
            lines.append(f"{column.task}: left out, version {versions[0]} is not compared with {versions[-1]}")
            continue
        a, b = folders[0].scores(board, row, column), folders[1].scores(other_board, other, column)
        if a is None or b is None:
            lines.append(f"{column.task}: left out, {(row if a is None else other).label} has no scores")
            continue
        for one in (row, other):
            if (count := one.cells[column.key].n) < one.runs:
                lines.append(
                    f"{column.task}: {one.label} has {count} of {one.runs} seeds: the others failed or are missing"
                )
        found.append(Contest(board.title, board.task_of(column), column, interval(a), interval(b), _paired(a, b)))
    return found, lines


def _paired(a: Scores, b: Scores) -> Difference | None:
    apart = a.seeds and b.seeds and not set(a.seeds) & set(b.seeds)
    return None if apart else difference(a, b)


def _costs(title: str, pair: tuple[tuple[Board, Row], tuple[Board, Row]], labels: tuple[str, str]) -> Iterator[str]:
    """A sentence a machine on which both were trained."""
    machines: list[dict[str, tuple[float, float | None]]] = []
    for board, row in pair:
        keys = [one.key for one in board.columns if one.is_cost and one.metric == SECONDS]
        costs = {share.hardware: share.costs[key] for share in row.shares for key in keys}
        machines.append({hardware: (one.mean, one.half) for hardware, one in costs.items() if one.mean})
    both = [hardware for hardware in machines[0] if hardware in machines[1]]
    for hardware in both:
        a, b = (known[hardware] for known in machines)
        times = f"{plain(*a)} s against {plain(*b)} s, {hardware}"
        yield f"On {title}, pretraining: {labels[0]} takes {a[0] / b[0]:.2f} times as long as {labels[1]} ({times})."
    if all(machines) and not both:
        yield f"On {title}, pretraining: times are not compared, since they come from different machines."


def write(found: Comparison, out: Path) -> list[Path]:
    """Write compare.md, compare.csv and compare.png into `out`; gives their paths. Each is whole or absent."""
    lines = [f"- {md(one)}" for one in [*found.sentences, *found.warnings]]
    blocks = [f"# {md(found.a)} against {md(found.b)}", "\n".join(lines), _md_table(found), HOW]
    records.write_whole(out / "compare.md", ("\n\n".join(blocks) + "\n").encode())
    records.write_whole(out / "compare.csv", str(found.table.to_csv(index=False, lineterminator="\n")).encode())
    boards = {one.board for one in found.contests}
    gaps = [
        plots.Gap(
            f"{one.board}, {one.name}" if len(boards) > 1 else one.name,
            f"{one.column.metric} {one.column.unit}".strip(),
            one.column.better, gap.mean, gap.half, gap.least, one.apart,
        )
        for one in found.contests
        if (gap := one.difference) and gap.half is not None and gap.least is not None
    ]  # fmt: skip
    (out / "compare.png").unlink(missing_ok=True)
    if gaps:
        save_png(plots.differences(found.a, found.b, gaps), out / "compare.png")
    return [out / name for name in ("compare.md", "compare.csv", "compare.png") if (out / name).exists()]


def _md_table(found: Comparison) -> str:
    heads = ("task", "metric", found.a, found.b, *HEADS)
    rows = [[md(head) for head in heads], ["---", "---", *["--:"] * 7]]
    for one in found.contests:
        named = f"{one.board}, {one.name}", f"{one.column.metric} {one.column.unit}".strip()
        means = (plain(alone.mean, alone.half) for alone in (one.a, one.b))
        rows.append([md(cell) for cell in (*named, *means, *cells(one))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
