"""Boards -> tables of words, and numbers in words: what people see, whatever the format."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from maebench.leaderboard.board import COSTS, Board, Column, Row, Share, Summary, described, own, shared, words
from maebench.leaderboard.time_to_target import Goal, columns, reach

_EQUAL = 1e-9  # relative; the rounding error of equal numbers is no spread


def plain(mean: float, half: float | None) -> str:
    """Mean and half of its interval, with the decimals that show two digits of that: "43.21 ± 0.52"; or 4 digits."""
    if half is None or mean == half == 0:
        return _digits(mean, 4)
    if half <= _EQUAL * abs(mean):
        return f"{_digits(mean, 4)} ± 0"
    decimals = _decimals(half, 2)
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def short(mean: float, half: float | None) -> str:
    """The same in thousands, three digits without an interval: "1.23 M", "12.34 ± 0.21 k". One of zero is not shown."""
    power = next((power for power in range(5) if abs(mean) < 999.5 * 1000**power), 5)
    scaled, unit = mean / 1000**power, ("", " k", " M", " G", " T", " P")[power]
    if half is None or half <= _EQUAL * abs(mean):
        whole = not power and mean == round(mean)
        return f"{mean:.0f}" if whole else _digits(scaled, 3) + unit
    return plain(scaled, half / 1000**power) + unit


def _decimals(value: float, digits: int) -> int:
    """Decimals that show so many significant digits; the exponent is read after rounding, so 0.0996 counts as 0.10."""
    return max(0, digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1]))


def _digits(value: float, digits: int) -> str:
    if not value:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{_decimals(value, digits)}f}"


_DIGITS = {"plain": plain, "short": short}
_ARROWS = {"higher": "↑", "lower": "↓"}
ALONE = "nothing is random here: one run stands for all seeds"
RULE = (
    "The first snapshot that is as good, without interpolation; the one before it fell short (later than). Median over "
    "runs; a run that fell short to its end counts as later than that. Times are compared within one hardware only."
)
OVERALL = "overall ↑"
INTERVAL = (
    "95% interval of the mean, over pretraining seeds and, where the scores of images were kept, test images; of "
    "costs, over seeds"
)
RANK = (
    "the ranks that a row may have by its overall score: all pairs are tested, paired by seed and image and corrected "
    "by Holm, so that a false order among any of them is 5% likely at most; one seed is shown and not ranked, and a "
    "row with a missing or failed cell has no overall"
)
UNRANKED = "none: no task here says its floor and ceiling, of which the overall score is made"
BRIEFLY = (
    "± half of the 95% interval; overall: mean of scores, 0 at the floor and 1 at the ceiling; rank: what it may be"
)
SINGLE = "rank -: one seed is shown and not ranked; more `seeds` in the config rank it"
WORDY = {"variant", "settings", "masking", "hardware", "row", "flags"}
"""headings over text; all others stand over numbers"""


@dataclass(frozen=True)
class Shown:
    """One cell as people see it."""

    text: str
    number: float | None = None
    """by which it sorts; None sorts last"""
    mark: Literal["", "best", "failed", "missing"] = ""


Scale = Literal["raw", "scaled"]
"""How boards show scores: as they are measured, or 0 at the floor and 1 at the ceiling of the task"""


def board_table(board: Board, scale: Scale = "raw") -> tuple[list[str], list[list[Shown]]]:
    """The headings of a board and the cells of each of its rows."""
    used = {"settings": any(row.told for row in board.rows), "hardware": len(board.hardware) > 1}
    used |= {"flags": any(row.flags for row in board.rows), OVERALL: any(row.overall.n for row in board.rows)}
    spare = {name for name, needed in used.items() if not needed}
    best = [_best(board, column) for column in board.columns]
    tasks = [one for one in board.columns if not one.is_cost]
    named = [{name: one for name, one in _named(row, tasks).items() if name not in spare} for row in board.rows]
    rows = [
        [*first.values(), *(_cell(row, *one, scale) for one in zip(board.columns, best, strict=True))]
        for first, row in zip(named, board.rows, strict=True)
    ]
    rows += [_baseline(board, [*named[0]], name) for name in board.baselines if scale == "raw"]
    return [*named[0], *(head(column, board, _arrow(column, board, scale)) for column in board.columns)], rows


def _baseline(board: Board, heads: Sequence[str], name: str) -> list[Shown]:
    """The row of a score that looks at no image: it has no runs, so no seeds and no interval."""
    words, scores = {"rank": "floor", "variant": name}, board.baselines[name]
    known = [scores.get(column.key) for column in board.columns]
    values = [Shown("") if value is None else Shown(plain(value, None), value) for value in known]
    return [*(Shown(words.get(head, "")) for head in heads), *values]


def _arrow(column: Column, board: Board, scale: Scale) -> str:
    if column.is_cost and COSTS[column.metric].compared == "never":
        return ""
    if scale == "raw" or column.is_cost:
        return _ARROWS[column.better]
    return f"0..1 {_ARROWS['higher']}" if any(column.key in row.between for row in board.rows) else "0..1"


def _named(row: Row, tasks: Sequence[Column]) -> dict[str, Shown]:
    return {
        "rank": Shown("floor" if row.floor else _rank(row.rank), row.rank and row.rank[0] + row.rank[1] / 1000),
        "variant": Shown(row.name),
        "settings": Shown(row.told),
        "masking": Shown(row.masking),
        "ratio": Shown(row.ratio_words, None if isinstance(row.ratio, str) else row.ratio),
        "seeds": Shown(str(len(row.seeds)) if row.seeds else "1*", row.runs),
        "hardware": Shown(_machines(row)),
        "flags": Shown("suspect" if row.flags else ""),
        OVERALL: _overall(row, tasks),
    }


def _overall(row: Row, tasks: Sequence[Column]) -> Shown:
    """The overall score; for a row with gaps how many of its cells there are instead."""
    if row.overall.mean is not None:
        return Shown(plain(row.overall.mean, row.overall.half), row.overall.mean)
    share = row.coverage(tasks)
    return Shown(f"{100 * share:.0f} % of cells" if share < 1 else "-", mark="missing")


def _rank(rank: tuple[int, int] | None) -> str:
    """ "2", "2-4" or, where it has none, "-"."""
    return "-" if rank is None else "-".join(map(str, dict.fromkeys(rank)))


def _machines(row: Row) -> str:
    if len(row.shares) == 1:
        return row.shares[0].hardware
    return " / ".join(f"{one.hardware} ({one.runs} run{'s' * (one.runs > 1)})" for one in row.shares)


def head(column: Column, board: Board, arrow: str) -> str:
    """The heading of a column, with the settings of its task where two columns differ in them."""
    if column.is_cost:
        return f"{COSTS[column.metric].head} {arrow}".rstrip()
    if not column.metric:
        return column.task
    twins = [json.loads(one.settings) for one in board.columns if one.key[::2] == column.key[::2]]
    parts = (column.task, words(own(json.loads(column.settings), twins)), column.metric, column.unit, arrow)
    return " ".join(part for part in parts if part)


def _best(board: Board, column: Column) -> float | None:
    """The best mean among rows that are no floor; None among equals, and where nothing may be compared."""
    if not column.is_cost or COSTS[column.metric].compared == "never":
        return None
    if column.is_bound and len(board.hardware) > 1:
        return None
    cells = [row.cells[column.key] for row in board.rows if not row.floor and row.cells[column.key].n >= row.runs]
    means = [cell.mean for cell in cells if cell.mean is not None]
    best = max if column.better == "higher" else min
    return best(means) if len(set(means)) > 1 else None


def _cell(row: Row, column: Column, best: float | None, scale: Scale) -> Shown:
    if column.is_bound and len(row.shares) > 1:
        parts = [_summed(one.costs[column.key], one.runs, column) for one in row.shares]
        if {one.text for one in parts} == {"-"}:
            return parts[0]
        lost = any(one.mark == "failed" for one in parts)
        return Shown(" / ".join(one.text for one in parts), mark="failed" if lost else "")
    cell = row.cells[column.key]
    if not column.is_cost and scale != "raw":
        cell = row.between.get(column.key, Summary(failed=cell.failed))
    shown = _summed(cell, row.runs, column)
    is_best = shown.number == best if column.is_cost else column.key in row.leads
    return replace(shown, mark="best") if is_best and not shown.mark and not row.floor else shown


def _summed(cell: Summary, runs: int, column: Column) -> Shown:
    if cell.mean is None:
        return Shown("failed", mark="failed") if cell.failed else Shown("-", mark="missing")
    text = (_DIGITS[COSTS[column.metric].digits] if column.is_cost else plain)(cell.mean, cell.half)
    if cell.n < runs:
        lost = f"{cell.failed} failed" if cell.failed else f"{runs - cell.n} missing"
        return Shown(f"{text} ({lost})", cell.mean, "failed" if cell.failed else "missing")
    return Shown(text, cell.mean)


@dataclass(frozen=True)
class Race:
    """When each row of a board reaches a target, as people see it; a row of several machines is there for each."""

    title: str
    heads: list[str]
    rows: list[list[Shown]]
    floors: list[bool]
    """which of the rows are floors"""


def races(board: Board, targets: Sequence[Goal]) -> list[Race]:
    """A table for each target that the board has scores for."""
    found = []
    machines = len(board.hardware) > 1
    shares = [(row, share) for row in board.rows for share in row.shares]
    for target, column in ((goal, one) for goal in targets for one in columns(board, goal)):
        sign = {"higher": "≥", "lower": "≤"}[column.better]
        title = f"Seconds of pretraining until {head(column, board, sign)} {target.value:g}"
        rows = [
            [Shown(row.label), *[Shown(share.hardware)] * machines, *_race(row, share, column, target.value)]
            for row, share in shares
        ]
        heads = ["row", *["hardware"] * machines, "seconds", "later than", "runs"]
        found.append(Race(title, heads, rows, [row.floor for row, _ in shares]))
    return found


def _race(row: Row, share: Share, column: Column, value: float) -> list[Shown]:
    when = reach(share, column, value)
    runs = Shown(f"{when.reached} of {when.runs}", when.reached)
    if when.seconds is not None:
        return [Shown(plain(when.seconds, None), when.seconds), Shown(plain(when.after, None), when.after), runs]
    if not any(share.curves[column.key]):
        return [Shown("-", mark="missing"), Shown(""), runs]
    lost = "not reached by all" if when.reached else "not reached"
    late = f"> {plain(when.after, None)} ({lost})" if row.trained else lost
    return [Shown(late, mark="missing"), Shown(""), runs]


def _hardware(board: Board) -> str:
    """How to read the times of a board with several machines."""
    words = ["times and memory are not compared across machines"]
    mixed = [row for row in board.rows if len(row.shares) > 1]
    if mixed:
        words.append("a row from several has one of each a machine, in the order in which it names them")
    if board.kind == "seconds" and any(row.trained for row in mixed):
        words.append("seconds buy more steps on a faster machine, so the runs of such a row were not trained alike")
    return "; ".join(words)


def readouts(board: Board) -> list[tuple[str, str]]:
    """Task, and how features became guesses: "global", or "global (raw_pixels), per patch (vit_mae)"."""
    found = []
    for task in dict.fromkeys(one.task for one in board.columns if not one.is_cost):
        users: dict[str, set[str]] = {}
        for row in board.rows:
            for readout in row.readouts.get(task, ()):
                users.setdefault(readout, set()).add(row.variant)
        named = [f"{readout} ({', '.join(sorted(users[readout]))})" for readout in sorted(users)]
        found.append((task, ", ".join(named if len(users) > 1 else users)))
    return [(task, text) for task, text in found if text]


def _reading(board: Board) -> list[tuple[str, str]]:
    """How to read scores and ranks."""
    scaled = {key for row in board.rows for key in row.between}
    inside = [one.task for one in board.columns if one.key in scaled]
    outside = [one.task for one in board.columns if not one.is_cost and one.key not in scaled]
    mean = "the mean over tasks of the score between floor, 0, and ceiling, 1"
    without = f"; without {', '.join(outside)}, which say no floor and ceiling" if outside and inside else ""
    bold = "the best of a task, and what a test at 5% does not tell apart from it; of a cost the best mean alone"
    said = {
        "±": INTERVAL,
        "bold": bold,
        "overall": (mean + without) if inside else "",
        "rank": RANK if inside else UNRANKED * bool(outside),
    }
    return list(said.items())


def notes(board: Board) -> list[tuple[str, str]]:
    """What stands under a board: the settings that its rows share, and how to read it."""
    found = [("data", words(board.settings))]
    found += [(f"task {one.task}", words(json.loads(one.settings))) for one in board.columns if not one.is_cost]
    for name in sorted({row.variant for row in board.rows}):
        found.append((name, described("variants", name, [row.settings for row in board.rows if row.variant == name])))
    for name in sorted({row.masking for row in board.rows}):
        every = [row.masking_settings for row in board.rows if row.masking == name]
        found.append((f"masking {name}", described("maskings", name, every)))
    found += [(f"{task} read-out", text) for task, text in readouts(board)]
    found.append(("pretraining", words(shared([row.budget for row in board.rows if row.trained]))))
    found += _reading(board)
    found += [(f"suspect {row.label}", "; ".join(row.flags)) for row in board.rows if row.flags]
    if any(row.floor for row in board.rows):
        found.append(("floor", "what any trained row must beat; not ranked"))
    if not all(row.seeds for row in board.rows):
        found.append(("1*", ALONE))
    if len(board.hardware) > 1:
        found.append(("hardware", _hardware(board)))
    return [(name, text) for name, text in found if text]
