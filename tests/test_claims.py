"""Verdicts: what holds, what is contradicted, what is not shown, and what training must have taught before."""

import math
from itertools import product
from typing import get_args

import pandas as pd
import pytest

from maebench.papers.claims import (
    Finding,
    Mean,
    Verdict,
    above,
    all_of,
    below,
    by_choice,
    counted,
    exactly,
    gap,
    learned,
    mean,
    no_proxy,
    taught,
)

OPPOSITE = {"holds": "contradicted", "contradicted": "holds", "not shown": "not shown"}


def test_a_difference_counts_where_it_is_sure():
    assert gap({0: 3.0, 1: 3.1, 2: 2.9}, {0: 1.0, 1: 1.1, 2: 0.9}) == Mean(2.0, pytest.approx(0, abs=1e-12), 3)
    edge = 6.3138  # Student's t for one degree of freedom at 95%
    assert mean([edge + 0.01 - 1, edge + 0.01 + 1]).positive == "holds"
    assert mean([edge - 0.01 - 1, edge - 0.01 + 1]).positive == "not shown"
    assert mean([1.0, 3.0]).error == pytest.approx(math.sqrt(2) / math.sqrt(2))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 1.2, 1.1], "holds"),
        ([1.0, -0.9, 0.2], "not shown"),
        ([-1.0, -1.1], "contradicted"),
        ([5.0], "not shown"),  # one value alone shows nothing
        ([0.0, 0.0], "not shown"),
        ([2.0, 2.0], "holds"),
    ],
)
def test_what_contradicts_a_claim_is_what_shows_its_opposite(values, verdict):
    assert mean(values).positive == verdict
    assert mean([-value for value in values]).positive == OPPOSITE[verdict]
    assert above([value + 3 for value in values], 3) == verdict
    assert below([3 - value for value in values], 3) == verdict


def test_of_several_statements_one_counterexample_contradicts_all():
    for parts in product(get_args(Verdict), repeat=3):
        whole = all_of(parts)
        assert (whole == "holds") == (set(parts) == {"holds"})
        assert (whole == "contradicted") == ("contradicted" in parts)
        assert (whole == "not run") == ("not run" in parts and "contradicted" not in parts)
    assert exactly(right=True) == all_of([]) == "holds"
    assert exactly(right=False) == "contradicted"


def test_an_error_predicts_the_accuracy_contradicts_it_or_says_nothing():
    def seeds(*errors):
        return [pd.DataFrame({"error": error, "probe": [1.0, 2.0, 3.0, 4.0]}) for error in errors]

    assert no_proxy(seeds([1, 2, 3, 4], [1, 2, 4, 3]), "probe").verdict == "holds"
    assert no_proxy(seeds([4, 3, 2, 1], [4, 3, 2, 1]), "probe").verdict == "contradicted"
    assert no_proxy(seeds([4, 3, 2, 1], [1, 2, 3, 4]), "probe").verdict == "not shown"


def scores(trained, untrained):
    """Two patch sizes, of which the second scores 10 more from the start; trained at two ratios."""
    after = [
        {"patch": patch, "ratio": ratio, "seed": seed, "probe": 10 * patch + gain + 0.01 * seed}
        for patch, ratio, seed, gain in product((1, 2), (0.5, 0.75), (0, 1), trained)
    ]
    before = [
        {"patch": patch, "seed": seed, "probe": 10 * patch + start}
        for patch, seed, start in product((1, 2), (0, 1), untrained)
    ]
    return pd.DataFrame(after), pd.DataFrame(before)


def test_the_best_encoder_is_compared_with_its_own_untrained_self():
    gain = learned(*scores([3.0], [0.0]), "probe", ["patch", "ratio"], ["patch"])
    assert gain == Mean(pytest.approx(3.005), pytest.approx(0.01 / math.sqrt(2)), 2)
    after, before = scores([3.0], [0.0])
    after.loc[(after["patch"] == 1) & (after["ratio"] == 0.5), "probe"] += 20
    assert learned(after, before, "probe", ["patch", "ratio"], ["patch"]).value == pytest.approx(23.005)


@pytest.mark.parametrize("verdict", ["holds", "contradicted", "not shown"])
def test_without_learning_nothing_is_judged(verdict):
    finding = Finding(verdict, "1 ± 0", {"choice": "holds: 1"})
    good, bad = mean([1.0, 1.1]), mean([1.0, -1.0])
    assert taught(finding, good) == Finding(verdict, "1 ± 0", {"choice": "holds: 1"}, "sufficient")
    untold = taught(finding, bad)
    assert (untold.verdict, untold.training) == ("not shown", "too little")
    assert untold.outcome == "not shown, too little training"
    assert "1 ± 0" in untold.number, "what was found is still told"


def test_the_first_choice_speaks_and_the_others_are_counted():
    finding = by_choice(
        {"k = 64": Finding("holds", "3", training="sufficient"), "k = 16": Finding("contradicted", "-1")}
    )
    assert finding == Finding(
        "holds",
        "3 [k = 64]; of 2 choices: 1 holds, 1 contradicted",
        {"k = 64": "holds: 3", "k = 16": "contradicted: -1"},
        "sufficient",
    )
    assert by_choice({"k = 64": Finding("holds", "3")}) == Finding("holds", "3")
    assert counted([Finding("not run", ""), Finding("holds", ""), Finding("holds", "")]) == "2 holds, 1 not run"
