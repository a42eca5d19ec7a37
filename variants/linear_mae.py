"""Linear masked autoencoder of the whole image, in closed form or by gradient: hidden patches count as the mean."""

from typing import Literal

import torch
from torch import Generator, Tensor

from maebench.contracts import Reconstruction, Variant
from maebench.models.linear import LinearModel
from maebench.models.losses import pixel_loss
from maebench.models.patches import grid_of, hidden_count, hide_top, patch_of_pixel, seen_pixels
from maebench.theory.closed_form import Corruption, bernoulli, fixed_count

Masking = Literal["fixed", "bernoulli"]


class LinearMAE(Variant):
    """Patches hidden at random, loss on every pixel, seen or not, as the source paper's theory has it."""

    def __init__(
        self, model: LinearModel, shape: tuple[int, int, int], patch: int, ratio: float, masking: Masking
    ) -> None:
        super().__init__()
        self.model, self.patch, self.ratio, self.masking = model, patch, ratio, masking
        self.grid, self.patch_index = grid_of(shape, patch), patch_of_pixel(shape, patch)

    def corrupt(self, C: Tensor) -> Corruption:
        """Covariance [d, d] -> what masking does to it; a fixed count sees the patches that `hidden_count` leaves."""
        if self.masking == "bernoulli":
            return bernoulli(C, self.patch_index, self.ratio)
        patches = self.grid[0] * self.grid[1]
        return fixed_count(C, self.patch_index, patches - hidden_count(self.ratio, patches))

    def hide(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> bool [B, h, w], True = hidden."""
        scores = torch.rand(len(images), *self.grid, generator=rng)
        hidden = scores < self.ratio if self.masking == "bernoulli" else hide_top(scores, self.ratio, rng)
        return hidden.to(images.device)

    def fit(self, images: Tensor) -> None:
        """uint8 images [N, C, H, W] -> the exact minimum of the expected loss over them."""
        self.model.fit(images, self.corrupt)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over all pixels, a scalar."""
        return pixel_loss(self.reconstruct(images, rng), images)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> every pixel from the code of the visible patches, all scored."""
        seen = seen_pixels(images, self.hide(images, rng), self.patch)
        pixels = self.model.rebuild(self.model.codes(seen), images.shape)
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), seen)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, k, 1, 1], nothing hidden."""
        return self.model.codes(images)[..., None, None]


def build(
    shape: tuple[int, int, int],
    *,
    k: int = 256,  # Ours: a quarter of a grey 32x32 image, so that the bottleneck binds
    patch: int = 8,  # 16 patches at 32x32: neighbours inside a patch are hidden together
    ratio: float = 0.75,  # the common choice since He et al. 2022 (MAE)
    masking: Literal["fixed", "bernoulli"] = "fixed",  # fixed: the same number of patches each time, as trained MAEs do
    fit: Literal["closed_form", "gradient"] = "closed_form",  # gradient: trained under `pretrain` to the same minimum
) -> Variant:
    """Image shape (C, H, W) -> the model.

    Raises ValueError unless k is in 1 to C*H*W, patch divides the image, and ratio is in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio {ratio} is not in [0, 1); it is the share of patches that are hidden")
    return LinearMAE(LinearModel(shape, k), shape, patch, ratio, masking)
