"""ViT that predicts what a teacher makes of hidden patches: data2vec 2 (ema), dBOT (stages), or a random network."""

from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.contracts import Count, Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_loss, smooth_absolute
from maebench.models.patches import scored_pixels, seen_pixels
from maebench.models.teacher import MEMORY, follow, frozen_copy
from maebench.models.vit import ViTDecoder, ViTEncoder

PAINTS = False
HALF = 0.5  # of the budget: where the second stage begins. Ours: the source has 2 or 3 stages of 800 epochs each
BETA = 2.0  # of the smooth absolute error of "stages". Source: Liu et al. 2022 (dBOT)

Teacher = Literal["ema", "stages", "random"]


class ViTLatent(Variant):
    """vit_mae's encoder and decoder; a patch's target is the mean of what the last half of a teacher's blocks say."""

    begun: Tensor

    def __init__(
        self, encoders: tuple[ViTEncoder, ViTEncoder], decoders: tuple[ViTDecoder, ViTDecoder],
        masks: tuple[Hide, Count, Report], kind: Teacher, memory: float | None,
    ) -> None:  # fmt: skip
        """Of encoders and decoders the second are another draw: a fixed teacher, and what a second stage starts."""
        super().__init__()
        self.encoder, self.decoder = encoders[0], decoders[0]
        self.teacher = frozen_copy(encoders[0 if kind == "ema" else 1])
        self.hide, self.count, self.report = masks
        self.kind, self.memory = kind, memory or MEMORY
        self.mask_token = nn.Parameter(torch.empty(self.decoder.embed.out_features).normal_(std=0.02))
        token = torch.empty_like(self.mask_token).normal_(std=0.02)
        second = [weight.detach() for part in (encoders[1], decoders[1]) for weight in part.parameters()]
        self.second = [*second, token] if kind == "stages" else []
        self.register_buffer("begun", torch.tensor(False))  # the second stage, once for all

    def look(self, images: Tensor, hidden: Tensor, wanted: Literal["hidden", "all"]) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predicted [B, h*w, width]; 0 where visible and not wanted."""
        order = hidden.flatten(1).long().sort(dim=1, stable=True).indices
        tokens = self.encoder(images, order[:, : self.visible])
        return self.decoder.fill(tokens, self.mask_token, order, wanted)

    @property
    def visible(self) -> int:
        """Patches that `hide` leaves visible, the same of every image."""
        return self.encoder.grid[0] * self.encoder.grid[1] - self.count(self.encoder.grid)

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h*w, width], without gradient.

        Of each block, every feature is normalised over the patches of the image; of their mean, every patch over its
        features. Source: Baevski et al. 2022 (data2vec 2), where the blocks are the last 10 of 12.
        """
        tokens, found = self.teacher.embedded(images), []
        for block in self.teacher.blocks:
            tokens = block(tokens)
            found.append(functional.layer_norm(tokens.mT, tokens.shape[1:2]).mT)
        mean = torch.stack(found[len(found) // 2 :]).mean(0)
        return functional.layer_norm(mean, mean.shape[2:])

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean error over hidden patches (over all at ratio 0), a scalar.

        Squared, but for "stages" a smooth absolute error, as in its source.
        """
        hidden = self.hide(images, self.encoder.grid, rng)
        gap = self.look(images, hidden, "hidden") - self.targets(images)
        error = partial(smooth_absolute, beta=BETA) if self.kind == "stages" else torch.square
        return patch_loss(gap, hidden, self.report, error)

    @torch.no_grad()
    def after_step(self, progress: float, advance: float) -> None:
        """Let the teacher follow; or in the middle of the budget become the student, which starts anew.

        Ours: one schedule of the learning rate, and one optimiser, for both stages.
        """
        if self.kind == "ema":
            follow(self.teacher, self.encoder, advance, self.memory)
        elif self.kind == "stages" and progress >= HALF and not self.begun:
            follow(self.teacher, self.encoder, self.memory, self.memory)
            self.begun.fill_(True)
            learnt = [*self.encoder.parameters(), *self.decoder.parameters(), self.mask_token]
            for weight, drawn in zip(learnt, self.second, strict=True):
                weight.copy_(drawn)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predicted features of every patch, those of hidden patches scored; no pixels."""
        hidden = self.hide(images, self.encoder.grid, rng)
        predicted = self.look(images, hidden, "all").unflatten(1, self.encoder.grid)  # type: ignore[no-untyped-call]
        patch = self.encoder.patch
        return Reconstruction(None, scored_pixels(hidden, patch), seen_pixels(images, hidden, patch), predicted)

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
        """Operations of the loss of one image, forward, the teacher's with them."""
        teacher = self.teacher.flops(self.encoder.grid[0] * self.encoder.grid[1])
        return self.encoder.flops(self.visible) + self.decoder.flops(self.visible) + teacher


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    count: Count,
    report: Report,
    teacher: Literal["ema", "stages", "random"] = "ema",  # Baevski et al. 2022; Liu et al. 2022; weights as drawn
    memory: float | None = None,  # share of the budget that an "ema" goes back; None: models.teacher.MEMORY
    patch: int = 4,  # as vit_mae
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    decoder_width: int = 64,  # as vit_mae
    decoder_depth: int = 1,  # as vit_mae
    decoder_heads: int = 4,  # as vit_mae
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit."""
    if depth < 1 or (memory is not None and memory <= 0):
        raise ValueError(f"a teacher needs a depth of 1 or more and a memory above 0, not {depth} and {memory}")
    if teacher != "ema" and memory is not None:
        raise ValueError(f"memory has no effect on a teacher of kind {teacher}, which does not follow; leave it out")

    def encoder() -> ViTEncoder:
        return ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)

    def decoder() -> ViTDecoder:
        return ViTDecoder(
            shape, patch=patch, encoder_width=width, width=decoder_width, depth=decoder_depth, heads=decoder_heads,
            values=width,
        )  # fmt: skip

    return ViTLatent((encoder(), encoder()), (decoder(), decoder()), (hide, count, report), teacher, memory)
