"""A sound variant without training: the principal components of the train images."""

import torch

from maebench.contracts import Reconstruction, Variant, standardise
from maebench.models.losses import pixel_loss


class Sound(Variant):
    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("basis", torch.zeros(16, shape.numel()))

    def fit(self, images):
        pixels = standardise(images)
        self.mean.copy_(pixels.mean(0))
        self.basis.copy_(torch.linalg.svd((pixels - self.mean).flatten(1), full_matrices=False).Vh[:16])

    def code(self, images):
        return (images - self.mean).flatten(1) @ self.basis.T

    def reconstruct(self, images, rng):
        pixels = (self.code(images) @ self.basis).view(images.shape) + self.mean
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images, rng):
        return pixel_loss(self.reconstruct(images, rng), images)

    def encode(self, images):
        return self.code(images)[..., None, None]


def build(shape):
    return Sound(torch.Size(shape))
