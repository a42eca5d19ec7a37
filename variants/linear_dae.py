"""Linear denoising autoencoder of the whole image, in closed form or by gradient: Gaussian noise on the input."""

from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor

from maebench.contracts import Reconstruction, Variant
from maebench.models.linear import LinearModel
from maebench.models.losses import pixel_loss
from maebench.theory.closed_form import noisy


class LinearDAE(Variant):
    """Noise on every pixel, loss on every clean pixel."""

    def __init__(self, model: LinearModel, sigma: float) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma

    def fit(self, images: Tensor) -> None:
        """uint8 images [N, C, H, W] -> the exact minimum of the expected loss over them."""
        self.model.fit(images, partial(noisy, sigma=self.sigma))

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over all pixels of the clean images, a scalar."""
        return pixel_loss(self.reconstruct(images, rng), images)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> every pixel from the code of the noisy image, all scored."""
        seen = images + self.sigma * torch.randn(images.shape, generator=rng).to(images)
        pixels = self.model.rebuild(self.model.codes(seen), images.shape)
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), seen)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, k, 1, 1], without noise."""
        return self.model.codes(images)[..., None, None]


def build(
    shape: tuple[int, int, int],
    *,
    k: int = 256,  # as linear_mae, so that the two differ in the corruption alone
    sigma: float = 0.8,  # the source paper's 0.2, taken as a share of the pixel range [0, 1] (Ours), in standard units
    fit: Literal["closed_form", "gradient"] = "closed_form",  # gradient: trained under `pretrain` to the same minimum
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError unless k is in 1 to C*H*W and sigma at least 0."""
    if not sigma >= 0:
        raise ValueError(f"sigma {sigma} is not 0 or more; it is a standard deviation, in standard pixel units")
    return LinearDAE(LinearModel(shape, k), sigma)
