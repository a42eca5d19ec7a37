"""What the battery says of encoders whose answer is known, and what its read-outs cost.

    OMP_NUM_THREADS=1 python benchmarks/battery.py scores     on `scenes`, from an oracle to another's answers
    OMP_NUM_THREADS=1 python benchmarks/battery.py seconds    10,000 images of 8 x 8 x 192 features, encoding left out

No encoder is trained. The numbers are in `docs/tasks.md` and `docs/performance.md`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Split, standardise
from maebench.data import scenes
from maebench.face import build
from maebench.plugins import find, names
from maebench.runs.config import full_settings
from maebench.runs.plan import Plugin
from maebench.runs.scoring.evaluate import Trained, evaluate
from maebench.runs.scoring.features import frozen
from maebench.runs.scoring.masked import by_hidden_pixels
from maebench.seeding import stream
from maebench.tasks.gabor_frequency import responses
from maebench.training.timing import Stopwatch

CPU = torch.device("cpu")
SHAPE = (3, 32, 32)
PATCH, WIDTH, IMAGES = 4, 192, 10_000  # of `seconds`
PARTS = ("train", "val", "test")


def task(name: str, **settings: Any) -> Plugin:
    """A built-in task, its other settings at their defaults."""
    found = find("tasks", name)
    return Plugin(name, full_settings(found, settings, name), "")


def answers(name: str, split: Split) -> Tensor:
    """What a task asks for, as features [N, D, h, w]."""
    if name == "gabor_frequency":
        asked = find("tasks", name).settings
        return responses(split.images, *(asked[key][1] for key in ("frequencies", "sigmas", "stride")))
    if name == "monocular_depth":
        return split.targets["depth"].log()
    if name == "latents":
        return split.targets["latents"][:, :, None, None]
    return functional.one_hot(split.targets["label"]).float()[:, :, None, None]


def looked_up(images: Tensor, rows: Tensor) -> Callable[[Tensor], Tensor]:
    """The rows of these images, found by what is in an image; KeyError for other images."""
    place = {image.numpy().tobytes(): row for row, image in enumerate(images)}
    return lambda asked: rows[[place[image.numpy().tobytes()] for image in asked]]


def known(name: str, splits: Mapping[str, Split], shift: int) -> Trained:
    """An encoder whose features, and reconstruction, of an image are the answer for the one `shift` places before."""
    images = torch.cat([splits[part].images for part in PARTS])
    rows = torch.cat([answers(name, splits[part]).roll(shift, 0) for part in PARTS])
    pixels = looked_up(images, torch.cat([standardise(splits[part].images).roll(shift, 0) for part in PARTS]))
    return Trained(
        build("raw_pixels", shape=SHAPE),
        *(looked_up(images, rows), 0, Stopwatch(CPU)),
        masked=lambda asked, hidden: pixels(asked),
    )


def encoders(name: str, splits: Mapping[str, Split], built: Mapping[str, Trained]) -> Iterator[tuple[str, Trained]]:
    """The columns of `scores`."""
    yield "oracle", known(name, splits, 0)
    yield from built.items()
    yield "shuffled oracle", known(name, splits, 1)


def trained(name: str) -> Trained:
    """A variant as it is built, with what it remembers of features."""
    variant = build(name, shape=SHAPE)
    return Trained(variant, frozen(variant, CPU), 0, Stopwatch(CPU), masked=by_hidden_pixels(variant))


def scores() -> None:
    """Of each task the headline of every encoder, its floor and its ceiling."""
    splits = {part: scenes.load(part) for part in PARTS}
    built = {name: trained(name) for name in ("vit_mae", "raw_pixels", "blank")}
    for name in sorted(names("tasks")):
        if name == "fine_tune":  # reads no frozen features
            continue
        found: dict[str, float | None] = {}
        for column, encoder in encoders(name, splits, built):
            try:
                metrics = {metric.name: metric for metric in evaluate(task(name), encoder, splits).metrics}
            except KeyError:  # corrupted images have no known answer
                found[column] = None
                continue
            headline = next(metric for metric in metrics.values() if metric.headline)
            found[column] = headline.value
            found |= {limit: metrics[f"{headline.name}@{limit}"].value for limit in ("floor", "ceiling")}
        line(f"{name}, {headline.name}", *found.items())


def seconds() -> None:
    """Of each task the seconds of fitting its read-out on IMAGES images and guessing for as many again."""
    splits = {part: scenes.load(part, **dict.fromkeys(PARTS, IMAGES)) for part in PARTS}
    weight = torch.randn(WIDTH, SHAPE[0], PATCH, PATCH, generator=stream(0, "battery")) / PATCH

    def encode(images: Tensor) -> Tensor:
        parts = torch.split(images, 500)
        return torch.cat([functional.conv2d(standardise(part), weight, stride=PATCH).tanh() for part in parts])

    clock = Stopwatch(CPU)
    encoder = Trained(build("raw_pixels", shape=SHAPE), encode, 0, clock)
    with clock.phase("components"):
        encoder.offered["whole"](splits["train"].images)
    line("principal components, once for all", ("seconds", clock.read("components")))
    for name in sorted(names("tasks")):
        if name in ("fine_tune", "reconstruction"):  # read no features
            continue
        before = clock.read("probe"), clock.read("eval")
        evaluate(task(name, fit_images=IMAGES), encoder, splits)
        fitted, guessed = clock.read("probe") - before[0], clock.read("eval") - before[1]
        line(name, ("fit", fitted), ("guess and measure", guessed))


def line(name: str, *cells: tuple[str, float | None]) -> None:
    """One row of a table, its columns named."""
    values = ", ".join(f"{column} {'-' if value is None else f'{value:.4g}'}" for column, value in cells)
    print(f"{name}: {values}", flush=True)


if __name__ == "__main__":
    {"scores": scores, "seconds": seconds}[sys.argv[1]]()
