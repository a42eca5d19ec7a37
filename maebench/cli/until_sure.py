"""`maebench run CONFIG --until-sure A B`: seeds are added until a difference of two rows is decided either way."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from maebench.cli.options import out_console
from maebench.cli.question import MOST, Asked, Question

if TYPE_CHECKING:
    from maebench.runs.plan import RunSpec
    from maebench.runs.records import ResultRecord
    from maebench.runs.runner import Runner

ERROR = (
    "Of all that is decided in this way at most 5% is wrong, however often one looks, where differences of seeds are "
    "normal and the rows were named before their scores were known. It is about other seeds on these test "
    "images, whose sampling error no number of seeds shrinks."
)
Rows = Annotated[
    tuple[str, str] | None,
    typer.Option("--until-sure", metavar="A B", help="Add seeds until a difference of these rows is decided"),
]
Least = Annotated[
    float | None,
    typer.Option("--difference", metavar="D", help="With --until-sure: the least difference in the score that matters"),
]
Task = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="With --until-sure: the task, where there are several")
]
Most = Annotated[int | None, typer.Option("--most", metavar="N", help=f"With --until-sure: seeds at most [{MOST}]")]


def asked(rows: tuple[str, str] | None, least: float | None, task: str | None, most: int | None) -> Asked | None:
    """The options in one; None where nothing is to be decided. ValueError for one that says nothing."""
    if rows:
        return Asked(rows, least, task, most)
    if idle := [name for name, given in (("difference", least), ("task", task), ("most", most)) if given is not None]:
        raise ValueError(f"run: --{idle[0]} says something with --until-sure A B only; add that")
    return None


def decide(asked: Question, runner: "Runner", where: str) -> str:
    """Add seeds to both rows until their difference is decided, or there are as many as may be -> what is known then.

    The config's seeds are done by now. Prints a line a look. Raises RunsFailed where a run of either row failed.
    """
    from maebench.leaderboard.comparison.sequential import confidence, decided

    seeds = list(asked.seeds)
    _say(f"{asked.where}: {asked.a.label} - {asked.b.label}, {asked.least:g}{asked.unit} or more matter")
    while True:
        found = _differences(asked, runner, seeds)
        _say(f"{_count(seeds)}: {_known(found, confidence(found))}")
        verdict = decided(found, asked.least)
        if verdict or len(seeds) >= asked.most:
            return _sentence(asked, found, verdict)
        seeds.append(max(seeds) + 1)
        runner.finish([side.run(seeds[-1]) for side in (asked.a, asked.b) if side.random], where)


def _say(line: str) -> None:
    out_console.print(line, markup=False, highlight=False, soft_wrap=True)


def _differences(asked: Question, runner: "Runner", seeds: Sequence[int]) -> list[float]:
    """a - b of each seed; a row in which nothing is random has one score for all of them."""
    import numpy as np

    from maebench.leaderboard.comparison.statistics import Scores, paired

    sides, checksums = [], set()
    for side in (asked.a, asked.b):
        mine = tuple(seeds) if side.random else ()
        cells = [_headline(asked, side.run(seed), runner) for seed in mine or seeds[:1]]
        checksums |= {one.provenance.get("data_checksum") for one in cells}
        sides.append(Scores(np.array([one.metric.value for one in cells if one.metric]), mine))
    if len(checksums) > 1:
        raise ValueError(f"{runner.out}: the results come from different contents of the data; they cannot be compared")
    differences: list[float] = paired(*sides)[0].tolist()
    return differences


def _headline(asked: Question, run: "RunSpec", runner: "Runner") -> "ResultRecord":
    from maebench.runs.records import RunsFailed, cell_rows

    folder = runner.folder(run)
    for row in cell_rows(folder.cell(asked.task)):
        if row.metric and row.metric.headline:
            return row
    why = "; ".join(row.reason for row in cell_rows(folder.failure(asked.task))) or "its cell is not there"
    raise RunsFailed(
        f"not decided: {run.label} failed on {asked.task.name} ({why}); a difference of rows that fail is none, and no "
        "seed is left out"
    )


def _count(seeds: Sequence[object]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"


def _known(found: list[float], ends: tuple[float, float]) -> str:
    """The mean difference and its confidence sequence, in words."""
    from maebench.leaderboard.comparison.contest import number
    from maebench.leaderboard.comparison.sequential import FEWEST
    from maebench.leaderboard.tables import plain

    low, high = ends
    mean, half = math.fsum(found) / len(found), (high - low) / 2
    if math.isfinite(half):
        return f"mean difference {number(mean, half)}, confidence sequence {number(low, half)} to {number(high, half)}"
    why = "equal with every seed, so nothing is known of its error" if len(found) >= FEWEST else "too few to decide"
    return f"mean difference {plain(mean, None)}, {why}"


def _sentence(asked: Question, found: list[float], verdict: str) -> str:
    """What is decided, and what that says, in words that can be quoted."""
    from maebench.leaderboard.comparison.sequential import confidence

    a, b, least = asked.a.label, asked.b.label, f"{asked.least:g}{asked.unit}"
    facts = f"{a} - {b}: {_known(found, confidence(found))}"
    if not verdict:
        open_ = f"{asked.where}: not decided with {_count(found)}, {a} and {b} may differ by {least} or not ({facts})"
        return f"{open_}; --most N allows more seeds, and what is done is not done again."
    if verdict == "no difference":
        what = f"{a} and {b} differ by less than {least}"
    else:
        first, second = (a, b) if (verdict == "a") == (asked.column.better == "higher") else (b, a)
        what = f"{first} is better than {second}"
    lower = "; lower is better" * (asked.column.better == "lower")
    return f"{asked.where}: {what}, decided with {_count(found)} ({facts}{lower}). {ERROR}"
