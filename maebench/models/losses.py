"""The one masked mean."""

from torch import Tensor

from maebench.contracts import Reconstruction


def pixel_loss(reconstruction: Reconstruction, images: Tensor) -> Tensor:
    """Mean squared error of the scored pixels against images [B, C, H, W], averaged over images and channels -> scalar.

    Each image weighs the same however many of its pixels are scored.
    """
    scored = reconstruction.scored.to(images.dtype)
    error = (reconstruction.pixels - images).square().mean(1, keepdim=True)
    return ((error * scored).flatten(1).sum(1) / scored.flatten(1).sum(1)).mean()
