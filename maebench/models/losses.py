"""The one masked mean, and what is taken of it or added to it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Reconstruction, Report
from maebench.models.patches import scored_patches


def pixel_loss(reconstruction: Reconstruction, images: Tensor) -> Tensor:
    """Mean squared error of the scored pixels against images [B, C, H, W], over images and channels -> scalar."""
    errors = (reconstruction.painted - images).square().mean(1, keepdim=True)
    return masked_mean(errors, reconstruction.scored)


def patch_loss(
    gap: Tensor, hidden: Tensor, report: Report = None, error: Callable[[Tensor], Tensor] = torch.square
) -> Tensor:
    """Mean error of the hidden patches (of all where nothing is hidden) -> scalar; told by patch to `report`.

    gap [B, h*w, T] between what is predicted of each patch and what is wanted, hidden bool [B, h, w].
    """
    errors = error(gap).mean(2).view(hidden.shape)
    scored = scored_patches(hidden)
    if report:
        report(errors.detach().masked_fill(~scored, torch.nan))
    return masked_mean(errors, scored)


def masked_mean(errors: Tensor, scored: Tensor) -> Tensor:
    """Mean of the scored errors, both [B, ...] -> scalar; each image weighs the same however many are scored."""
    weights = scored.to(errors.dtype)
    return ((errors * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)).mean()


def smooth_absolute(gap: Tensor, beta: float) -> Tensor:
    """Each value's size less beta / 2; below beta its square over 2 beta. Source: Girshick 2015, with beta 1."""
    return functional.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none", beta=beta)


def focal_frequency_loss(gap: Tensor) -> Tensor:
    """gap [B, C, H, W] between a painted image and the true one -> scalar: mean of w D^2 over frequencies.

    D is the size of the gap's orthonormal Fourier transform, and the weight w, without gradient, is D over the largest
    D of the image. Source: Jiang et al. 2021 (focal frequency loss), alpha 1. Ours: of the image, not of each channel.
    """
    spectrum = torch.fft.fft2(gap.float(), norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()  # no root of it: its gradient at 0 is infinite
    size = power.detach().sqrt()
    weight = size / size.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return (weight * power).mean()  # type: ignore[no-any-return]


def uniformity_loss(codes: Tensor) -> Tensor:
    """codes [B, D] -> scalar: mean over all pairs of images of their squared cosine; 0 of a single image.

    Source: Zhang et al. 2022 (U-MAE). Ours: an image makes no pair with itself.
    """
    with torch.autocast(codes.device.type, enabled=False):
        unit = functional.normalize(codes.float(), dim=1)
        squares: Tensor = (unit @ unit.T).square()
    return (squares.sum() - squares.trace()) / max(1, len(codes) * (len(codes) - 1))
