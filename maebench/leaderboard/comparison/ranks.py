"""Who is better than whom on a board, and so which ranks each row may have. No torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maebench.leaderboard.comparison.statistics import LEVEL, Scores, p_value


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected so that the chance of any false finding stays at the level.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    count, found, highest = len(p_values), [0.0] * len(p_values), 0.0
    for place, one in enumerate(sorted(range(count), key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, (count - place) * p_values[one]))
        found[one] = highest
    return found


def wins(rows: Sequence[Scores], better: str) -> NDArray[np.bool_]:
    """[rows, rows]: whether one row is better than another, by tests of all pairs, corrected by `holm`.

    `better` is "higher" or "lower". A row whose error cannot be known wins and loses against nobody.
    """
    found = np.zeros((len(rows), len(rows)), dtype=bool)
    pairs = [(i, j) for i in range(len(rows)) for j in range(i) if _comparable(rows[i], rows[j])]
    tests = []
    for i, j in pairs:
        mean, p = p_value(rows[i], rows[j])
        if p is not None:
            tests.append((i, j, mean, p))
    for (i, j, mean, _), p in zip(tests, holm([p for *_, p in tests]), strict=True):
        if p < LEVEL:
            winner, loser = (i, j) if (mean > 0) == (better == "higher") else (j, i)
            found[winner, loser] = True
    return found


def leaders(rows: Sequence[Scores], better: str) -> list[int]:
    """The row with the best mean, and those that are not told apart from it, by tests corrected by `holm`.

    A row of whose error nothing is known is among them only where it is the best, or one of equals.
    """
    means = [float(np.mean(one.values)) for one in rows]
    best = means.index(max(means) if better == "higher" else min(means))
    others = [i for i in range(len(rows)) if i != best and _comparable(rows[i], rows[best])]
    tests = [(i, p) for i in others for _, p in [p_value(rows[i], rows[best])] if p is not None]
    corrected = holm([p for _, p in tests])
    alike = [i for (i, _), p in zip(tests, corrected, strict=True) if p >= LEVEL]
    return sorted({*alike, *(i for i, mean in enumerate(means) if mean == means[best])})


def _comparable(a: Scores, b: Scores) -> bool:
    return not a.seeds or not b.seeds or bool(set(a.seeds) & set(b.seeds))


def rank_intervals(won: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Who is better than whom [rows, rows] -> the best and the worst rank that each row may have.

    1 + the number of better rows, and the number of rows less that of worse ones: they hold for all rows at once as
    often as all the decisions do. Leave out rows of which only one seed was run, of which nothing can be decided.
    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, Inference for ranks with applications to mobility across
    neighbourhoods and academic achievement across countries.
    """
    better, worse = won.sum(0), won.sum(1)
    return [(1 + int(above), len(won) - int(below)) for above, below in zip(better, worse, strict=True)]
