"""ViT denoising autoencoder: Gaussian noise on the input, the clean image as target."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import patch_loss
from maebench.models.patches import hide_nothing
from maebench.models.targets import PatchTarget
from maebench.models.vit import ViTDecoder, ViTEncoder


class ViTDAE(Variant):
    """Encoder on every noisy patch, decoder on every token, loss on every clean pixel."""

    def __init__(self, encoder: ViTEncoder, decoder: ViTDecoder, target: PatchTarget, sigma: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.target, self.sigma = encoder, decoder, target, sigma

    def predict(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> predictions [B, h*w, values] in target units."""
        return self.decoder(self.decoder.embed(self.encoder(images)))  # type: ignore[no-any-return]

    def corrupt(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> the same with white Gaussian noise of standard deviation sigma."""
        return images + self.sigma * torch.randn(images.shape, generator=rng).to(images)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over all pixels of the clean images, a scalar."""
        gap = self.predict(self.corrupt(images, rng)) - self.target(images)
        return patch_loss(gap, hide_nothing(images, self.encoder.grid, rng))

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every pixel, all scored."""
        noisy = self.corrupt(images, rng)
        return self.target.reconstruction(self.predict(noisy), noisy, hide_nothing(images, self.encoder.grid, rng))

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, width, h, w]."""
        return self.encoder.encode(images)

    def layers(self, images: Tensor) -> list[Tensor]:
        """images [B, C, H, W] -> the map [B, width, h, w] after each block."""
        return self.encoder.layers(images)

    def stages(self) -> list[nn.Module]:
        """The encoder's parts, input first."""
        return self.encoder.stages()

    def flops(self) -> float:
        """Operations of the loss of one image, forward."""
        tokens = self.encoder.grid[0] * self.encoder.grid[1]
        return self.encoder.flops(tokens) + self.decoder.flops(tokens)


def build(
    shape: tuple[int, int, int],
    *,
    sigma: float = 0.8,  # the source paper's 0.2, taken as a share of the pixel range [0, 1] (Ours), in standard units
    patch: int = 4,  # as vit_mae, so that the two differ in the corruption, and in target
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    decoder_width: int = 64,  # as vit_mae
    decoder_depth: int = 1,  # as vit_mae
    decoder_heads: int = 4,  # as vit_mae
    target: Literal["pixels", "normalised"] = "pixels",  # Ours: its input; vit_mae has normalised unless told otherwise
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit, or sigma < 0."""
    if sigma < 0:
        raise ValueError(f"sigma {sigma} is negative; it is a standard deviation")
    goal = PatchTarget(shape, patch, target)
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    decoder = ViTDecoder(
        shape, patch=patch, encoder_width=width, width=decoder_width, depth=decoder_depth, heads=decoder_heads
    )
    return ViTDAE(encoder, decoder, goal, sigma)
