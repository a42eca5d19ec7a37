"""ViT masked autoencoder of principal components: some are taken out of the image, and predicted from the others."""

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Reconstruction, Variant
from maebench.models.patches import unpatchify
from maebench.models.vit import ViTDecoder, ViTEncoder
from maebench.theory.moments import moments

LARGEST = 6144  # values in an image, 2 x 3072. Ours: their covariance and its eigenvectors then take 1 to 2 GB


class ViTPMAE(Variant):
    """Encoder on every patch of an image that lacks some components, decoder on every token, loss on those components.

    They are the components of the train split, strongest first, once `prepare` has seen it; until then the d values of
    an image, with equal shares of the variance. Nothing could be reconstructed without them, so they are saved with the
    weights: 4 d^2 bytes in every such file, 38 MB at 3 x 32 x 32.
    """

    mean: Tensor
    basis: Tensor
    share: Tensor

    def __init__(self, shape: tuple[int, int, int], encoder: ViTEncoder, decoder: ViTDecoder, ratio: float) -> None:
        super().__init__()
        self.shape, self.encoder, self.decoder, self.ratio = shape, encoder, decoder, ratio
        d = shape[0] * shape[1] * shape[2]
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("basis", torch.eye(d))
        self.register_buffer("share", torch.full((d,), 1 / d))

    def prepare(self, images: Tensor) -> None:
        """Find the components of a train split, uint8 [N, C, H, W], and the share of the variance that each has."""
        mean, covariance = moments(images)
        variance, basis = torch.linalg.eigh(covariance)
        variance = variance.flip(0).clamp_min(0)
        if not variance.any():
            raise ValueError("all images of the train split are the same, so they have no components to hide")
        self.mean.copy_(mean)
        self.basis.copy_(basis.flip(1))
        self.share.copy_(variance / variance.sum())

    def codes(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> coefficients of their components [B, d], in float32: bfloat16 would mix them."""
        with torch.autocast(images.device.type, enabled=False):
            return (images.float().flatten(1) - self.mean) @ self.basis

    def paint(self, codes: Tensor) -> Tensor:
        """Coefficients [B, d] -> images [B, C, H, W]; the inverse of `codes`."""
        with torch.autocast(codes.device.type, enabled=False):
            return (codes @ self.basis.T + self.mean).view(-1, *self.shape)

    def draw(self, count: int, rng: Generator) -> Tensor:
        """Which components are hidden, bool [count, d]: in random order, until they have `ratio` of the variance.

        Ours: the one that crosses it is hidden with the chance that makes the mean `ratio`, whatever the order; and the
        weakest comes first, the second weakest last, so that of every image one is hidden and one is not.
        """
        place = torch.rand(count, len(self.share), generator=rng)
        place[:, -1], place[:, -2] = -1, 2
        part = torch.rand(count, 1, generator=rng).to(self.share.device)
        order = place.to(self.share.device).argsort(dim=1, stable=True)
        share = self.share[order]
        before = share.cumsum(1) - share
        return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, before + part * share < self.ratio)

    def predict(self, seen: Tensor) -> Tensor:
        """Images without the hidden components [B, C, H, W] -> coefficients [B, d] of the images that are predicted."""
        patches = self.decoder(self.decoder.embed(self.encoder(seen)))
        return self.codes(unpatchify(patches, self.encoder.patch, self.encoder.grid))

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error of the hidden coefficients, a scalar.

        Ours: the sum of each image is divided by ratio x d, not by how many it hides. That can be a handful of strong
        ones: such images, 7% of `scenes`, would make 58% of the loss, and the features collapse. The loss is then the
        squared error of a reconstruction, over `ratio`.
        """
        codes, hidden = self.codes(images), self.draw(len(images), rng)
        guess = self.predict(self.paint(codes.masked_fill(hidden, 0)))
        return ((guess - codes).square() * hidden).mean() / self.ratio

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> what is seen with the hidden components as predicted; all pixels are scored."""
        codes, hidden = self.codes(images), self.draw(len(images), rng)
        seen = self.paint(codes.masked_fill(hidden, 0))
        pixels = self.paint(torch.where(hidden, self.predict(seen), codes))
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
        """Operations of the loss of one image, forward: to the components, back, and to them again."""
        tokens = self.encoder.grid[0] * self.encoder.grid[1]
        return self.encoder.flops(tokens) + self.decoder.flops(tokens) + 3 * 2.0 * self.basis.numel()


def build(
    shape: tuple[int, int, int],
    *,
    ratio: float = 0.15,  # share of the variance that is hidden. Source: Bizeul et al. 2025 (PMAE)
    patch: int = 4,  # as vit_mae; PMAE has 8
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    decoder_width: int = 64,  # as vit_mae
    decoder_depth: int = 1,  # as vit_mae
    decoder_heads: int = 4,  # as vit_mae
) -> Variant:
    """Image shape (C, H, W) -> the model. Source: Bizeul et al. 2025 (PMAE).

    Raises ValueError where the sizes do not fit, for images of too many values, and for a ratio that cannot be had.
    """
    d = shape[0] * shape[1] * shape[2]
    if d > LARGEST:
        raise ValueError(
            f"images {list(shape)} have {d} values, and the principal components of more than {LARGEST} take too much "
            "memory; use smaller images, or grey ones"
        )
    if not 1 / d <= ratio <= 1 - 2 / d:
        raise ValueError(
            f"ratio {ratio} is not in {1 / d:.2g} to {1 - 2 / d:.6g}; of an image's {d} components at least one is "
            "hidden, and one is not"
        )
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    decoder = ViTDecoder(
        shape, patch=patch, encoder_width=width, width=decoder_width, depth=decoder_depth, heads=decoder_heads
    )
    return ViTPMAE(shape, encoder, decoder, ratio)
