"""What the ViT variants share: patch embedding, positions, encoder, decoder, pixel targets."""

from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from maebench.patches import grid_of, patchify, unpatchify

Target = Literal["pixels", "normalised"]


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed 2-D sine-cosine positions [h*w, width]: half the features for y, half for x.

    Source: He et al. 2022 (MAE), wavelengths up to 10000 as in Vaswani et al. 2017. ValueError unless 4 divides width.
    """
    if width % 4:
        raise ValueError(f"width {width} is not a multiple of 4, which 2-D sine-cosine positions need")
    wave = 10_000 ** (-torch.arange(width // 4) / (width // 4))
    angles = [torch.outer(torch.arange(size), wave) for size in grid]
    y, x = (torch.cat([angle.sin(), angle.cos()], 1) for angle in angles)
    return torch.cat([y.repeat_interleave(grid[1], 0), x.repeat(grid[0], 1)], 1)


def blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    """`depth` pre-norm transformer blocks [B, N, width] -> [B, N, width]. ValueError unless heads divides width."""
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}")
    return nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear layer. Source: He et al. 2022 (MAE)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ViTEncoder(nn.Module):
    """Patches -> tokens. Ours: no class token, since an MAE never trains it; read-outs pool the patch tokens."""

    positions: Tensor

    def __init__(self, shape: tuple[int, int, int], *, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid_of(shape, patch)
        self.embed = nn.Linear(shape[0] * patch * patch, width)
        self.blocks = blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sincos_positions(self.grid, width), persistent=False)
        initialise(self)

    def forward(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """images [B, C, H, W], visible int64 [B, V] (None: all patches) -> tokens [B, V, width]."""
        patches = patchify(images, self.patch)
        if visible is None:
            tokens = self.embed(patches) + self.positions
        else:
            chosen = patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[2]))
            tokens = self.embed(chosen) + self.positions[visible]
        return self.norm(self.blocks(tokens))  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> feature map [B, width, h, w], nothing hidden."""
        return self(images).transpose(1, 2).unflatten(2, self.grid)  # type: ignore[no-any-return]


class ViTDecoder(nn.Module):
    """Tokens of every patch -> pixels."""

    positions: Tensor

    def __init__(
        self, shape: tuple[int, int, int], *, patch: int, encoder_width: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid_of(shape, patch)
        self.embed = nn.Linear(encoder_width, width)
        self.blocks = blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, shape[0] * patch * patch)
        self.register_buffer("positions", sincos_positions(self.grid, width), persistent=False)
        initialise(self)

    def forward(self, embedded: Tensor) -> Tensor:
        """tokens [B, h*w, width], already through `embed` or mask tokens -> images [B, C, H, W] in target units."""
        tokens = self.norm(self.blocks(embedded + self.positions))
        return unpatchify(self.head(tokens), self.patch, self.grid)


def target_pixels(images: Tensor, patch: int, target: Target) -> Tensor:
    """images [B, C, H, W] -> what the decoder must produce, [B, C, H, W].

    "normalised": each patch has its own mean removed and is divided by its own sd over all channels (unbiased, eps 1e-6
    on the variance). Source: He et al. 2022 (MAE).
    """
    if target == "pixels":
        return images
    patches = patchify(images, patch)
    normal = (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-6).sqrt()
    return unpatchify(normal, patch, (images.shape[2] // patch, images.shape[3] // patch))


def standard_pixels(predicted: Tensor, seen: Tensor, target: Target) -> Tensor:
    """Decoder output [B, C, H, W] in target units -> standard units, for pictures.

    Ours: "normalised" patches get the mean and sd of the image's visible pixels, `seen` [B, C, H, W] with NaN = hidden,
    so that no prediction depends on a hidden pixel.
    """
    if target == "pixels":
        return predicted
    mean = seen.flatten(1).nanmean(1)
    sd = (seen.flatten(1) - mean[:, None]).square().nanmean(1).sqrt()
    return predicted * sd.view(-1, 1, 1, 1) + mean.view(-1, 1, 1, 1)
