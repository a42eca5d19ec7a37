"""Linear autoencoder of the whole image, in closed form or by gradient: PCA."""

from typing import Literal

import torch
from torch import Generator, Tensor

from maebench.contracts import Reconstruction, Variant
from maebench.models.linear import LinearModel
from maebench.models.losses import pixel_loss
from maebench.theory.closed_form import clean


class LinearAE(Variant):
    """Nothing hidden, no noise, loss on every pixel."""

    def __init__(self, model: LinearModel) -> None:
        super().__init__()
        self.model = model

    def fit(self, images: Tensor) -> None:
        """uint8 images [N, C, H, W] -> the exact minimum of the loss over them."""
        self.model.fit(images, clean)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over all pixels, a scalar."""
        return pixel_loss(self.reconstruct(images, rng), images)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> every pixel from the code of the image, all scored."""
        pixels = self.model.rebuild(self.model.codes(images), images.shape)
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, k, 1, 1]."""
        return self.model.codes(images)[..., None, None]


def build(
    shape: tuple[int, int, int],
    *,
    k: int = 256,  # as linear_mae, so that the two differ in what is hidden alone
    fit: Literal["closed_form", "gradient"] = "closed_form",  # gradient: trained under `pretrain` to the same minimum
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError unless k is in 1 to C*H*W."""
    return LinearAE(LinearModel(shape, k))
