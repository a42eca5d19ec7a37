"""How much of an image the encoder sees while it is trained."""

import torch
from torch import Tensor

from maebench.contracts import Variant
from maebench.seeding import stream


def visible_share(variant: Variant, images: Tensor) -> float:
    """The share of the pixels of images [B, C, H, W], in standard units, that the variant does not hide from itself."""
    with torch.no_grad():
        seen = variant.reconstruct(images, stream(0, "visible")).seen
    return float((~seen.isnan()).double().mean())


def visible_tokens(variant: Variant, images: Tensor) -> float:
    """The same, of the positions of its feature map: how many of them an image gives the encoder to work on."""
    with torch.no_grad():
        positions = variant.encode(images[:1])[0, 0].numel()
    return visible_share(variant, images) * positions
