"""What each masking strategy adds to a training step of `vit_mae`: the table of docs/maskings.md.

OMP_NUM_THREADS=1 python benchmarks/masking_cost.py     batches of 64 CIFAR-10-sized images, ratio 0.75
"""

import statistics

import torch
from step import DEVICE, images

from maebench.contracts import standardise
from maebench.plugins import find, names
from maebench.runs.build import attached, strategy_of
from maebench.runs.config import full_settings
from maebench.runs.plan import Plugin
from maebench.seeding import stream
from maebench.training.masker import Masker
from maebench.training.step_cost import masking_seconds, step_flops
from maebench.training.timing import now

SHAPE, BATCH, RATIO, STEPS = (3, 32, 32), 64, 0.75, 20


def main() -> None:
    """One row a strategy: MFLOP an image of a step and of the masks, milliseconds of a step and of the masks."""
    found, pixels = find("variants", "vit_mae"), standardise(images(BATCH).to(DEVICE))
    for name, strategy in names("maskings").items():
        if strategy.constants.get("COUNT") == "free":
            continue
        masker = Masker(strategy_of(Plugin(name, full_settings(strategy, {}, name), "")), RATIO)
        variant = attached(found, full_settings(found, {}, "vit_mae"), SHAPE, masker, 0).to(DEVICE).train()
        masker.begin(0.5, 0.5)
        times = []
        for step in range(STEPS):
            begun = now(DEVICE)
            torch.autograd.backward(variant.loss(pixels, stream(0, "step", step)))
            masker.learn(1.0)
            times.append(now(DEVICE) - begun)
        whole, masks = step_flops(variant, masker, pixels[:2])
        spent = 1e3 * masking_seconds(variant, masker, pixels)
        print(
            f"| `{name}` | {whole / 1e6:.1f} | {masks / 1e6:.1f} | {1e3 * statistics.median(times):.1f} | {spent:.1f} |"
        )


if __name__ == "__main__":
    main()
