"""One task of a comparison: its numbers, and a sentence that can be quoted. Never torch."""

import math
from dataclasses import dataclass
from typing import Any

from maebench.leaderboard.board import Column
from maebench.leaderboard.comparison.statistics import LEVEL, Difference, Interval
from maebench.leaderboard.tables import plain


@dataclass(frozen=True)
class Contest:
    """One task: both rows, and their difference a - b."""

    board: str
    name: str
    """of the task, with the settings that tell it from others"""
    column: Column
    a: Interval
    b: Interval
    difference: Difference | None
    """None where no seed is common"""
    p: float | None = None
    """after Holm; None where the error cannot be known"""

    @property
    def apart(self) -> bool:
        """Whether the two are told apart."""
        return self.p is not None and self.p < LEVEL


def sentence(one: Contest, a: str, b: str, tests: int) -> str:
    """A contest of the rows labelled a and b, one of so many tests, in words that can be quoted."""
    where, gap, points = f"On {one.board}, {one.name}", one.difference, unit(one.column)
    lower = "lower is better; " * (one.column.better == "lower")
    if gap is None or gap.half is None or gap.least is None or one.p is None:
        scores = f"{plain(one.a.mean, None)} and {plain(one.b.mean, None)}"
        return f"{where}: {a} and {b} score {scores}; {_unknown(gap)}."
    correction = f" after Holm over {tests} tasks" * (tests > 1)
    facts = f"p {_p(one.p)}{correction}, {_pairs(one, gap)}"
    if one.apart:
        mean, way = abs(gap.mean), "more" if gap.mean > 0 else "less"
        range_ = f"{lower}95% interval {number(mean - gap.half, gap.half)} to {number(mean + gap.half, gap.half)}"
        return f"{where}: {a} scores {number(mean, gap.half)}{points} {way} than {b} ({range_}, {facts})."
    low, high = number(gap.mean - gap.half, gap.half), number(gap.mean + gap.half, gap.half)
    range_ = f"difference {number(gap.mean, gap.half)}{points}, {lower}95% interval {low} to {high}"
    had = f"with {_count(gap.seeds, 'seed')}" if gap.seeds else f"with {_count(gap.images, 'test image')}"
    seen = f"{had} a difference of {number(gap.least, gap.half)}{points} or more would have been seen 4 times in 5"
    return f"{where}: {a} and {b} are not told apart ({range_}, {facts}); {seen}."


def _unknown(gap: Difference | None) -> str:
    if gap is None:
        return "they have no seed in common, so nothing can be said of the difference"
    if gap.seeds == 1:
        return "with one seed nothing can be said of the difference"
    if not gap.seeds and not gap.images:
        return "nothing is random in them and no scores of images were kept, so nothing can be said of the difference"
    return "the difference is the same every time, so nothing can be said of its error"


def _pairs(one: Contest, gap: Difference) -> str:
    both = one.a.seeds and one.b.seeds
    seeds = f"{_count(gap.seeds, 'seed')}{' paired' if both else ' against one run in which nothing is random'}"
    images = _count(gap.images, "test image") if gap.images else "compared by seeds alone, without scores of images"
    return f"{seeds}, {images}" if gap.seeds else f"nothing is random, {images} paired"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def unit(column: Column) -> str:
    """What follows a difference of scores in a sentence."""
    return {"%": " points", "": ""}.get(column.unit, f" {column.unit}")


def number(value: float, half: float) -> str:
    """With the decimals that show two digits of half the width of its interval."""
    text = f"{value:.{max(0, 1 - math.floor(math.log10(half)))}f}"
    return text.removeprefix("-") if not float(text) else text


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3g}"


def numbers(one: Contest, a: str, b: str) -> dict[str, Any]:
    """A line of compare.csv."""
    what = {"board": one.board, "task": one.column.task, "task_settings": one.column.settings}
    found: dict[str, Any] = {**what, "metric": one.column.metric, "unit": one.column.unit, "better": one.column.better}
    for letter, label, alone in (("a", a, one.a), ("b", b, one.b)):
        found |= {
            letter: label,
            f"{letter}_mean": alone.mean,
            **_ends(alone, f"{letter}_"),
            f"{letter}_seeds": alone.seeds,
        }
    gap = one.difference
    found |= {"difference": gap.mean if gap else None, **(_ends(gap, "") if gap else {"low": None, "high": None})}
    found |= {"p": gap.p if gap else None, "p_holm": one.p, "effect_size": gap.effect if gap else None}
    found |= {"least_difference": gap.least if gap else None, "paired_seeds": gap.seeds if gap else 0}
    return {**found, "paired_images": gap.images if gap else 0}


def _ends(one: Interval | Difference, prefix: str) -> dict[str, float | None]:
    low, high = (None, None) if one.half is None else (one.mean - one.half, one.mean + one.half)
    return {f"{prefix}low": low, f"{prefix}high": high}


HEADS = ("difference", "95% interval", "p", "effect size", "least difference")


def cells(one: Contest) -> list[str]:
    """Under `HEADS`: the same numbers in a table."""
    gap = one.difference
    if gap is None or gap.half is None or gap.least is None or one.p is None:
        return [plain(gap.mean, None) if gap else "-", *["-"] * 4]
    low, high = number(gap.mean - gap.half, gap.half), number(gap.mean + gap.half, gap.half)
    effect = "-" if gap.effect is None else f"{gap.effect:.2f}"
    least = number(gap.least, gap.half)
    return [number(gap.mean, gap.half), f"{low} to {high}", _p(one.p).removeprefix("= "), effect, least]
