"""ViT masked autoencoder whose decoder looks from hidden patches at the encoder's tokens alone (CrossMAE)."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.contracts import Count, Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_loss
from maebench.models.patches import scored_pixels
from maebench.models.targets import PatchTarget
from maebench.models.vit import ViTEncoder, initialise, linear, sincos_positions

PAINTS = {"target": ("pixels", "normalised", "pca")}


class CrossBlock(nn.Module):
    """Queries look at tokens, not at each other; then a hidden layer 4 times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.query, self.key_value, self.proj = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """queries [B, Q, width], tokens [B, V, width] -> [B, Q, width]."""
        asked = apply(self.query, self.norm1(queries))
        parts = (asked, *apply(self.key_value, self.norm3(tokens)).chunk(2, 2))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        read = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        queries = queries + apply(self.proj, read)
        return queries + apply(self.fc2, functional.gelu(apply(self.fc1, self.norm2(queries))))


def apply(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """A linear layer on tokens [B, N, D], by the faster product."""
    return linear(tokens, layer.weight, layer.bias)


class CrossDecoder(nn.Module):
    """The tokens after each of the encoder's blocks -> what is predicted of the patches asked for."""

    positions: Tensor

    def __init__(self, encoder: ViTEncoder, width: int, depth: int, heads: int, values: int) -> None:
        super().__init__()
        if width < 1 or depth < 1 or not len(encoder.blocks):
            raise ValueError("cross-attention needs encoder and decoder of depth 1 or more, and a width of 1 or more")
        self.embed = nn.Linear(encoder.embed.out_features, width)
        self.blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, values)
        self.register_buffer("positions", sincos_positions(encoder.grid, width), persistent=False)
        initialise(self)
        layers = len(encoder.blocks)
        self.mix = nn.Parameter(torch.empty(depth, layers).normal_(std=layers**-0.5))
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))

    def forward(self, layers: Tensor, asked: Tensor) -> Tensor:
        """layers [L, B, V, encoder_width], asked int64 [B, Q] patches -> [B, Q, values]."""
        queries = self.mask_token + self.positions[asked]
        for block, tokens in zip(self.blocks, torch.einsum("dl,lbvw->dbvw", self.mix, layers), strict=True):
            queries = block(queries, apply(self.embed, tokens))
        return self.head(self.norm(queries))  # type: ignore[no-any-return]

    def flops(self, visible: int, asked: int) -> float:
        """Operations of one image with so many visible patches, so many asked for; norms, sums not counted."""
        (depth, layers), (width, encoder_width) = self.mix.shape, self.embed.weight.shape
        tokens = visible * (layers * encoder_width + encoder_width * width + 2 * width * width)
        each = tokens + asked * (10 * width * width + 2 * visible * width)
        return 2.0 * (depth * each + asked * self.head.weight.numel())


class ViTCross(Variant):
    """Encoder on visible patches; every decoder block reads a learnt mix of all the encoder's blocks."""

    def __init__(
        self,
        encoder: ViTEncoder,
        decoder: CrossDecoder,
        target: PatchTarget,
        masks: tuple[Hide, Count, Report],
        predicted: float,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.target, self.predicted = encoder, decoder, target, predicted
        self.hide, self.count, self.report = masks

    @property
    def counts(self) -> tuple[int, int]:
        """How many patches of an image are visible, and how many the loss predicts."""
        patches = self.encoder.grid[0] * self.encoder.grid[1]
        hidden = self.count(self.encoder.grid)
        return patches - hidden, max(1, round(self.predicted * hidden)) if hidden else patches

    def masks(self, images: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """images [B, C, H, W] -> hidden bool [B, h, w], and which patches the loss predicts, int64 [B, Q].

        These are drawn from the hidden ones, or from all where nothing is hidden.
        """
        hidden = self.hide(images, self.encoder.grid, rng)
        chance = torch.rand(hidden.flatten(1).shape, generator=rng).to(images.device) + hidden.flatten(1)
        return hidden, chance.topk(self.counts[1]).indices

    def look(self, images: Tensor, hidden: Tensor) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> the visible patches after each block, tokens [L, B, V, width].

        Ours: each goes through the encoder's last norm.
        """
        order = hidden.flatten(1).long().sort(dim=1, stable=True).indices
        tokens = self.encoder.embedded(images, order[:, : self.counts[0]])
        return self.encoder.norm(torch.stack([tokens := block(tokens) for block in self.encoder.blocks]))  # type: ignore[no-any-return]

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over the patches that are predicted, a scalar."""
        hidden, asked = self.masks(images, rng)
        guess = self.decoder(self.look(images, hidden), asked)
        wanted = self.target(images)
        places = asked[..., None].expand(-1, -1, wanted.shape[2])
        gap = torch.zeros_like(wanted).scatter(1, places, guess.to(wanted.dtype) - wanted.gather(1, places))
        return patch_loss(gap, self.on_grid(asked), self.report)

    def on_grid(self, asked: Tensor) -> Tensor:
        """int64 [B, Q] -> bool [B, h, w], True where a patch is among these."""
        h, w = self.encoder.grid
        return (
            torch.zeros(len(asked), h * w, dtype=torch.bool, device=asked.device)
            .scatter(1, asked, value=True)
            .view(-1, h, w)
        )

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every patch, those that the loss predicts scored."""
        hidden, asked = self.masks(images, rng)
        every = torch.arange(hidden[0].numel(), device=images.device).expand(len(images), -1)
        whole = self.target.reconstruction(self.decoder(self.look(images, hidden), every), images, hidden)
        scored = scored_pixels(self.on_grid(asked), self.encoder.patch)
        return Reconstruction(whole.pixels, scored, whole.seen, whole.predicted)

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
        return self.encoder.flops(self.counts[0]) + self.decoder.flops(*self.counts)


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    count: Count,
    report: Report,
    predicted: float = 1.0,  # share of the hidden patches; Fu et al. 2024 (CrossMAE) go down to a third
    patch: int = 4,  # as vit_mae
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    decoder_width: int = 64,  # as vit_mae
    decoder_depth: int = 1,  # as vit_mae
    decoder_heads: int = 4,  # as vit_mae
    target: Literal["pixels", "normalised", "pca", "hog"] = "normalised",  # Fu et al. 2024
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit.

    Source: Fu et al. 2024 (CrossMAE). Ours: the learning rate is as the config says; they lower it with `predicted`.
    """
    if not 0 < predicted <= 1:
        raise ValueError(f"predicted {predicted} must be above 0 and at most 1: it is a share of the hidden patches")
    goal = PatchTarget(shape, patch, target)
    encoder = ViTEncoder(shape, patch=patch, width=width, depth=depth, heads=heads)
    decoder = CrossDecoder(encoder, decoder_width, decoder_depth, decoder_heads, goal.values)
    return ViTCross(encoder, decoder, goal, (hide, count, report), predicted)
