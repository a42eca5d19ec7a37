"""ViT masked autoencoder: the encoder sees only the visible patches (He et al. 2022)."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Count, Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_losses, pixel_loss
from maebench.models.patches import scored_pixels, seen_pixels
from maebench.models.vit import PixelTarget, ViTDecoder, ViTEncoder, refuse_target, standard_pixels, target_pixels


class ViTMAE(Variant):
    """Encoder on visible patches, mask tokens for the hidden ones, decoder on all, loss on the hidden."""

    def __init__(
        self, encoder: ViTEncoder, decoder: ViTDecoder, hide: Hide, count: Count, report: Report, target: PixelTarget
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.hide, self.count, self.report = hide, count, report
        self.mask_token = nn.Parameter(torch.empty(decoder.embed.out_features).normal_(std=0.02))

    @property
    def visible(self) -> int:
        """Patches that `hide` leaves visible, the same of every image."""
        return self.encoder.grid[0] * self.encoder.grid[1] - self.count(self.encoder.grid)

    def predict(self, images: Tensor, hidden: Tensor, skip: int = 0) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predictions [B, C, H, W] in target units.

        The decoder gives no pixels to the first `skip` of the visible patches.
        """
        order = hidden.flatten(1).long().sort(dim=1, stable=True).indices
        tokens = self.decoder.embed(self.encoder(images, order[:, : self.visible]))
        masked = self.mask_token.to(tokens.dtype).expand(len(images), order.shape[1] - self.visible, -1)
        return self.decoder(torch.cat([tokens, masked], 1), order, skip)  # type: ignore[no-any-return]

    @property
    def unscored(self) -> int:
        """Visible patches that the loss leaves out: all, but where nothing is hidden."""
        return self.visible if self.visible < self.encoder.grid[0] * self.encoder.grid[1] else 0

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over hidden pixels (over all at ratio 0), a scalar."""
        hidden = self.hide(images, self.encoder.grid, rng)
        scored = scored_pixels(hidden, self.encoder.patch)
        wanted = target_pixels(images, self.encoder.patch, self.target)
        result = Reconstruction(self.predict(images, hidden, self.unscored), scored, images)
        if self.report:
            self.report(patch_losses(result, wanted, self.encoder.patch))
        return pixel_loss(result, wanted)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every patch, those of hidden patches scored."""
        hidden = self.hide(images, self.encoder.grid, rng)
        seen = seen_pixels(images, hidden, self.encoder.patch)
        pixels = standard_pixels(self.predict(images, hidden), seen, self.target)
        return Reconstruction(pixels, scored_pixels(hidden, self.encoder.patch), seen)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, width, h, w]."""
        return self.encoder.encode(images)

    def layers(self, images: Tensor) -> list[Tensor]:
        """images [B, C, H, W] -> the map [B, width, h, w] after each block."""
        return self.encoder.layers(images)

    def attention(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h, w], the attention that each patch gets in the last block."""
        return self.encoder.attention(images)

    def stages(self) -> list[nn.Module]:
        """The encoder's parts, input first."""
        return self.encoder.stages()

    def flops(self) -> float:
        """Operations of the loss of one image, forward."""
        return self.encoder.flops(self.visible) + self.decoder.flops(self.visible, self.unscored)


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    count: Count,
    report: Report,
    patch: int = 4,  # 64 tokens at 32x32: trains in minutes on a CPU
    width: int = 128,  # Ours: a small ViT that beats its untrained self within minutes
    depth: int = 4,  # Ours, as decoder_depth: docs/recipes.md
    heads: int = 4,  # 32 features a head
    decoder_width: int = 64,  # half the encoder's, near the ratio of He et al. 2022 (512 of 1024)
    decoder_depth: int = 1,  # in minutes a cheap decoder, and so more steps, gains more than a good one
    decoder_heads: int = 4,  # 16 features a head, as He et al. 2022 have at decoder width 256
    target: Literal["pixels", "normalised"] = "normalised",  # He et al. 2022; the better probe in docs/recipes.md
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit."""
    refuse_target(shape, patch, target)
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    decoder = ViTDecoder(
        shape, patch=patch, encoder_width=width, width=decoder_width, depth=decoder_depth, heads=decoder_heads
    )
    return ViTMAE(encoder, decoder, hide, count, report, target)
