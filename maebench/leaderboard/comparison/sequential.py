"""A test that may be looked at after every seed: when have there been enough? No torch.

An e-value of a t-test under a Gaussian mixture over effect sizes, invariant to the scale, and the confidence sequence
of all means that it does not reject: the true mean is inside at every look, all looks together, 95% of the time.
Source: Wang and Ramdas 2025, Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance,
who put a Gaussian in place of the flat mixture of Lai 1976, On confidence sequences.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from maebench.leaderboard.comparison.statistics import LEVEL

MIXTURE = 3.0
"""Ours: variance of the mixture over effect sizes, mean / sd; for sizes 0.5 to 5 within a fifth of the fewest seeds"""


def evidence(differences: Sequence[float], mean: float) -> float:
    """The e-value against the true mean of the differences being this one; 1 for fewer than two.

    With n values, v = n - 1, k = 1 + n MIXTURE and t = sqrt(n) (their mean - mean) / their sd:
    k^(-1/2) ((1 + t^2 / v) / (1 + t^2 / (v k)))^(n/2). Derivation: given the scale c, the values divided by it are
    N(0, 1 + MIXTURE 11') under the mixture and N(0, 1) under the null; integrate both over dc / c.
    """
    n = len(differences)
    if n < 2:
        return 1.0
    values = np.asarray(differences, dtype=np.float64) - mean
    k, total = 1 + n * MIXTURE, float((values**2).sum())
    explained = n * float(values.mean()) ** 2 / total if total else 0.0
    return math.exp(-math.log(k) / 2 - n / 2 * math.log1p(-explained * (1 - 1 / k)))


def confidence(differences: Sequence[float]) -> tuple[float, float]:
    """All means whose e-value is below 1 / LEVEL: infinite ends while nothing can be said.

    Ours: nothing is said while all differences are equal. Scores count images, and four coins fall alike once in eight
    times: else 14% of what is decided on such differences would be wrong (benchmarks/statistics_simulation.py).
    """
    n = len(differences)
    if not math.isfinite(width(n)) or np.ptp(differences) == 0:
        return -math.inf, math.inf
    mean, half = float(np.mean(differences)), width(n) * float(np.std(differences, ddof=1))
    return mean - half, mean + half


def width(n: int, mixture: float = MIXTURE) -> float:
    """Half of the width of the confidence sequence after n values, in standard deviations of theirs."""
    k = 1 + n * mixture
    c = (math.sqrt(k) / LEVEL) ** (2 / n) if n > 1 else math.inf
    return math.inf if c >= k else math.sqrt((n - 1) / n * (c - 1) / (1 - c / k))


FEWEST = next(n for n in itertools.count(1) if math.isfinite(width(n)))
"""Seeds before which nothing can be decided"""


def decided(differences: Sequence[float], least: float) -> Literal["a", "b", "no difference", ""]:
    """What the paired differences a - b of the seeds so far show: which is higher, that they differ by less, or "".

    Asked after any seed, as often as one likes: of all decisions for a or b where there is no difference, and of all
    for "no difference" where there is one of `least`, at most 5% are wrong. The differences are means over the test
    images: what is decided is which is higher on these images.
    """
    low, high = confidence(differences)
    if low > 0 or high < 0:
        return "a" if low > 0 else "b"
    return "no difference" if -least < low and high < least else ""
