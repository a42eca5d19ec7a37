"""ViT that predicts, from the visible patches, what a teacher that follows it encodes of the hidden ones (I-JEPA)."""

from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.contracts import Count, Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_loss, smooth_absolute
from maebench.models.patches import scored_pixels, seen_pixels
from maebench.models.teacher import follow, frozen_copy
from maebench.models.vit import ViTDecoder, ViTEncoder

PAINTS = False


class ViTJEPA(Variant):
    """Encoder on visible patches, a narrower predictor for the hidden ones, a teacher that sees the whole image."""

    def __init__(
        self, encoder: ViTEncoder, predictor: ViTDecoder, masks: tuple[Hide, Count, Report],
        encode: Literal["teacher", "student"], memory: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.predictor, self.teacher = encoder, predictor, frozen_copy(encoder)
        self.hide, self.count, self.report = masks
        self.which, self.memory = encode, memory
        self.mask_token = nn.Parameter(torch.empty(predictor.embed.out_features).normal_(std=0.02))

    @property
    def visible(self) -> int:
        """Patches that `hide` leaves visible, the same of every image."""
        return self.encoder.grid[0] * self.encoder.grid[1] - self.count(self.encoder.grid)

    def look(self, images: Tensor, hidden: Tensor, wanted: Literal["hidden", "all"]) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predicted [B, h*w, width]; 0 where visible and not wanted."""
        order = hidden.flatten(1).long().sort(dim=1, stable=True).indices
        tokens = self.encoder(images, order[:, : self.visible])
        return self.predictor.fill(tokens, self.mask_token, order, wanted)

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h*w, width], each patch normalised over its features, without gradient."""
        tokens = self.teacher(images)
        return functional.layer_norm(tokens, tokens.shape[2:])

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean smooth absolute error over hidden patches (over all at ratio 0), a scalar."""
        hidden = self.hide(images, self.encoder.grid, rng)
        gap = self.look(images, hidden, "hidden") - self.targets(images)
        return patch_loss(gap, hidden, self.report, partial(smooth_absolute, beta=1.0))

    def after_step(self, advance: float) -> None:
        """Let the teacher follow."""
        follow(self.teacher, self.encoder, advance, self.memory)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predicted features of every patch, those of hidden patches scored; no pixels."""
        hidden = self.hide(images, self.encoder.grid, rng)
        predicted = self.look(images, hidden, "all").unflatten(1, self.encoder.grid)  # type: ignore[no-untyped-call]
        patch = self.encoder.patch
        return Reconstruction(None, scored_pixels(hidden, patch), seen_pixels(images, hidden, patch), predicted)

    @property
    def read(self) -> ViTEncoder:
        """The encoder that is evaluated."""
        return self.teacher if self.which == "teacher" else self.encoder

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, width, h, w]."""
        return self.read.encode(images)

    def layers(self, images: Tensor) -> list[Tensor]:
        """images [B, C, H, W] -> the map [B, width, h, w] after each block."""
        return self.read.layers(images)

    def attention(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h, w], the attention that each patch gets in the last block."""
        return self.encoder.attention(images)

    def stages(self) -> list[nn.Module]:
        """The parts of what `encode` uses, input first."""
        return self.read.stages()

    def flops(self) -> float:
        """Operations of the loss of one image, forward, the teacher's with them."""
        teacher = self.teacher.flops(self.encoder.grid[0] * self.encoder.grid[1])
        return self.encoder.flops(self.visible) + self.predictor.flops(self.visible) + teacher


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    count: Count,
    report: Report,
    encode: Literal["teacher", "student"] = "teacher",  # Assran et al. 2023 (I-JEPA)
    memory: float = 0.05,  # share of the budget that the teacher goes back. Ours: published decays are per step
    patch: int = 4,  # as vit_mae
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    predictor_width: int = 64,  # half the encoder's, near the ratio of Assran et al. 2023 (384 of 1280)
    predictor_depth: int = 4,  # Ours: as deep as the encoder; Assran et al. 2023 have 6 to 12
    predictor_heads: int = 4,  # as vit_mae's decoder
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit.

    Source: Assran et al. 2023 (I-JEPA), whose masks are those of the strategy `multi_block`. Ours: all hidden patches
    are predicted at once, not block by block.
    """
    if memory <= 0:
        raise ValueError(f"memory {memory} must be above 0: it is a share of the budget")
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    predictor = ViTDecoder(
        shape, patch=patch, encoder_width=width, width=predictor_width, depth=predictor_depth, heads=predictor_heads,
        values=width,
    )  # fmt: skip
    return ViTJEPA(encoder, predictor, (hide, count, report), encode, memory)
