"""ViT masked autoencoder: the encoder sees only the visible patches (He et al. 2022)."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Count, Hide, Reconstruction, Report, Variant
from maebench.models.losses import focal_frequency_loss, patch_loss, uniformity_loss
from maebench.models.patches import hide_top, scored_patches, unpatchify
from maebench.models.targets import PatchTarget
from maebench.models.vit import ViTDecoder, ViTEncoder

COUPLED = "uniformity"
PAINTS = {"target": ("pixels", "normalised", "pca")}


class ViTMAE(Variant):
    """Encoder on visible patches, mask tokens for the hidden ones, decoder on all, loss on the hidden."""

    def __init__(
        self,
        encoder: ViTEncoder,
        decoder: ViTDecoder,
        target: PatchTarget,
        masks: tuple[Hide, Count, Report],
        veiled: float,
        spectrum: float,
        uniformity: float,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.hide, self.count, self.report = masks
        self.veiled, self.spectrum, self.uniformity = veiled, spectrum, uniformity
        self.mask_token = nn.Parameter(torch.empty(decoder.embed.out_features).normal_(std=0.02))
        self.veil = nn.Parameter(torch.empty(encoder.embed.out_features).normal_(std=0.02)) if veiled else None

    @property
    def visible(self) -> int:
        """Patches that `hide` leaves visible, the same of every image."""
        return self.encoder.grid[0] * self.encoder.grid[1] - self.count(self.encoder.grid)

    def look(self, images: Tensor, hidden: Tensor, veil: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """images [B, C, H, W], hidden bool [B, h, w] -> tokens of the visible patches [B, V, width], and an order.

        The order int64 [B, h*w] names each patch, the visible ones first. Of those, veil bool [B, V] is told no pixels.
        """
        order = hidden.flatten(1).long().sort(dim=1, stable=True).indices
        return self.encoder(images, order[:, : self.visible], veil, self.veil), order

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over hidden patches (over all at ratio 0), a scalar.

        To it come, each times its setting, the errors of the spectrum of the image with the hidden patches painted in,
        and how alike the mean tokens of the images are; `report` is told of neither.
        """
        hidden = self.hide(images, self.encoder.grid, rng)
        tokens, order = self.look(images, hidden, self.veil_of(len(images), rng))
        gap = self.decoder.fill(tokens, self.mask_token, order, "hidden") - self.target(images)
        loss = patch_loss(gap, hidden, self.report)
        if self.spectrum:
            painted = gap * scored_patches(hidden).flatten(1)[..., None]
            loss = loss + self.spectrum * focal_frequency_loss(
                unpatchify(painted, self.encoder.patch, self.encoder.grid)
            )
        if self.uniformity:
            loss = loss + self.uniformity * uniformity_loss(tokens.mean(1))
        return loss

    def veil_of(self, count: int, rng: Generator) -> Tensor | None:
        """Which of the visible patches of so many images a token stands for, bool [B, V]; None for none."""
        if not self.veiled:
            return None
        scores = torch.rand(count, 1, self.visible, generator=rng)
        return hide_top(scores, self.veiled, rng)[:, 0].to(self.mask_token.device)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every patch, those of hidden patches scored; nothing is veiled."""
        hidden = self.hide(images, self.encoder.grid, rng)
        tokens, order = self.look(images, hidden)
        return self.target.reconstruction(self.decoder.fill(tokens, self.mask_token, order, "all"), images, hidden)

    def prepare(self, images: Tensor) -> None:
        """uint8 images [N, C, H, W] of the train split: of their patches some targets need the components."""
        self.target.prepare(images)

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
        """Operations of the loss of one image, forward; those of the target and of what is added not counted."""
        return self.encoder.flops(self.visible) + self.decoder.flops(self.visible)


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
    target: Literal["pixels", "normalised", "pca", "hog"] = "normalised",  # He et al. 2022; see docs/recipes.md
    veiled: float = 0.0,  # share of the visible patches; 0.25 in Li et al. 2022 (UM-MAE)
    spectrum: float = 0.0,  # weight of the focal frequency loss; 1 in Jiang et al. 2021
    uniformity: float = 0.0,  # weight; 0.01 in Zhang et al. 2022 (U-MAE)
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit."""
    if not 0 <= veiled < 1 or spectrum < 0 or uniformity < 0:
        raise ValueError("veiled must be in [0, 1), spectrum and uniformity 0 or more")
    if spectrum and target not in ("pixels", "normalised"):
        raise ValueError(f"spectrum needs pixels to transform, but the target is {target}; set spectrum to 0")
    goal = PatchTarget(shape, patch, target)
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    decoder = ViTDecoder(
        shape, patch=patch, encoder_width=width, width=decoder_width, depth=decoder_depth, heads=decoder_heads,
        values=goal.values,
    )  # fmt: skip
    return ViTMAE(encoder, decoder, goal, (hide, count, report), veiled, spectrum, uniformity)
