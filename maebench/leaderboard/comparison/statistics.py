"""How sure a mean score is, and a difference of two: intervals, tests and rank intervals. No torch.

A score y[s, i] of pretraining seed s and test image i is modelled as mean + seed[s] + image[i] + residual[s, i], each
drawn at random: two-way crossed random effects without replication. A difference of two rows is the same model on the
paired differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

LEVEL = 0.05
"""of every interval and test"""
POWER = 0.8
"""Ours, as is custom: how often the least difference would be seen"""
_LOWEST = 0.01  # Ours: the share of mean squares of seeds that are raised where seeds do nothing, see _errors
_GRAIN = 1e-12  # of the scores: differences are rounded to it, or equal ones would seem to differ, by rounding errors
_SMALLEST = 1e-100  # p-values below it are given as it
_REACH = 9.0  # from its mode the root of chi^2 has no density left, whatever its degrees of freedom
_LOG_2 = math.log(2)


@dataclass(frozen=True)
class Scores:
    """The scores of one row in one column."""

    values: NDArray[np.float64]
    """[seeds, images] of scores whose mean over images is the headline of each run; [seeds] where these are not kept"""
    seeds: tuple[int, ...]
    """empty where nothing is random: one run stands for all seeds"""
    draws: tuple[NDArray[np.float64], ...] = ()
    """for runs whose read-out draws at random: the headline of each draw"""


@dataclass(frozen=True)
class Sources:
    """Variances of the score of one run, by what causes them; None where it cannot be told."""

    seed: float | None = None
    """another pretraining seed; includes the residual and the images where there are no scores of images"""
    images: float | None = None
    """another sample of as many test images; includes the residual where nothing else is random"""
    residual: float | None = None
    """what a seed does to single images"""
    probe: float | None = None
    """another draw of the read-out; a part of `seed`"""


@dataclass(frozen=True)
class Error:
    """An independent part of the error of a mean: its variance, and the degrees of freedom it is known by."""

    variance: float
    df: int


@dataclass(frozen=True)
class Interval:
    """A mean score and its 95% interval."""

    mean: float
    half: float | None
    """half of the interval's width; None where the error cannot be known"""
    seeds: int
    """0 where nothing is random"""
    images: int
    """0 where there are no scores of images"""
    sources: Sources


@dataclass(frozen=True)
class Difference:
    """A mean difference, a - b, and what can be said of it; None where the error cannot be known."""

    mean: float
    half: float | None
    """half of the width of its 95% interval"""
    p: float | None
    """two-sided, before any correction for other tests"""
    effect: float | None
    """mean over standard deviation of the differences of seeds, times Hedges' correction; from three seeds on"""
    least: float | None
    """the difference that a single test at 5% with these seeds and images would show 4 times in 5"""
    seeds: int
    """in common, or of the one row in which something is random; 0 where nothing is"""
    images: int
    """paired; 0 where either has no scores of images"""


def interval(scores: Scores) -> Interval:
    """The mean of a row's scores with its 95% interval.

    var(mean) = (MS_seed + MS_image - MS_residual) / (seeds images), see `_errors`. With one seed of a row in which
    something is random there is no interval.
    """
    values = np.asarray(scores.values, dtype=np.float64)
    errors, sources = _errors(values, scores.seeds)
    draws = [np.var(one, ddof=1) for one in scores.draws if len(one) > 1]
    probe = float(np.mean(draws)) if draws else None
    images = values.shape[1] if values.ndim == 2 else 0
    sources = Sources(sources.seed, sources.images, sources.residual, probe)
    return Interval(float(values.mean()), _half(errors, LEVEL), len(scores.seeds), images, sources)


def difference(a: Scores, b: Scores) -> Difference:
    """a - b, paired by seed and by image; a row in which nothing is random is paired with every seed of the other.

    Raises ValueError where no seed is common, or the images are not the same number.
    """
    values, seeds = paired(a, b)
    errors, _ = _errors(values, seeds)
    images = values.shape[1] if values.ndim == 2 else 0
    mean = float(values.mean())
    found = mean, _half(errors, LEVEL), _p_value(errors, mean), _effect(values, seeds), _least(errors)
    return Difference(*found, len(seeds), images)


def p_value(a: Scores, b: Scores) -> tuple[float, float | None]:
    """The mean of a - b, paired as in `difference`, and its two-sided p-value; None where the error cannot be known."""
    values, seeds = paired(a, b)
    mean = float(values.mean())
    return mean, _p_value(_errors(values, seeds)[0], mean)


def paired(a: Scores, b: Scores) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """The differences a - b, [seeds, images] or [seeds], and the seeds; raises as `difference` does."""
    x, y = (np.asarray(one.values, dtype=np.float64) for one in (a, b))
    if x.ndim != y.ndim:
        x, y = (one.mean(1) if one.ndim == 2 else one for one in (x, y))
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"scores of {x.shape[1]} and of {y.shape[1]} images cannot be paired")
    both = tuple(seed for seed in a.seeds if seed in b.seeds)
    if a.seeds and b.seeds and not both:
        raise ValueError("no seed in common; run both with the same seeds")
    if both:
        x, y = (x[[one.seeds.index(seed) for seed in both]] for one, x in ((a, x), (b, y)))
    grain = _GRAIN * max(float(abs(x).max()), float(abs(y).max())) or 1.0
    return np.round((x - y) / grain) * grain, both or a.seeds or b.seeds


def _errors(values: NDArray[np.float64], seeds: Sequence[int]) -> tuple[tuple[Error, ...], Sources]:
    """The independent errors of the mean of values [seeds, images] or [seeds], and where they come from.

    MS_seed / (s n) is the variance due to seeds and residual, known by s - 1 degrees of freedom, and
    (MS_image - MS_residual) / (s n) is what the images add, known by n - 1. Ours: a negative one is 0; and an MS_seed
    below the lowest 1% of what the residual alone gives is raised to there, since runs that happen to be equal would
    have no error at all. None where no spread can be seen.
    """
    if np.ptp(values) == 0:
        return (), Sources()
    if len(seeds) > 1 and values.ndim == 2:
        s, n = values.shape
        rows = values.mean(1, keepdims=True)
        columns = (values - rows).mean(0)  # less the grand mean
        rest = values - rows - columns
        ms_seed, ms_image = n * float(rows.var(ddof=1)), s * float(columns @ columns) / (n - 1)
        ms_rest = float(np.vdot(rest, rest)) / ((s - 1) * (n - 1))
        parts = max(0.0, ms_seed - ms_rest) / n, max(0.0, ms_image - ms_rest) / (s * n), ms_rest / n
        lowest = float(special.chdtri(s - 1, 1 - _LOWEST)) / (s - 1) * ms_rest
        errors = (Error(max(ms_seed, lowest) / (s * n), s - 1), Error(parts[1], n - 1))
        return tuple(one for one in errors if one.variance), Sources(*parts)
    if len(seeds) > 1:
        seed = float(values.var(ddof=1))
        return (Error(seed / len(seeds), len(seeds) - 1),), Sources(seed)
    if not seeds and values.ndim == 2:
        images = float(values.var(ddof=1)) / values.size
        return (Error(images, values.size - 1),), Sources(images=images)
    return (), Sources()


def _half(errors: Sequence[Error], level: float) -> float | None:
    """Half of the width of the interval of a mean with these errors.

    Each error is multiplied by its own quantile of t, and the squares are added. Source: Banerjee 1960,
    Approximate confidence interval for linear functions of means of k populations when the population variances are
    not equal, whose theorem is that it covers at least as often as it says. Ours, in place of Satterthwaite's degrees
    of freedom: with 2 seeds, as benchmarks/statistics_simulation.py shows, these cover down to 87% of the time, not
    95%, and of p-values below 0.001 there are 56 times too many, which no correction for many tests can mend.
    One error alone gives the t-test.
    """
    return math.sqrt(sum(one.variance * _quantile(one.df, level) ** 2 for one in errors)) if errors else None


def _quantile(df: float, level: float) -> float:
    return -float(special.stdtrit(df, level / 2))


def _p_value(errors: Sequence[Error], mean: float) -> float | None:
    """The level at which the interval ends at 0."""
    if not errors:
        return None
    if len(errors) == 1:
        (one,) = errors
        return 2 * float(special.stdtr(one.df, -abs(mean) / math.sqrt(one.variance)))

    def excess(log_level: float) -> float:
        return (_half(errors, math.exp(log_level)) or 0.0) - abs(mean)

    lowest = math.log(_SMALLEST)
    if excess(lowest) <= 0:
        return _SMALLEST
    return math.exp(brentq(excess, lowest, 0.0, xtol=1e-13)) if mean else 1.0


def _effect(values: NDArray[np.float64], seeds: Sequence[int]) -> float | None:
    """Mean over sd of the differences of seeds, Cohen's d_z, times Hedges' exact correction, which is 0 for 2 seeds.

    Source: Hedges 1981, Distribution theory for Glass's estimator of effect size and related estimators.
    """
    if len(seeds) < 3:
        return None
    each = values.reshape(len(values), -1).mean(1)
    df, sd = len(each) - 1, float(each.std(ddof=1))
    correction = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    return float(each.mean()) / sd * correction if sd else None


def _least(errors: Sequence[Error]) -> float | None:
    """The true difference that a test at 5% shows 4 times in 5."""
    if not errors:
        return None
    top = math.sqrt(sum(one.variance for one in errors))
    while _power(errors, top) < POWER:
        top *= 2
    return float(brentq(lambda true: _power(errors, true) - POWER, 0.0, top, xtol=1e-12 * top))


def _power(errors: Sequence[Error], true: float) -> float:
    """How often a test at 5% shows a true difference, if the errors are what they are estimated to be.

    The integral over the square root of chi^2 which makes a normal variable noncentral t, for one error; of two, that
    of the images has so many degrees of freedom that it counts as known.
    """
    first, *known = errors
    other = sum(one.variance for one in known)
    sd, mode = math.sqrt(first.variance + other), math.sqrt(first.df)
    nodes, weights = _nodes()
    low = max(0.0, mode - _REACH)
    root = low + (mode + _REACH - low) * nodes
    log_density = (first.df - 1) * np.log(root) - root**2 / 2 - math.lgamma(first.df / 2) - (first.df / 2 - 1) * _LOG_2
    fixed = sum(one.variance * _quantile(one.df, LEVEL) ** 2 for one in known)
    bound = np.sqrt(first.variance * (_quantile(first.df, LEVEL) * root) ** 2 / first.df + fixed)
    seen = special.ndtr((true - bound) / sd) + special.ndtr((-true - bound) / sd)
    return float(np.sum(weights * np.exp(log_density) * seen)) * (mode + _REACH - low)


@cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in [0, 1] and weights of Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return (nodes + 1) / 2, weights / 2
