"""Masks on the train images of a data set: how often each position is hidden, and a picture of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from maebench.contracts import CENTRE, SPREAD, standardise
from maebench.runs.drawing import Masked
from maebench.runs.records import ratio_words
from maebench.seeding import stream
from maebench.training.budget import Ratio

IMAGES, BATCH = 1_000, 250  # Ours: so many masks give a frequency with a standard error of at most 0.016
SHOWN = 16

See = Callable[[Tensor, Generator], Tensor]
"""images [B, C, H, W] in standard units, rng -> [B, C, H, W], NaN = hidden"""


@torch.no_grad()
def masked(see: See, images: Tensor, strategy: str, settings: dict[str, Any], ratio: Ratio) -> Masked:
    """The masks of the first IMAGES of uint8 images [N, C, H, W], for `drawing.masks`.

    The same random numbers every time, so that strategies, and runs that mask alike, can be compared.
    """
    rng, parts = stream(0, "masks"), torch.split(images[:IMAGES], BATCH)
    seen = torch.cat([see(standardise(part), rng).cpu() for part in parts])
    hidden = seen.isnan().any(1).double()
    title = f"{strategy}: masking ratio {ratio_words(ratio)} asked, {float(hidden.mean()):.3g} realised"
    words = " ".join(f"{key}={value}" for key, value in settings.items())
    shown = (seen[:SHOWN] * SPREAD + CENTRE).clamp(0, 1)
    return Masked(title, words, shown.numpy(), hidden.mean(0).numpy(), len(seen))
