"""The one masked mean."""

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Reconstruction


def pixel_loss(reconstruction: Reconstruction, images: Tensor) -> Tensor:
    """Mean squared error of the scored pixels against images [B, C, H, W], averaged over images and channels -> scalar.

    Each image weighs the same however many of its pixels are scored.
    """
    scored = reconstruction.scored.to(images.dtype)
    error = (reconstruction.pixels - images).square().mean(1, keepdim=True)
    return ((error * scored).flatten(1).sum(1) / scored.flatten(1).sum(1)).mean()


@torch.no_grad()
def patch_losses(reconstruction: Reconstruction, images: Tensor, patch: int) -> Tensor:
    """The same error by patch: [B, h, w], mean of the squared errors in it; NaN where it is not scored."""
    error = (reconstruction.pixels - images).square().mean(1, keepdim=True)
    error = error.masked_fill(~reconstruction.scored, torch.nan)
    return functional.avg_pool2d(error, patch)[:, 0]
