"""Intervals, tests and decisions: equal to scipy and statsmodels where these have them, right on planted truth."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from maebench.leaderboard.comparison import sequential
from maebench.leaderboard.comparison.ranks import holm, leaders, rank_intervals, wins
from maebench.leaderboard.comparison.statistics import (
    LEVEL,
    POWER,
    Difference,
    Interval,
    Scores,
    difference,
    interval,
)

CLOSE = 1e-8


def seeded(values: np.ndarray) -> Scores:
    return Scores(values, tuple(range(len(values))))


def fixed(values: np.ndarray) -> Scores:
    return Scores(values[None], ())


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 20, shape)


def crossed(rng: np.random.Generator, seeds: int, images: int, *sds: float) -> np.ndarray:
    """[seeds, images] with mean 0 and these standard deviations of seeds, images and residual."""
    seed, image, rest = sds
    found: np.ndarray = seed * rng.standard_normal((seeds, 1)) + image * rng.standard_normal((1, images))
    return found + rest * rng.standard_normal((seeds, images))


def half(one: Difference | Interval) -> float:
    assert one.half is not None
    return one.half


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_seeds_alone_are_the_t_tests_of_scipy(n: int) -> None:
    a, b = normal(n, n), normal(n + 100, n)
    alone, pair, one = interval(seeded(a)), difference(seeded(a), seeded(b)), difference(seeded(a), fixed(b[0]))
    assert half(alone) == pytest.approx(stats.t.isf(0.025, n - 1) * stats.sem(a), rel=CLOSE)
    assert pair.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=CLOSE)
    assert one.p == pytest.approx(stats.ttest_1samp(a, b[0]).pvalue, rel=CLOSE)
    bounds = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (pair.mean - half(pair), pair.mean + half(pair)) == pytest.approx(tuple(bounds), rel=CLOSE)
    assert (alone.mean, alone.seeds, alone.images, pair.seeds, one.seeds) == (pytest.approx(a.mean()), n, 0, n, n)
    assert alone.sources.seed == pytest.approx(a.var(ddof=1))


def test_two_deterministic_rows_are_compared_by_images() -> None:
    a, b = normal(1, 400), normal(2, 400)
    one = difference(fixed(a), fixed(b))
    assert one.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=CLOSE)
    assert half(interval(fixed(a))) == pytest.approx(stats.t.isf(0.025, 399) * stats.sem(a), rel=CLOSE)
    assert (one.seeds, one.images, one.effect) == (0, 400, None)


def test_where_the_error_cannot_be_known_there_is_no_interval() -> None:
    single = Scores(normal(1, 1, 50), (7,))
    assert (interval(single).half, interval(single).mean) == (None, pytest.approx(single.values.mean()))
    assert difference(single, Scores(normal(2, 1, 50), (7,))).p is None
    assert difference(single, fixed(normal(3, 50))).half is None
    assert interval(fixed(np.array(50.0))).half is None, "one score of one run"
    assert interval(seeded(np.full(3, 50.0))).half is None, "equal scores do not say that there is no error"
    row = seeded(normal(4, 3, 50))
    assert (difference(row, row).mean, difference(row, row).p) == (0, None)


def test_rounding_errors_are_no_spread() -> None:
    a, b = np.array([64.2, 32.2, 8.2]), np.array([64.0, 32.0, 8.0])
    assert np.std(a - b) > 0, "though it is 0.2 each time"
    assert difference(seeded(a), seeded(b)).p is None
    assert np.std([0.1] * 3) > 0
    assert interval(seeded(np.array([0.1] * 3))).half is None


def test_rows_are_paired_by_the_seeds_they_share() -> None:
    a, b = normal(1, 3, 50), normal(2, 3, 50)
    one = difference(Scores(a, (0, 1, 2)), Scores(b, (2, 3, 1)))
    assert one == difference(seeded(a[[1, 2]]), seeded(b[[2, 0]]))
    assert (one.mean, one.seeds, one.images) == (pytest.approx(a[1:].mean() - b[[0, 2]].mean()), 2, 50)
    by_seeds = difference(seeded(a), seeded(b.mean(1)))
    assert by_seeds == difference(seeded(a.mean(1)), seeded(b.mean(1))), "where one has no scores of images"
    with pytest.raises(ValueError, match="no seed in common"):
        difference(Scores(a, (0, 1, 2)), Scores(b, (3, 4, 5)))
    with pytest.raises(ValueError, match="50 and of 40 images"):
        difference(seeded(a), seeded(b[:, :40]))


def test_the_parts_of_the_variance_are_those_of_the_analysis_of_variance() -> None:
    values = crossed(np.random.default_rng(0), 4, 30, 2.0, 5.0, 3.0)
    s, n = values.shape
    seed_means, image_means = values.mean(1), values.mean(0)
    ms_seed, ms_image = n * seed_means.var(ddof=1), s * image_means.var(ddof=1)
    total = ((values - values.mean()) ** 2).sum()
    ms_rest = (total - (s - 1) * ms_seed - (n - 1) * ms_image) / ((s - 1) * (n - 1))
    found = interval(seeded(values)).sources
    assert found.seed == pytest.approx((ms_seed - ms_rest) / n)
    assert found.images == pytest.approx((ms_image - ms_rest) / (s * n))
    assert found.residual == pytest.approx(ms_rest / n)
    parts = (found.seed + found.residual) / s, found.images
    assert sum(parts) == pytest.approx((ms_seed + ms_image - ms_rest) / (s * n)), "the variance of the mean"
    quantiles = stats.t.isf(0.025, [s - 1, n - 1])
    assert half(interval(seeded(values))) == pytest.approx(math.sqrt(np.dot(quantiles**2, parts)), rel=CLOSE)


def test_mean_squares_are_those_of_statsmodels() -> None:
    reason = "statsmodels is not installed; it is in the extra dev"
    formula = pytest.importorskip("statsmodels.formula.api", reason=reason)
    anova = pytest.importorskip("statsmodels.stats.anova", reason=reason)
    values = crossed(np.random.default_rng(0), 4, 30, 2.0, 5.0, 3.0)
    seed, image = np.indices(values.shape)
    cells = pd.DataFrame({"y": values.ravel(), "seed": seed.ravel(), "image": image.ravel()})
    squares = anova.anova_lm(formula.ols("y ~ C(seed) + C(image)", cells).fit())["mean_sq"]
    ms_seed, ms_image, ms_rest = squares["C(seed)"], squares["C(image)"], squares["Residual"]
    found = interval(seeded(values)).sources
    wanted = (ms_seed - ms_rest) / 30, (ms_image - ms_rest) / 120, ms_rest / 30
    assert (found.seed, found.images, found.residual) == pytest.approx(wanted, rel=CLOSE)


@pytest.mark.parametrize("n", [2, 3, 5, 30, 400])
def test_the_least_difference_has_the_power_of_statsmodels(n: int) -> None:
    power = pytest.importorskip(
        "statsmodels.stats.power", reason="statsmodels is not installed; it is in the extra dev"
    )
    a = normal(n, n)
    pair = difference(seeded(a), fixed(np.array(3.0)))
    assert power.TTestPower().power(pair.least / a.std(ddof=1), n, LEVEL) == pytest.approx(POWER, rel=CLOSE)
    by_images = difference(fixed(a), fixed(np.zeros(n)))
    assert by_images.least == pytest.approx(pair.least)


def test_the_least_difference_is_seen_four_times_in_five() -> None:
    """With errors that are just as large as they were estimated: seeds 4 times in 5, and images and seeds."""
    rng = np.random.default_rng(0)
    s, n, sds = 4, 300, (1.0, 10.0, 15.0)
    many = [difference(seeded(crossed(rng, s, n, *sds)), fixed(np.zeros(n))) for _ in range(400)]
    planted = float(np.median([one.least or 0 for one in many]))
    shifted = [difference(seeded(crossed(rng, s, n, *sds) + planted), fixed(np.zeros(n))) for _ in range(400)]
    assert np.mean([(one.p or 1) < LEVEL for one in shifted]) == pytest.approx(POWER, abs=0.07)


def test_the_p_value_is_the_level_at_which_the_interval_ends_at_zero() -> None:
    noise = crossed(np.random.default_rng(0), 4, 60, 2.0, 5.0, 3.0)
    noise -= noise.mean()
    edge = half(interval(seeded(noise)))
    for shift in (edge, -edge):
        assert difference(seeded(noise + shift), fixed(np.zeros(60))).p == pytest.approx(0.05, rel=CLOSE)
    assert difference(seeded(noise + 1e9), fixed(np.zeros(60))).p == pytest.approx(0, abs=1e-20)
    assert difference(seeded(noise), fixed(np.zeros(60))).p == pytest.approx(1)


def test_effect_size_is_unbiased() -> None:
    """Hedges' correction makes the mean over many samples that of the population; without it, it is 40% too large."""
    rng = np.random.default_rng(0)
    found = [difference(seeded(rng.normal(2.0, 1.0, 4)), fixed(np.array(0.0))).effect or 0 for _ in range(1500)]
    assert np.mean(found) == pytest.approx(2.0, abs=0.15)
    assert difference(seeded(normal(0, 2)), fixed(np.array(0.0))).effect is None, "two seeds say nothing of their sd"


@pytest.mark.parametrize(
    "sds", [(1.0, 0.0, 0.0), (0.0, 0.0, 30.0), (0.0, 15.0, 15.0), (0.5, 15.0, 0.0), (0.7, 5.0, 9.0)]
)
@pytest.mark.parametrize("seeds", [2, 5])
def test_intervals_cover(seeds: int, sds: tuple[float, float, float]) -> None:
    """At least 95% of the time, whatever the errors come from, also where a variance is estimated as negative."""
    rng = np.random.default_rng(seeds)
    found = [interval(seeded(crossed(rng, seeds, 200, *sds))) for _ in range(800)]
    assert np.mean([abs(one.mean) <= half(one) for one in found]) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 800)


def test_runs_that_happen_to_be_equal_are_not_without_error() -> None:
    values = np.zeros((2, 400))
    values[0, :100] = values[1, 100:200] = 100.0
    assert values[0].mean() == values[1].mean()
    assert half(interval(seeded(values))) > 0.1


def test_draws_of_the_readout_are_a_source_of_their_own() -> None:
    draws = (np.array([50.0, 52.0]), np.array([51.0, 51.0, 54.0]))
    row = Scores(np.array([51.0, 52.0]), (0, 1), draws)
    assert interval(row).sources.probe == pytest.approx((2.0 + 3.0) / 2)
    assert interval(Scores(row.values, row.seeds)).sources.probe is None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_is_that_of_statsmodels() -> None:
    tests = pytest.importorskip(
        "statsmodels.stats.multitest", reason="statsmodels is not installed; it is in the extra dev"
    )
    p_values = np.random.default_rng(0).random(40) ** 4
    assert holm(list(p_values)) == pytest.approx(tests.multipletests(p_values, method="holm")[1], rel=CLOSE)


def test_who_wins_and_which_ranks_are_possible() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (5, 3))
    best, middle, like = (seeded(noise[:, one] + shift) for one, shift in enumerate((90.0, 50.0, 50.0)))
    rows = [best, middle, like, fixed(np.array(0.0)), fixed(np.array(1.0))]
    won = wins(rows, "higher")
    apart = [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0] * 5, [0] * 5]
    assert won.tolist() == np.array(apart, dtype=bool).tolist(), "two single numbers say nothing of each other"
    assert (wins(rows, "lower") == won.T).all()
    assert rank_intervals(won) == [(1, 1), (2, 3), (2, 3), (4, 5), (4, 5)]
    assert rank_intervals(np.zeros((3, 3), dtype=bool)) == [(1, 3)] * 3


def test_equal_rows_lead_together() -> None:
    rows = [Scores(np.array([[value]]), (0,)) for value in (16.4, 16.3, 16.4)]
    assert leaders(rows, "higher") == [0, 2]
    assert leaders(rows, "lower") == [1]


def test_a_row_of_one_seed_neither_wins_nor_loses() -> None:
    lone = Scores(normal(0, 1, 100) + 500, (0,))
    other = Scores(normal(1, 3, 100), (1, 2, 3))
    assert not wins([lone, other], "higher").any()


@pytest.mark.parametrize("values", [[0.3, 1.9], [1.0, 2.5, 0.4, 1.1], [-3.0, -2.0, -2.2]])
@pytest.mark.parametrize("mean", [0.0, 0.8])
def test_evidence_is_the_ratio_of_the_integrals_over_the_scale(values: list[float], mean: float) -> None:
    """Of the likelihood with effect sizes mixed, and of that without an effect, each over d scale / scale."""
    x, n = np.array(values) - mean, len(values)
    mixed = np.eye(n) + sequential.MIXTURE * np.ones((n, n))

    def integral(covariance: np.ndarray) -> float:
        return float(
            integrate.quad(
                lambda scale: stats.multivariate_normal.pdf(x, None, scale**2 * covariance) / scale,
                0, np.inf, epsabs=0, epsrel=1e-9,
            )[0]
        )  # fmt: skip

    assert sequential.evidence(values, mean) == pytest.approx(integral(mixed) / integral(np.eye(n)), rel=1e-6)


@pytest.mark.parametrize("values", [[1.0, 2.5, 0.4, 1.1], [-3.0, -2.0, -2.2, -2.1, -2.6]])
def test_the_confidence_sequence_ends_where_the_evidence_is_enough(values: list[float]) -> None:
    low, high = sequential.confidence(values)
    assert low < np.mean(values) < high
    for end in (low, high):
        assert sequential.evidence(values, end) == pytest.approx(1 / LEVEL, rel=CLOSE)
    assert sequential.evidence(values, float(np.mean(values))) < 1
    assert sequential.confidence(values[:1]) == (-math.inf, math.inf)
    assert sequential.confidence(values[:1] * 10) == (-math.inf, math.inf), "equal ones say nothing of their error"
    assert sequential.confidence(values[:2]) == (-math.inf, math.inf)
    assert sequential.decided(values[:2], least=100.0) == ""


def test_looking_after_every_seed_decides_wrongly_at_most_once_in_twenty() -> None:
    rng = np.random.default_rng(0)

    def first(shift: float) -> str:
        values: list[float] = []
        for _ in range(25):
            values.append(float(rng.normal(shift)))
            if verdict := sequential.decided(values, least=1.0):
                return verdict
        return ""

    none = [first(0.0) for _ in range(400)]
    assert sum(one in ("a", "b") for one in none) <= 0.05 * 400
    assert none.count("no difference") > 200
    at_the_edge = [first(1.0) for _ in range(400)]
    assert at_the_edge.count("no difference") <= 0.05 * 400
    assert [first(6.0) for _ in range(20)] == ["a"] * 20
    assert [first(-6.0) for _ in range(20)] == ["b"] * 20
