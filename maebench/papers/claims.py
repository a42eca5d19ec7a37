"""What a paper claims, and what was found here: a verdict, the number it rests on, and its uncertainty."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import t

Verdict = Literal["holds", "contradicted", "not shown", "not run"]
"""It passes its test; its opposite passes the same test; neither does; there was nothing to test."""
Training = Literal["sufficient", "too little", "none needed"]
"""Whether the encoders that a claim is about beat untrained ones; none is needed where nothing learned is judged."""
Outcome = Literal["holds", "contradicted", "not shown", "not shown, too little training", "not run"]
"""What a page counts and sorts by."""
HALF = 0.5**0.5  # a correlation beyond which over half of the variance is explained
SURE = 0.95  # Ours: level of the one-sided t-test that a difference must pass to count


@dataclass(frozen=True)
class Finding:
    """What became of one claim."""

    verdict: Verdict
    number: str
    """what the verdict rests on, with its uncertainty and n; for "not run" the reason"""
    cases: Mapping[str, str] = field(default_factory=dict)
    """a choice that the paper leaves open -> verdict and number with it"""
    training: Training = "none needed"

    @property
    def outcome(self) -> Outcome:
        """The verdict, and for "not shown" whether more training might show more."""
        too_little = self.verdict == "not shown" and self.training == "too little"
        return "not shown, too little training" if too_little else self.verdict


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, or over parts of the data where nothing is random."""

    value: float
    sd: float
    """sample standard deviation; 0 for one value"""
    n: int

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n)

    @property
    def positive(self) -> Verdict:
        """The verdict on its being above 0, by one-sided t-tests at the level SURE; one value alone shows nothing."""
        if self.n < 2:
            return "not shown"
        least = float(t.ppf(SURE, self.n - 1)) * self.error
        return "holds" if self.value > least else "contradicted" if -self.value > least else "not shown"

    def __str__(self) -> str:
        """Mean ± standard deviation (n)."""
        return f"{self.value:.3g} ± {self.sd:.1g} (n = {self.n})"


def mean(values: Sequence[float]) -> Mean:
    """The mean of at least one value."""
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


def gap(larger: Mapping[int, float], smaller: Mapping[int, float]) -> Mean:
    """Seed -> value, twice: the mean of larger - smaller over the seeds that both have."""
    return mean([value - smaller[seed] for seed, value in larger.items() if seed in smaller])


def above(values: Sequence[float], bound: float) -> Verdict:
    """The verdict on the values, of seeds or of parts, being above the bound on average."""
    return mean([value - bound for value in values]).positive


def below(values: Sequence[float], bound: float) -> Verdict:
    """The verdict on the values, of seeds or of parts, being below the bound on average."""
    return mean([bound - value for value in values]).positive


def exactly(right: object) -> Verdict:
    """The verdict on what is known without chance: it holds, or is contradicted."""
    return "holds" if right else "contradicted"


def all_of(parts: Iterable[Verdict]) -> Verdict:
    """The verdict on several statements at once: it holds where each of them holds, and is contradicted where one is.

    Ours: the opposite of "all" is "not all", which one counterexample shows. Each part is tested at the level SURE. Of
    parts that are not contradicted, one that was not run leaves the whole not run, one not shown leaves it not shown.
    """
    verdicts = set(parts)
    weakest: tuple[Verdict, ...] = ("contradicted", "not run", "not shown")
    return next((verdict for verdict in weakest if verdict in verdicts), "holds")


def per_doubling(table: pd.DataFrame, over: str, value: str) -> dict[int, float]:
    """Seed -> slope of a least-squares line of a column through its rows, per doubling of the column `over`."""
    seeds = table.dropna(subset=value).groupby("seed")
    return {int(seed): float(np.polyfit(np.log2(rows[over]), rows[value], 1)[0]) for seed, rows in seeds}


def no_proxy(seeds: Sequence[pd.DataFrame], accuracy: str) -> Finding:
    """Whether the column "error" of each seed's rows leaves over half of the variance of the accuracy's ranks open.

    Their rank correlation is then above -HALF; it counts as 0 where all are equally accurate.
    """
    rhos = [rows["error"].corr(rows[accuracy], "spearman") if rows[accuracy].nunique() > 1 else 0.0 for rows in seeds]
    return Finding(above(rhos, -HALF), f"rank correlation {mean(rhos)}")


def learned(
    trained: pd.DataFrame, untrained: pd.DataFrame, score: str, encoders: Sequence[str], starts: Sequence[str] = ()
) -> Mean:
    """What training adds to a score, larger = better: that of the best encoder, less that of its untrained self.

    Rows of both have a seed and the score. The columns `encoders` tell the trained ones apart, of which the best has
    the largest mean over seeds; the columns `starts` tell the untrained ones apart.
    """
    floors = untrained[["seed", *starts, score]].drop_duplicates()
    pairs = (
        trained[["seed", *encoders, score]]
        .drop_duplicates()
        .merge(floors, on=["seed", *starts], suffixes=("", " before"))
    )
    best = max((rows for _, rows in pairs.groupby(list(encoders))), key=lambda rows: float(rows[score].mean()))
    return mean((best[score] - best[f"{score} before"]).to_list())


def taught(finding: Finding, gain: Mean) -> Finding:
    """A finding on what training teaches; "not shown" where the gain of training, see `learned`, is not above 0.

    Ours: where no encoder beats its untrained self, whatever differs between them says nothing of what is learned.
    """
    if gain.positive == "holds":
        return replace(finding, training="sufficient")
    number = f"too little training to tell: the best trained less untrained is {gain} ({finding.number})"
    return replace(finding, verdict="not shown", number=number, training="too little")


def by_choice(findings: Mapping[str, Finding]) -> Finding:
    """Choice -> finding: that of the first choice, with all of them as cases."""
    (main, first), *others = findings.items()
    if not others:
        return first
    counts = counted(findings.values())
    cases = {choice: f"{finding.verdict}: {finding.number}" for choice, finding in findings.items()}
    return replace(first, number=f"{first.number} [{main}]; of {len(findings)} choices: {counts}", cases=cases)


def counted(findings: Iterable[Finding]) -> str:
    """How often each verdict was given: "3 holds, 1 not shown"."""
    verdicts = [finding.verdict for finding in findings]
    counts = {verdict: verdicts.count(verdict) for verdict in get_args(Verdict)}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
