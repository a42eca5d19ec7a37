"""Floor: a code of one zero, which knows nothing of the image, and the mean image as its reconstruction."""

import torch
from torch import Generator, Tensor

from maebench.contracts import Reconstruction, Variant, standardise
from maebench.models.losses import pixel_loss

FLOOR = True


class Blank(Variant):
    """The best constant. What a read-out scores here, it owes to the targets alone."""

    mean: Tensor

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def fit(self, images: Tensor) -> None:
        """uint8 images [N, C, H, W] -> their mean image; nothing else to learn."""
        self.mean.copy_(standardise(images.sum(0) / len(images)))

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared distance from the mean image, a scalar."""
        return pixel_loss(self.reconstruct(images, rng), images)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> the mean image for each (mid grey before `fit`), all scored, none seen."""
        everywhere = torch.ones_like(images[:, :1], dtype=torch.bool)
        return Reconstruction(self.mean.expand_as(images), everywhere, torch.full_like(images, torch.nan))

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> zeros [B, 1, 1, 1]."""
        return images.new_zeros(len(images), 1, 1, 1)


def build(shape: tuple[int, int, int]) -> Variant:
    """Image shape (C, H, W) -> the floor, without weights or settings."""
    return Blank(shape)
