"""Work tried on two small shares of the images, and the line through both to all of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from maebench.contracts import Split

T = TypeVar("T")

SHARES = (0.05, 0.2)  # of the images. Ours: work that does not grow with them, such as a solve, shows in the difference
FEWEST = (100, 400)  # images of train, where it has them; fewer would time the overhead
SHORT = 3.0  # seconds. Ours: the first use of a library took up to 1.3 s


@dataclass(frozen=True)
class Sample:
    """What some work took on so many images: seconds by phase."""

    images: int
    seconds: Mapping[str, float]


def extend(few: Sample, many: Sample, images: int) -> dict[str, float]:
    """Seconds by phase for so many images, on the line through two samples.

    Between what the larger sample took and its multiple: a noisy clock leads no further.
    """
    if images == many.images:
        return dict(many.seconds)

    def at(phase: str, most: float) -> float:
        rise = (most - few.seconds.get(phase, 0.0)) / (many.images - few.images)
        return min(most + max(0.0, rise) * (images - many.images), most * images / many.images)

    return {phase: at(phase, most) for phase, most in many.seconds.items()}


def tried(work: Callable[[int], tuple[Sample, T]]) -> tuple[Sample, Sample, T]:
    """Samples of both shares, and what else the larger gave. A short first try is repeated: it may load libraries."""
    few, _ = work(0)
    if sum(few.seconds.values()) < SHORT:
        few, _ = work(0)
    many, rest = work(1)
    return few, many, rest


def cut(splits: Mapping[str, Split], number: int) -> dict[str, Split]:
    """Share `number` of every split, evenly spaced, since a data set may be in the order of its classes."""
    share = min(1.0, max(SHARES[number], FEWEST[number] / len(splits["train"].images)))
    return {name: _spaced(split, max(10, math.ceil(share * len(split.images)))) for name, split in splits.items()}


def _spaced(split: Split, wanted: int) -> Split:
    count = len(split.images)
    rows = [place * count // min(wanted, count) for place in range(min(wanted, count))]
    return Split(split.images[rows], {name: target[rows] for name, target in split.targets.items()})
