"""The picture of a run: input, what the encoder saw, reconstruction."""

from pathlib import Path

import torch
from torch import Tensor

from maebench.contracts import CENTRE, SPREAD, Variant, standardise
from maebench.plan import Encoder
from maebench.plots import reconstruction
from maebench.seeding import stream

SHOWN = 8


@torch.no_grad()
def picture(path: Path, variant: Variant, images: Tensor, spec: Encoder, device: torch.device) -> None:
    """Write a PNG of the first test images (uint8 [N, C, H, W]); visible pixels of a masked image are pasted back."""
    batch = standardise(images[:SHOWN].to(device))
    result = variant.reconstruct(batch, stream(spec.seed or 0, "picture"))
    pixels = torch.where(result.scored, result.pixels, result.seen)
    inputs, seen, outputs = [
        (part * SPREAD + CENTRE).clamp(0, 1).cpu().numpy() for part in (batch, result.seen, pixels)
    ]
    masking = f", {spec.masking.name} {spec.ratio:g}" if spec.masking else ""
    reconstruction(path, inputs, seen, outputs, f"{spec.variant.name}{masking} on {spec.dataset.name}")
