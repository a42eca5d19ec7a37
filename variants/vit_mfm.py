"""ViT masked frequency autoencoder: low or high frequencies are taken out of the image, and predicted from the rest."""

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import masked_mean
from maebench.models.patches import unpatchify
from maebench.models.vit import ViTEncoder, initialise


def cycles(shape: tuple[int, int, int]) -> Tensor:
    """Image shape (C, H, W) -> [H, W], each frequency in cycles per image, in the order of `torch.fft`.

    Ours: of images that are not square, per shorter side, so that a disc is one in cycles per pixel too.
    """
    y, x = (torch.arange(side).minimum(side - torch.arange(side)) * min(shape[1:]) / side for side in shape[1:])
    return torch.hypot(y[:, None], x)


def spectrum(images: Tensor) -> Tensor:
    """images [B, C, H, W] -> complex64 [B, C, H, W], the orthonormal Fourier transform of each channel."""
    return torch.fft.fft2(images.float(), norm="ortho")  # type: ignore[no-any-return]


def picture(frequencies: Tensor) -> Tensor:
    """Complex [B, C, H, W] -> images [B, C, H, W]; the inverse of `spectrum`, never clamped."""
    return torch.fft.ifft2(frequencies, norm="ortho").real  # type: ignore[no-any-return]


class ViTMFM(Variant):
    """Encoder on every patch of an image that lacks the inside of a disc of frequencies, or all but it; linear head."""

    inside: Tensor

    def __init__(self, encoder: ViTEncoder, inside: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("inside", inside, persistent=False)
        self.head = nn.Linear(encoder.embed.out_features, encoder.embed.in_features)
        initialise(self.head)

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Which frequencies of each image are removed, bool [count, 1, H, W]: outside of the disc or inside, by chance.

        Each with probability 1/2, so half of the images are low-pass. Source: Xie et al. 2023 (MFM).
        """
        low = torch.rand(count, 1, 1, 1, generator=rng) < 0.5
        return self.inside ^ low.to(self.inside.device)

    def predict(self, seen: Tensor) -> Tensor:
        """Filtered images [B, C, H, W] -> the spectrum, complex64 [B, C, H, W], of the images that are predicted."""
        return spectrum(unpatchify(self.head(self.encoder(seen)), self.encoder.patch, self.encoder.grid))

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean distance in the complex plane of the removed frequencies, a scalar.

        The gradient of a distance of 0 is 0: torch has it so for the size of a complex number.
        """
        true, removed = spectrum(images), self.draw(len(images), rng)
        distance = (self.predict(picture(true.masked_fill(removed, 0))) - true).abs()
        return masked_mean(distance.mean(1, keepdim=True), removed)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> what is seen with the removed frequencies as predicted; all pixels are scored."""
        true, removed = spectrum(images), self.draw(len(images), rng)
        seen = picture(true.masked_fill(removed, 0))
        pixels = picture(torch.where(removed, self.predict(seen), true))
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), seen)

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
        """Operations of the loss of one image, forward; Fourier transforms not counted."""
        tokens = self.encoder.grid[0] * self.encoder.grid[1]
        return self.encoder.flops(tokens) + 2.0 * tokens * self.head.weight.numel()


def build(
    shape: tuple[int, int, int],
    *,
    radius: float = 2.3,  # cycles per image at 32x32, the share of the side that 16 of 224 are in Xie et al. 2023 (MFM)
    patch: int = 4,  # as vit_mae
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
) -> Variant:
    """Image shape (C, H, W) -> the model. Source: Xie et al. 2023 (MFM). Ours: a norm after the last block, as vit_mae.

    Raises ValueError where the sizes do not fit, and for a radius within which there is no frequency, or every one.
    """
    frequencies = cycles(shape)
    if not 0 <= radius < frequencies.max():
        raise ValueError(
            f"radius {radius} takes in no frequency, or every one, of {shape[1]} x {shape[2]} pixels; set it to "
            f"0 or more, and below {frequencies.max():.4g} cycles per image"
        )
    return ViTMFM(ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads), frequencies <= radius)
