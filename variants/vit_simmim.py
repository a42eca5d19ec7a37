"""ViT masked autoencoder that sees mask tokens: all positions go through the encoder, a linear head predicts."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_loss
from maebench.models.targets import PatchTarget
from maebench.models.vit import ViTEncoder

PAINTS = {"target": ("pixels", "normalised", "pca")}


class ViTSimMIM(Variant):
    """Hidden patches are replaced by a learnt token before positions are added; absolute error of the hidden ones."""

    def __init__(self, encoder: ViTEncoder, target: PatchTarget, hide: Hide, report: Report) -> None:
        super().__init__()
        self.encoder, self.target, self.hide, self.report = encoder, target, hide, report
        width = encoder.embed.out_features
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.head = nn.Linear(width, target.values)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def predict(self, images: Tensor, hidden: Tensor) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predictions [B, h*w, values] in target units."""
        return self.head(self.encoder(images, None, hidden.flatten(1), self.mask_token))  # type: ignore[no-any-return]

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean absolute error over hidden patches (over all at ratio 0), a scalar."""
        hidden = self.hide(images, self.encoder.grid, rng)
        return patch_loss(self.predict(images, hidden) - self.target(images), hidden, self.report, torch.abs)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every patch, those of hidden patches scored."""
        hidden = self.hide(images, self.encoder.grid, rng)
        return self.target.reconstruction(self.predict(images, hidden), images, hidden)

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
    target: Literal["pixels", "normalised", "pca", "hog"] = "pixels",  # Xie et al. 2022 (SimMIM); hog: MaskFeat
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit.

    Source: Xie et al. 2022 (SimMIM), with a ViT as there: no norm after the last block, in training and in read-outs;
    the last layer is then not the best to probe, see `layer` of the tasks. Its masking ratio is 0.6.
    """
    goal = PatchTarget(shape, patch, target)
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    encoder.norm = nn.Identity()  # type: ignore[assignment]
    return ViTSimMIM(encoder, goal, hide, report)
