"""What a paper claims, and what was found here: a verdict, the number it rests on, and its uncertainty."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import t

Verdict = Literal["holds", "does not hold", "not run"]
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
        """Whether it is above 0 by a one-sided t-test at the level SURE; one value alone shows nothing."""
        sure = self.n > 1 and self.value > float(t.ppf(SURE, self.n - 1)) * self.error
        return "holds" if sure else "does not hold"

    def __str__(self) -> str:
        """Mean ± standard deviation (n)."""
        return f"{self.value:.3g} ± {self.sd:.1g} (n = {self.n})"


def mean(values: Sequence[float]) -> Mean:
    """The mean of at least one value."""
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values))


def gap(larger: Mapping[int, float], smaller: Mapping[int, float]) -> Mean:
    """Seed -> value, twice: the mean of larger - smaller over the seeds that both have."""
    return mean([value - smaller[seed] for seed, value in larger.items() if seed in smaller])


def per_doubling(table: pd.DataFrame, over: str, value: str) -> dict[int, float]:
    """Seed -> slope of a least-squares line of a column through its rows, per doubling of the column `over`."""
    seeds = table.dropna(subset=value).groupby("seed")
    return {int(seed): float(np.polyfit(np.log2(rows[over]), rows[value], 1)[0]) for seed, rows in seeds}


def no_proxy(seeds: Sequence[pd.DataFrame], accuracy: str) -> tuple[Verdict, str]:
    """Whether the column "error" of each seed's rows leaves over half of the variance of the accuracy's ranks open.

    Their rank correlation is then above -HALF; it counts as 0 where all are equally accurate.
    """
    rhos = [rows["error"].corr(rows[accuracy], "spearman") if rows[accuracy].nunique() > 1 else 0.0 for rows in seeds]
    return mean([rho + HALF for rho in rhos]).positive, f"rank correlation {mean(rhos)}"


def taught(
    found: tuple[Verdict, str], trained: Mapping[int, float], untrained: Mapping[int, float]
) -> tuple[Verdict, str]:
    """A verdict on what training teaches, or "not run" where the best trained model is not above the untrained one.

    `trained` and `untrained` are seed -> the score by which it is judged.
    """
    learned = gap(trained, untrained)
    if learned.positive == "holds":
        return found
    return "not run", f"too little training to tell: the best trained less untrained is {learned} ({found[1]})"


def by_choice(findings: Mapping[str, tuple[Verdict, str]]) -> Finding:
    """Choice -> verdict and number: the finding of the first choice, with all of them as cases."""
    (main, (verdict, number)), *others = findings.items()
    if not others:
        return Finding(verdict, number)
    held = sum(one == "holds" for one, _ in findings.values())
    words = f"{number} [{main}]; holds for {held} of {len(findings)} choices"
    return Finding(verdict, words, {name: f"{one}: {value}" for name, (one, value) in findings.items()})
