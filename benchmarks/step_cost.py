"""What a step of each masking strategy and each objective takes beside `vit_mae` with uniform masks.

OMP_NUM_THREADS=1 python benchmarks/step_cost.py [ROUNDS]     batches of 64 CIFAR-10-sized images, ratio 0.75

The tables of docs/maskings.md and docs/objectives.md. All rows take their steps in turns in one process, so that
whatever slows the machine slows all of them; a ratio is the median, over the rounds, of that within a round.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from step import DEVICE, images

from maebench.contracts import Variant, standardise
from maebench.plugins import ask_method, find, names
from maebench.runs.build import attached, strategy_of
from maebench.runs.config import full_settings
from maebench.runs.plan import Plugin
from maebench.seeding import stream
from maebench.training.masker import Masker
from maebench.training.step_cost import step_flops
from maebench.training.timing import now

SHAPE, BATCH, RATIO, ROUNDS = (3, 32, 32), 64, 0.75, 20
OBJECTIVES: list[tuple[str, dict[str, Any]]] = [
    *(("vit_mae", {"target": target}) for target in ("pixels", "pca", "hog")),
    *(("vit_mae", {setting: value}) for setting, value in (("spectrum", 1.0), ("uniformity", 0.01), ("veiled", 0.25))),
    ("vit_simmim", {}),
    ("vit_cross", {}),
    ("vit_cross", {"predicted": 0.33}),
    *(("vit_latent", {"teacher": teacher}) for teacher in ("ema", "stages", "random")),
    *((name, {}) for name in ("vit_jepa", "vit_pmae", "vit_mfm", "conv_mae", "hf_vit_mae", "vit_ae")),
]


def row(variant: str, settings: dict[str, Any], strategy: str) -> tuple[Variant, Masker]:
    """A variant under a strategy, in the middle of its training."""
    found, masking = find("variants", variant), find("maskings", strategy)
    masker = Masker(strategy_of(Plugin(strategy, full_settings(masking, {}, strategy), "")), RATIO)
    built = attached(found, full_settings(found, settings, variant), SHAPE, masker, 0).to(DEVICE).train()
    masker.begin(0.5, 0.5)
    return built, masker


def rows() -> Iterator[tuple[str, Variant, Masker]]:
    """`vit_mae` with uniform masks first, then every other strategy, then every other objective."""
    strategies = [name for name, found in names("maskings").items() if found.constants.get("COUNT") != "free"]
    for strategy in sorted(strategies, key=lambda name: name != "uniform"):
        yield strategy, *row("vit_mae", {}, strategy)
    for variant, settings in OBJECTIVES:
        words = " ".join([variant, *(f"{key}: {value}" for key, value in settings.items())])
        yield words, *row(variant, settings, "uniform")


def main() -> None:
    """One row each: MFLOP an image of a step and of the masks, milliseconds of a step, and both beside the first."""
    pixels = standardise(images(BATCH).to(DEVICE))
    found = list(rows())
    steps = [stepping(variant, masker, pixels) for _, variant, masker in found]
    for step in steps:
        step(0)
    times = [[timed(step, number) for step in steps] for number in range(1, 1 + int((sys.argv[1:] or [ROUNDS])[0]))]
    flops = [step_flops(variant, masker, pixels[:2]) for _, variant, masker in found]
    for name, (whole, masks), *seconds in zip((name for name, *_ in found), flops, *times, strict=True):
        ratio = statistics.median(one / of[0] for one, of in zip(seconds, times, strict=True))
        print(
            f"| `{name}` | {whole / 1e6:.1f} | {masks / 1e6:.1f} | {whole / flops[0][0]:.2f} | "
            f"{1e3 * statistics.median(seconds):.0f} | {ratio:.2f} |"
        )


def stepping(variant: Variant, masker: Masker, pixels: torch.Tensor) -> Callable[[int], None]:
    """What takes one step of a row: loss, gradients, what the masks learn, what the variant does after it."""

    def step(number: int) -> None:
        torch.autograd.backward(variant.loss(pixels, stream(0, "step", number)))
        masker.learn(1.0)
        ask_method(variant, "after_step", {"progress": 0.1, "advance": 1e-3})

    return step


def timed(step: Callable[[int], None], number: int) -> float:
    """Seconds of a step."""
    begun = now(DEVICE)
    step(number)
    return now(DEVICE) - begun


if __name__ == "__main__":
    main()
