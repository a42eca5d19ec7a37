"""The one masked mean."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Reconstruction

Error = Literal["squared", "absolute"]


def pixel_loss(reconstruction: Reconstruction, images: Tensor, error: Error = "squared") -> Tensor:
    """Mean error of the scored pixels against images [B, C, H, W], averaged over images and channels -> scalar.

    Each image weighs the same however many of its pixels are scored.
    """
    scored = reconstruction.scored.to(images.dtype)
    errors = _errors(reconstruction, images, error)
    return ((errors * scored).flatten(1).sum(1) / scored.flatten(1).sum(1)).mean()


@torch.no_grad()
def patch_losses(reconstruction: Reconstruction, images: Tensor, patch: int, error: Error = "squared") -> Tensor:
    """The same error by patch: [B, h, w], the mean over its pixels and channels; NaN where it is not scored."""
    errors = _errors(reconstruction, images, error).masked_fill(~reconstruction.scored, torch.nan)
    return functional.avg_pool2d(errors, patch)[:, 0]


def _errors(reconstruction: Reconstruction, images: Tensor, error: Error) -> Tensor:
    """[B, 1, H, W], averaged over channels."""
    gap = reconstruction.pixels - images
    return (gap.square() if error == "squared" else gap.abs()).mean(1, keepdim=True)
