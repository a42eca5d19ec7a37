"""ViT masked autoencoder that sees mask tokens: all positions go through the encoder, a linear head reads pixels."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_losses, pixel_loss
from maebench.models.patches import patchify, scored_pixels, seen_pixels, unpatchify
from maebench.models.vit import PixelTarget, ViTEncoder, refuse_target, standard_pixels, target_pixels


class ViTSimMIM(Variant):
    """Hidden patches are replaced by a learnt token before positions are added; absolute error of the hidden pixels."""

    def __init__(self, encoder: ViTEncoder, hide: Hide, report: Report, target: PixelTarget) -> None:
        super().__init__()
        self.encoder, self.hide, self.report, self.target = encoder, hide, report, target
        width, values = encoder.embed.out_features, encoder.embed.in_features
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.head = nn.Linear(width, values)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def predict(self, images: Tensor, hidden: Tensor) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predictions [B, C, H, W] in target units."""
        tokens = self.encoder.embed(patchify(images, self.encoder.patch))
        tokens = torch.where(hidden.flatten(1)[..., None], self.mask_token.to(tokens.dtype), tokens)
        tokens = self.encoder.norm(self.encoder.blocks(tokens + self.encoder.positions))
        return unpatchify(self.head(tokens), self.encoder.patch, self.encoder.grid)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean absolute error over hidden pixels (over all at ratio 0), a scalar."""
        hidden = self.hide(images, self.encoder.grid, rng)
        wanted = target_pixels(images, self.encoder.patch, self.target)
        scored = scored_pixels(hidden, self.encoder.patch)
        result = Reconstruction(self.predict(images, hidden), scored, images)
        if self.report:
            self.report(patch_losses(result, wanted, self.encoder.patch, "absolute"))
        return pixel_loss(result, wanted, "absolute")

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
        tokens = self.encoder.grid[0] * self.encoder.grid[1]
        return self.encoder.flops(tokens) + 2.0 * tokens * self.head.weight.numel()


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    report: Report,
    patch: int = 4,  # as vit_mae; SimMIM hides units of 32 pixels of patches of 4: the strategy `coarse`
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    target: Literal["pixels", "normalised"] = "pixels",  # Xie et al. 2022 (SimMIM)
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit.

    Source: Xie et al. 2022 (SimMIM), with a ViT as there: no norm after the last block, in training and in read-outs;
    the last layer is then not the best to probe, see `layer` of the tasks. Its masking ratio is 0.6.
    """
    refuse_target(shape, patch, target)
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    encoder.norm = nn.Identity()  # type: ignore[assignment]
    return ViTSimMIM(encoder, hide, report, target)
