"""What a masked autoencoder predicts of each patch: its pixels, or a description of them."""

from math import pi
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maebench.contracts import Reconstruction
from maebench.models.patches import grid_of, patchify, scored_pixels, seen_pixels, unpatchify
from maebench.theory.moments import moments

Target = Literal["pixels", "normalised", "pca", "hog"]
SHARE = 8  # of the components of patches, one in so many is a target. Source: He et al. 2022 (MAE), 96 of 768
BINS = 9  # directions of a gradient. Source: Wei et al. 2022 (MaskFeat)


class PatchTarget(nn.Module):
    """The target of images of one shape.

    "pixels"; "normalised": each patch has its own mean removed and is divided by its own sd over all channels
    (unbiased, eps 1e-6 on the variance); "pca": the first eighth of the coefficients of a patch, in the principal
    components of all patches of the train split. Source of these: He et al. 2022 (MAE). "hog": see `gradients`.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, shape: tuple[int, int, int], patch: int, kind: Target) -> None:
        super().__init__()
        self.patch, self.grid, self.kind = patch, grid_of(shape, patch), kind
        pixels = shape[0] * patch * patch
        if kind == "normalised" and pixels == 1:
            raise ValueError(
                "target normalised divides each patch by the sd of its values, but a patch of 1 pixel and 1 channel "
                "has only one; set a larger patch, or target to pixels"
            )
        self.values = {"pca": max(1, pixels // SHARE), "hog": BINS * shape[0]}.get(kind, pixels)
        """how many numbers are predicted of a patch"""
        if kind == "pca":
            self.register_buffer("mean", torch.zeros(pixels))
            self.register_buffer("basis", torch.eye(pixels)[:, : self.values].clone())

    def prepare(self, images: Tensor) -> None:
        """Find the components of the patches of a train split, uint8 [N, C, H, W]."""
        if self.kind == "pca":
            patches = patchify(images, self.patch).flatten(0, 1)
            mean, covariance = moments(patches.view(-1, images.shape[1], self.patch, self.patch))
            basis = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, : self.values]
            largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))  # whose sign is free
            self.mean.copy_(mean)
            self.basis.copy_(basis * largest.sign())

    def forward(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> what is to be predicted, [B, h*w, values], in the images' precision."""
        with torch.autocast(images.device.type, enabled=False):
            if self.kind == "hog":
                return gradients(images, self.patch)
            patches = patchify(images, self.patch)
            if self.kind == "pca":
                return (patches - self.mean) @ self.basis
            return normalised(patches) if self.kind == "normalised" else patches

    def reconstruction(self, predicted: Tensor, images: Tensor, hidden: Tensor) -> Reconstruction:
        """predicted [B, h*w, values] of images [B, C, H, W] with hidden bool [B, h, w] -> in standard units.

        Ours: normalised patches get the mean of what is visible of their image, and the sd that its visible patches
        have about their own means, so no hidden pixel plays a part. A "hog" is no picture.
        """
        scored, seen = scored_pixels(hidden, self.patch), seen_pixels(images, hidden, self.patch)
        if self.kind == "hog":
            return Reconstruction(None, scored, seen, predicted.unflatten(1, self.grid))  # type: ignore[no-untyped-call]
        if self.kind == "pca":
            predicted = predicted @ self.basis.T + self.mean
        elif self.kind == "normalised":
            predicted = coloured(predicted, patchify(images, self.patch), ~hidden.flatten(1))
        return Reconstruction(unpatchify(predicted, self.patch, self.grid), scored, seen)


def normalised(patches: Tensor) -> Tensor:
    """[B, N, values] -> the same with mean 0 and sd 1 in each patch."""
    mean, variance = _mean_and_variance(patches)
    return (patches - mean) / (variance + 1e-6).sqrt()


def coloured(predicted: Tensor, patches: Tensor, visible: Tensor) -> Tensor:
    """Normalised and true patches [B, N, values], visible bool [B, N] -> the predicted ones in standard units.

    All patches of an image get the mean and, by the mean of the variance, the sd of its visible ones.
    """
    share = (visible.to(patches.dtype) / visible.sum(1, keepdim=True))[..., None]
    mean, variance = ((share * part).sum(1, keepdim=True) for part in _mean_and_variance(patches))
    return predicted * variance.sqrt() + mean


def _mean_and_variance(patches: Tensor) -> tuple[Tensor, Tensor]:
    return patches.mean(2, keepdim=True), patches.var(2, keepdim=True)


def gradients(images: Tensor, patch: int) -> Tensor:
    """images [B, C, H, W] -> histograms of oriented gradients of each patch [B, h*w, C * BINS].

    Per channel: Sobel filters over reflected borders, BINS directions without sign, each pixel counts in one with the
    length of its gradient; each histogram is divided by its Euclidean norm. Source: Dalal and Triggs 2005, as Wei et
    al. 2022 (MaskFeat) use it. Ours: a patch is a cell, but cells are 4 pixels wide at least, and then overlap.
    """
    channels, eps = images.shape[1], 1e-6
    smooth, step = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    filters = torch.stack([torch.outer(smooth, step), torch.outer(step, smooth)])[:, None].repeat(channels, 1, 1, 1)
    edged = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    slopes = functional.conv2d(edged, filters.to(images), groups=channels).unflatten(1, (channels, 2))  # type: ignore[no-untyped-call]
    angles = torch.atan2(slopes[:, :, 1], slopes[:, :, 0]) % pi
    bins = (angles * (BINS / pi) + 1e-3).long() % BINS  # rounding does not part what lies at 0 from what lies at pi
    lengths = slopes.square().sum(2).sqrt()
    votes = lengths.new_zeros(len(images), channels, BINS, *images.shape[2:]).scatter_(
        2, bins[:, :, None], lengths[:, :, None]
    )
    cell = max(patch, 4)
    before = (cell - patch) // 2
    wide = functional.pad(votes.flatten(1, 2), (before, cell - patch - before) * 2)
    cells = functional.avg_pool2d(wide, cell, patch).unflatten(1, (channels, BINS))  # type: ignore[no-untyped-call]
    normal: Tensor = cells / (cells.square().sum(2, keepdim=True) + eps**2).sqrt()
    return normal.flatten(3).permute(0, 3, 1, 2).flatten(2)
