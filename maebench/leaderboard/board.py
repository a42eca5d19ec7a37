"""What a leaderboard is made of: summaries, columns, rows and boards, and their settings in words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np

from maebench.declaration import REQUIRED, Kind
from maebench.leaderboard.comparison.statistics import Sources
from maebench.leaderboard.frame import SECONDS, Curve, Key
from maebench.plugins import find
from maebench.runs.records import ratio_words


@dataclass(frozen=True)
class Summary:
    """One metric of one row over its runs."""

    mean: float | None = None
    sd: float | None = None
    """sample standard deviation, ddof 1; None for fewer than two runs"""
    n: int = 0
    failed: int = 0
    half: float | None = None
    """half of the width of the 95% interval of the mean; None where it cannot be known"""
    sources: Sources | None = None
    """of the variance of one run's score; None for a cost"""


@dataclass(frozen=True)
class Cost:
    """How boards show one metric of the pseudo-task "cost"."""

    head: str
    digits: Literal["plain", "short"]
    """how its numbers are written, see `tables`"""
    compared: Literal["one machine", "all machines", "never"]
    """across what: times and memory within one machine only; what only describes a row never"""


# The costs that get a column, in order; the others stay in details.csv.
COSTS = {
    "hidden_share": Cost("hidden", "plain", "never"),
    SECONDS: Cost("pretrain s", "plain", "one machine"),
    "images_per_second": Cost("images/s", "short", "one machine"),
    "parameters": Cost("parameters", "short", "all machines"),
    "flops_per_image": Cost("FLOPs/image", "short", "all machines"),
    "peak_memory": Cost("peak MiB", "plain", "one machine"),
}


@dataclass(frozen=True)
class Column:
    """A headline metric of a task, or a cost."""

    task: str
    settings: str
    """the task's settings as JSON"""
    metric: str
    """empty for a task that failed in every row"""
    unit: str
    better: str

    @property
    def key(self) -> Key:
        """What tells it from the other columns of its board."""
        return self.task, self.settings, self.metric

    @property
    def is_cost(self) -> bool:
        """A cost ranks nobody."""
        return self.task == "cost"

    @property
    def is_bound(self) -> bool:
        """A time or memory: compared, and averaged, within one machine only."""
        return self.is_cost and COSTS[self.metric].compared == "one machine"


@dataclass(frozen=True)
class Share:
    """The runs of a row that come from one machine. Their times and memory are averaged with those of no other."""

    hardware: str
    runs: int
    costs: dict[Key, Summary]
    curves: dict[Key, tuple[Curve, ...]]
    """each task's headline metric over the training, a curve a run; empty where a run lacks score or seconds"""


@dataclass(frozen=True)
class Row:
    """One setting of one variant, over its seeds. Two rows differ in something other than the seed."""

    variant: str
    settings: dict[str, Any]
    masking: str
    masking_settings: dict[str, Any]
    ratio: float | str | None
    budget: dict[str, Any]
    floor: bool
    shares: tuple[Share, ...]
    """one a machine, by name"""
    seeds: tuple[int, ...]
    """empty where nothing is random: one run stands for all seeds"""
    run_id: str
    """the run of the lowest seed"""
    cells: dict[Key, Summary]
    """over all runs; empty for a time or memory that comes from several machines: it is in their shares"""
    readouts: dict[str, tuple[str, ...]]
    """task -> how features became guesses"""
    failures: tuple[str, ...] = ()
    """one line a failed cell: seed, task, reason"""
    differs: str = ""
    """the settings that tell it from the other rows of its variant, and its budget from theirs"""
    hides: str = ""
    """the settings that tell it from the other rows of its masking"""
    axes: dict[Key, tuple[tuple[int, Summary], ...]] = field(default_factory=dict)
    """task -> its headline metric read from the first k components, for each k; without those that have no such axis"""
    between: dict[Key, Summary] = field(default_factory=dict)
    """each task's score between floor, 0, and ceiling, 1; without those that say none"""
    overall: Summary = Summary()
    """the mean of these; empty for a row with a missing or failed cell"""
    rank: tuple[int, int] | None = None
    """the best and the worst that it may have; None for a floor, a row without `overall`, or one seed of several"""
    leads: frozenset[Key] = frozenset()
    """the columns in which it is the best or not told apart from the best"""
    flags: tuple[str, ...] = ()
    """what makes its training suspect, a line each"""

    @property
    def runs(self) -> int:
        """The runs behind a cell in which nothing is missing."""
        return max(1, len(self.seeds))

    def coverage(self, columns: Sequence[Column]) -> float:
        """The share of its runs' cells in these columns that are done."""
        return sum(self.cells[one.key].n for one in columns) / (len(columns) * self.runs) if columns else 1.0

    @property
    def curves(self) -> dict[Key, tuple[Curve, ...]]:
        """The curves of all runs, whose values may be averaged, but not their seconds."""
        return {key: tuple(one for share in self.shares for one in share.curves[key]) for key in self.shares[0].curves}

    @property
    def trained(self) -> bool:
        """By gradient: only then is the budget its own."""
        return bool(self.budget) and not self.floor

    @property
    def name(self) -> str:
        """The variant, and whether it is the untrained floor."""
        return f"{self.variant} (untrained)" if self.floor and self.budget.get("steps") == 0 else self.variant

    @property
    def ratio_words(self) -> str:
        """The masking ratio, or how it changes; nothing where there is none."""
        return ratio_words(self.ratio)

    @property
    def label(self) -> str:
        """One line that names the row on its board."""
        parts = self.name, self.differs, self.masking, self.hides, self.ratio_words
        return " ".join(word for word in parts if word)

    @property
    def told(self) -> str:
        """All settings that tell it from other rows."""
        return " ".join(word for word in (self.differs, self.hides) if word)


@dataclass(frozen=True)
class Board:
    """The rows of one data set and kind of budget: ranked ones, best first, then those without a rank, then floors."""

    title: str
    """the data set, with its settings and the kind of budget where they differ between its boards"""
    dataset: str
    settings: dict[str, Any]
    kind: str
    """in what its rows' budget is given: rows of another kind stand on another board; empty where none is trained"""
    columns: tuple[Column, ...]
    """tasks by name, then costs"""
    rows: tuple[Row, ...]
    baselines: dict[str, dict[Key, float]] = field(default_factory=dict)
    """what tasks score without looking at an image, "metric@baseline=name" in their cells: name -> column -> score"""

    @property
    def hardware(self) -> list[str]:
        """The machines its rows come from; with more than one, times are not compared."""
        return sorted({share.hardware for row in self.rows for share in row.shares})

    def task_of(self, column: Column) -> str:
        """The task of a column, with the settings that tell it from its others."""
        twins = [json.loads(one.settings) for one in self.columns if one.task == column.task]
        return f"{column.task} {words(own(json.loads(column.settings), twins))}".strip()

    @property
    def failures(self) -> list[str]:
        """One line a failed cell: its row, seed, task and reason."""
        return [f"{row.label}, {line}" for row in self.rows for line in row.failures]


def summary(values: Sequence[float], failed: int = 0) -> Summary:
    """Mean, sample standard deviation and count of the values of one cell; `failed` runs gave none."""
    if not values:
        return Summary(failed=failed)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), sd, len(values), failed)


def shared(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the settings of several rows have in common."""
    first = settings[0] if settings else {}
    return {key: first[key] for key in first if all(key in one and one[key] == first[key] for one in settings)}


def own(mine: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What of these settings the rows do not have in common."""
    common = shared(rows)
    return {key: one for key, one in mine.items() if key not in common}


@cache  # of one report
def defaults(kind: Kind, name: str) -> dict[str, Any]:
    """The settings of a plug-in as by default; none of one that is not at hand."""
    try:
        found = find(kind, name).settings
    except (LookupError, ValueError):
        return {}
    return {key: json.loads(json.dumps(value)) for key, (_, value) in found.items() if value is not REQUIRED}


def telling(kind: Kind, name: str, mine: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What of a plug-in's settings its rows do not have in common, without what is as by default."""
    plain = defaults(kind, name)
    return {key: one for key, one in own(mine, rows).items() if key not in plain or plain[key] != one}


def described(kind: Kind, name: str, rows: Sequence[dict[str, Any]]) -> str:
    """What the rows of a plug-in have in common, and what their labels leave out."""
    common, plain = shared(rows), defaults(kind, name)
    apart = [key for key in rows[0] if key in plain and key not in common]
    left = {key: plain[key] for key in apart if any(one.get(key) == plain[key] for one in rows)}
    return "; where not told: ".join(text for text in (words(common), words(left)) if text)


def words(settings: dict[str, Any]) -> str:
    """{"k": 256, "loss": "mse"} -> "k=256 loss=mse"."""
    return " ".join(f"{key}={_word(one)}" for key, one in settings.items())


def _word(value: Any) -> str:
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"  # 1e+15, where JSON would spell out the zeros
    return value if isinstance(value, str) else json.dumps(value)
