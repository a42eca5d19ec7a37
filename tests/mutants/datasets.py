"""A sound data set: white noise with a label."""

import torch

from maebench.contracts import Split
from maebench.seeding import stream

VERSION = 1
TARGETS = ("label",)


def load(split, *, count: int = 20):
    rng = stream(0, "sound", split)
    images = torch.randint(256, (count, 3, 8, 8), generator=rng).to(torch.uint8)
    return Split(images, {"label": torch.arange(count) % 4})
