"""How often the leaderboard's intervals, tests and decisions are wrong, on results whose truth is planted.

    python benchmarks/statistics_simulation.py [REPETITIONS]

Rows that are equally good by construction: seeds, images and the residual differ at random. Ours: a seed moves the
accuracy by 0.5 points (standard deviation), or not at all. Accuracy-like scores are 0 or 100 an image, R^2-like ones
are skewed. Aims: 95% intervals cover 93 to 97% of the time, any false finding among all pairs after Holm at most 5% of
the time. With 2 or 3 seeds intervals cover up to 99% where images matter more than seeds: that is the price of p-values
that hold at every level, see the first table. 400 repetitions: 25 minutes on one busy core.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import chi2, norm, t

from maebench.leaderboard.comparison.ranks import holm
from maebench.leaderboard.comparison.sequential import LEVEL, MIXTURE, width
from maebench.leaderboard.comparison.statistics import Scores, difference, interval

ROWS = 5
SEEDS = (2, 3, 5, 10)
IMAGES = (500, 2000, 10000)
MIXTURES = (0.3, 1.0, 3.0, 10.0, 30.0)
EFFECTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 1.0)
LOOKS = 100  # seeds after which a sequential test is given up
PATIENCE = 20  # seeds after which the command line gives it up

# Standard deviations of logits: image; row x image; row x seed x image; row x seed, over all images.
HARD, TASTE, NOISE = 2.0, 0.7, 1.0
LOUD, QUIET = 0.04, 0.0  # of a seed: 0.5 points of accuracy, and none
POINTS = np.linspace(-8, 8, 4001)


def logits(rng: np.random.Generator, seeds: int, images: int, seed_sd: float) -> NDArray[np.float64]:
    """[rows, seeds, images]; every row has the same distribution, rows share images, and half of what a seed does."""
    shared, own = rng.standard_normal((1, seeds, 1)), rng.standard_normal((ROWS, seeds, 1))
    found = HARD * rng.standard_normal((1, 1, images)) + TASTE * rng.standard_normal((ROWS, 1, images))
    noise = NOISE * rng.standard_normal((ROWS, seeds, images), dtype=np.float32)
    mixed: NDArray[np.float64] = found + noise + seed_sd * np.sqrt(0.5) * (shared + own)
    return mixed


def spread(seed_sd: float) -> float:
    """Standard deviation of one logit."""
    return float(np.sqrt(HARD**2 + TASTE**2 + NOISE**2 + seed_sd**2))


def accuracy(rng: np.random.Generator, seeds: int, images: int, seed_sd: float) -> tuple[NDArray[np.float64], float]:
    """Scores of 0 or 100, and their true mean."""
    found = logits(rng, seeds, images, seed_sd)
    return 100.0 * (rng.random(found.shape, dtype=np.float32) < expit(found)), 50.0


def explained(rng: np.random.Generator, seeds: int, images: int, seed_sd: float) -> tuple[NDArray[np.float64], float]:
    """Scores 1 - N e_i / A with errors that are skewed, and their true mean."""
    scale = 0.4
    error = np.exp(scale * logits(rng, seeds, images, seed_sd))
    return 1 - 0.4 * error / np.exp((scale * spread(0.0)) ** 2 / 2), 1 - 0.4 * np.exp((scale * seed_sd) ** 2 / 2)


def tested(scores: NDArray[np.float64], truth: float) -> tuple[list[bool], list[bool], bool, float]:
    """Whether the intervals of rows cover, those of pairs, whether any pair is told apart; the least difference."""
    rows = [Scores(one, tuple(range(len(one)))) for one in scores]
    alone = [interval(one) for one in rows]
    pairs = [difference(a, b) for a, b in combinations(rows, 2)]
    covers = [abs(one.mean - truth) <= (one.half or 0.0) for one in alone]
    equal = [abs(one.mean) <= (one.half or 0.0) for one in pairs]
    wrong = min(holm([1.0 if one.p is None else one.p for one in pairs])) < LEVEL
    return covers, equal, wrong, float(np.mean([one.least or 0.0 for one in pairs]))


def planted(repetitions: int) -> Iterator[Sequence[object]]:
    """A line a setting: kind, seed sd, seeds, images, coverage of rows and of pairs, family-wise error, least."""
    for kind in (accuracy, explained):
        for seed_sd in (QUIET, LOUD):
            for seeds in SEEDS:
                for images in IMAGES:
                    rng = np.random.default_rng([seeds, images])
                    found = [tested(*kind(rng, seeds, images, seed_sd)) for _ in range(repetitions)]
                    rows, pairs, wrong, least = zip(*found, strict=True)
                    means = [f"{np.mean(one):.3f}" for one in (rows, pairs, wrong)]
                    yield kind.__name__, seed_sd, seeds, images, *means, f"{np.median(least):.3g}"


def only_seeds(repetitions: int) -> Iterator[Sequence[object]]:
    """The same without scores of images: Gaussian means of seeds."""
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        found = [tested(rng.standard_normal((ROWS, seeds)), 0.0) for _ in range(repetitions)]
        rows, pairs, wrong, least = zip(*found, strict=True)
        means = [f"{np.mean(one):.3f}" for one in (rows, pairs, wrong)]
        yield "seeds alone", 1.0, seeds, 0, *means, f"{np.median(least):.3g}"


def sequential(repetitions: int) -> Iterator[Sequence[object]]:
    """A line a mixture and effect, in sd of the paired differences: decisions with d = 1, and seeds until one.

    `wrong` is a decision for either where the effect is 0, and "no difference" where it is exactly 1 or more.
    """
    rng = np.random.default_rng(0)
    noise, n = rng.standard_normal((repetitions, LOOKS)), np.arange(1, LOOKS + 1)
    centre = noise.cumsum(1) / n
    sd = np.sqrt(np.maximum(0, (noise**2).cumsum(1) - n * centre**2) / np.maximum(1, n - 1))
    for mixture in MIXTURES:
        widths = np.array([width(int(one), mixture) for one in n])
        half = np.where(np.isinf(widths), np.inf, sd * np.where(np.isinf(widths), 0, widths))
        for effect in EFFECTS:
            mean = centre + effect
            apart, same = abs(mean) > half, (mean - half > -1) & (mean + half < 1)
            over = apart | same
            first = np.where(over.any(1), over.argmax(1), LOOKS - 1)
            decided, each = over.any(1), np.arange(repetitions)
            to_same = (same & ~apart)[each, first] & decided
            to_apart = apart[each, first] & decided
            wrong = to_apart.mean() if effect == 0 else to_same.mean() if effect >= 1 else np.nan
            late = (first >= PATIENCE).mean()
            told = [f"{one:.3f}" for one in (late, to_apart.mean(), to_same.mean(), 1 - decided.mean(), wrong)]
            yield f"{mixture:g}{'*' * (mixture == MIXTURE)}", effect, *told, f"{(first + 1).mean():.1f}"


def shapes(repetitions: int) -> Iterator[Sequence[object]]:
    """A line a distribution of the paired differences of seeds, whose mean is 0: how often either row is called better.

    At any of the looks, with the rule that nothing is said while all differences are equal, and without it; and by a
    t-test after every seed from the second on, up to the last that the command line waits for.
    """
    rng, n = np.random.default_rng(0), np.arange(1, LOOKS + 1)
    size, widths = (repetitions, LOOKS), np.array([width(int(one)) for one in n])
    drawn = {
        "normal": rng.standard_normal(size),
        "uniform": rng.uniform(-1, 1, size),
        "t, 3 df": rng.standard_t(3, size),
        "exponential": rng.exponential(1, size) - 1,
        "-1 or 1": rng.choice([-1.0, 1.0], size),
        "-1, 0 or 1": rng.choice([-1.0, 0.0, 1.0], size),
        "poisson 0.5": rng.poisson(0.5, size) - 0.5,
    }
    for name, found in drawn.items():
        mean = found.cumsum(1) / n
        sd = np.sqrt(np.maximum(0, (found**2).cumsum(1) - n * mean**2) / np.maximum(1, n - 1))
        apart = (abs(mean) > sd * np.where(np.isinf(widths), 0, widths) + 1e-9) & np.isfinite(widths)
        equal = (found == found[:, :1]).cumprod(1).astype(bool)
        naive = (abs(mean) > sd / np.sqrt(n) * t.isf(LEVEL / 2, np.maximum(1, n - 1)) + 1e-9)[:, 1:PATIENCE]
        yield name, *(f"{one.any(1).mean():.3f}" for one in (apart & ~equal, apart, naive))


def rules() -> Iterator[Sequence[object]]:
    """A line for so many seeds and a level: the least and largest error of two rules, over the share of seeds.

    The share is that of seeds and residual in the variance of a mean; that of many images is known. No simulation, but
    the chance that the mean is outside its interval, averaged over the quantiles of the chi^2 of the seeds.
    """
    for seeds in SEEDS:
        df = seeds - 1
        found = chi2.ppf((np.arange(20000) + 0.5) / 20000, df) / df
        for level in (0.05, 0.005, 0.001):
            student, gauss = t.isf(level / 2, df), norm.isf(level / 2)
            errors: dict[str, list[float]] = {"satterthwaite": [], "ours": []}
            for share in SHARES:
                part, whole = share * found, share * found + 1 - share
                bounds = {
                    "satterthwaite": t.isf(level / 2, df * (whole / part) ** 2) ** 2 * whole,
                    "ours": student**2 * part + gauss**2 * (1 - share),
                }
                for name, bound in bounds.items():
                    errors[name].append(float(np.mean(2 * norm.sf(np.sqrt(bound)))))
            yield seeds, level, *(f"{pick(errors[name]):.5f}" for name in errors for pick in (min, max))


def show(heads: Sequence[str], lines: Iterator[Sequence[object]]) -> None:
    """Print a table, each line as soon as it is known."""
    print(" | ".join(f"{head:>12}" for head in heads))
    for line in lines:
        print(" | ".join(f"{one!s:>12}" for one in line), flush=True)
    print()


if __name__ == "__main__":
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    named = [f"{which} {name}" for name in ("satt.", "ours") for which in ("min", "max")]
    show(("seeds", "level", *named), rules())
    heads = ("mixture", "effect", f"> {PATIENCE} seeds", "apart", "no diff", "undecided", "wrong", "mean seeds")
    show(heads, sequential(10 * times))
    show(("differences", "wrong", "without rule", "t-tests"), shapes(10 * times))
    covered = ("scores", "seed sd", "seeds", "images", "rows cover", "pairs cover", "any wrong", "least")
    show(covered, only_seeds(2 * times))
    show(covered, planted(times))
