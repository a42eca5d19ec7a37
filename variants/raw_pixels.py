"""Floor: the pixels themselves, flattened into one code."""

import torch
from torch import Generator, Tensor

from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import pixel_loss

FLOOR = True


class RawPixels(Variant):
    """The identity. What a learned code must beat is what the read-outs find in the image itself."""

    def fit(self, images: Tensor) -> None:
        """Nothing to learn."""

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> 0, a scalar."""
        return pixel_loss(self.reconstruct(images, rng), images)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> the same, all scored."""
        return Reconstruction(images, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, C*H*W, 1, 1]."""
        return images.flatten(1)[..., None, None]


def build(shape: tuple[int, int, int]) -> Variant:
    """Image shape (C, H, W) -> the floor, without weights or settings."""
    return RawPixels()
