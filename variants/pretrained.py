"""An encoder that was trained elsewhere, put on the board as it is: a plain ViT, read from a file of weights."""

from math import isqrt
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.contracts import CENTRE, SPREAD, File, Reconstruction, Variant
from maebench.models.foreign import Weights, read_vit
from maebench.models.losses import pixel_loss
from maebench.models.patches import grid_of, patchify
from maebench.models.vit import blocks, sincos_positions

# Width -> heads. Source: Touvron et al. 2021 (DeiT) for 192 and 384, Dosovitskiy et al. 2021 (ViT) for the rest.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and sd of its pixels, as He et al. 2022 (MAE) take them


class Pretrained(Variant):
    """The encoder alone: no decoder comes with it, and nothing is learnt here."""

    elsewhere = True
    positions: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weights: Weights,
        size: tuple[int, int],
        heads: int,
        normal: tuple[Tensor, Tensor],
        pool: Literal["patches", "class"],
    ) -> None:
        """size (H, W) of the images that the encoder is given, and their normal = (mean [C], sd [C]) within [0, 1]."""
        super().__init__()
        self.channels, self.patch, self.size, self.pool = weights.channels, weights.patch, size, pool
        self.grid, width = grid_of((weights.channels, *size), weights.patch), weights.width
        with torch.device("meta"):  # no weights are drawn, since they are there
            self.embed = nn.Linear(weights.channels * weights.patch**2, width)
            self.blocks, self.norm = blocks(width, weights.depth, heads), nn.LayerNorm(width)
        self.load_state_dict(weights.tensors, assign=True)
        for layer in self.blocks.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.eps = weights.eps[0]
        self.norm.eps = weights.eps[1]
        self.class_token = None if weights.class_token is None else nn.Parameter(weights.class_token)
        self.register_buffer("positions", positions_on(self.grid, weights))
        for name, values in zip(("mean", "std"), normal, strict=True):
            self.register_buffer(name, values[:, None, None], persistent=False)

    def prepared(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] in standard units -> [B, channels, *size] as the encoder knows them.

        Ours: what bicubic interpolation paints beyond black and white is cut off, as in an image of 8 bits; a grey
        image has the same value in each channel.
        """
        pixels = images * SPREAD + CENTRE
        if pixels.shape[2:] != self.size:
            pixels = functional.interpolate(pixels, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        return (pixels.expand(-1, self.channels, -1, -1) - self.mean) / self.std

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> the feature map [B, D, h, w], or the class token's features [B, D, 1, 1]."""
        return self.layers(images)[-1]

    def layers(self, images: Tensor) -> list[Tensor]:
        """images [B, C, H, W] -> what `encode` gives of the tokens after each block, the last one normalised."""
        tokens = self.embed(patchify(self.prepared(images), self.patch))
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(images), 1, -1), tokens], 1)
        tokens = tokens + self.positions
        found = [tokens := block(tokens) for block in self.blocks]
        return [self._features(one) for one in (*found[:-1], self.norm(tokens))]

    def _features(self, tokens: Tensor) -> Tensor:
        if self.pool == "class":
            return tokens[:, 0, :, None, None]
        extra = 0 if self.class_token is None else 1
        return tokens[:, extra:].transpose(1, 2).unflatten(2, self.grid)  # type: ignore[no-any-return, no-untyped-call]

    def fit(self, images: Tensor) -> None:
        """Nothing to learn: it is trained already."""

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared distance from mid grey, a scalar that nothing depends on."""
        return pixel_loss(self.reconstruct(images, rng), images)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> mid grey, for want of a decoder; all scored, all seen."""
        return Reconstruction(torch.zeros_like(images), torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def stages(self) -> list[nn.Module]:
        """The encoder's parts, input first; positions are constants. Ours: as those of vit_mae."""
        tokens = [] if self.class_token is None else [nn.ParameterList([self.class_token])]
        first = nn.ModuleList([self.embed, *tokens])
        return [first, *self.blocks[:-1], nn.ModuleList([self.blocks[-1], self.norm])]


def positions_on(grid: tuple[int, int], weights: Weights) -> Tensor:
    """Positions [T, D] on a grid (h, w), the class token's first.

    Another grid than the one they were learnt on, a square where their number is one, takes them interpolated. Source:
    Dosovitskiy et al. 2021 (ViT); bicubic, as timm has it. Raises ValueError where their number is neither.
    """
    if weights.positions is None:
        return sincos_positions(grid, weights.width)
    first, rest = weights.positions[: -weights.patches], weights.positions[-weights.patches :]
    side = isqrt(len(rest))
    known = (side, side) if side**2 == len(rest) else grid
    if known[0] * known[1] != len(rest):
        raise ValueError(f"its {len(rest)} positions are no square, nor the {grid[0]} x {grid[1]} patches of `size`")
    if known != grid:
        rest = (
            functional.interpolate(rest.T.reshape(1, -1, *known), grid, mode="bicubic", antialias=True)[0].flatten(1).T
        )
    return torch.cat([first, rest])


def build(
    shape: tuple[int, int, int],
    *,
    path: File,
    format: Literal["maebench", "timm", "facebookresearch/mae", "transformers"],
    heads: int | None = None,  # none: those of the published ViT of this width; no tensor tells their number
    size: int | tuple[int, int] | None = None,  # pixels the encoder is given; none: what its positions were learnt on
    mean: tuple[float, ...] | None = None,  # of pixels in [0, 1]; none: ImageNet's, or standard units for maebench
    std: tuple[float, ...] | None = None,  # as mean
    pool: Literal["patches", "class"] = "patches",  # a map, which tasks pool or read by patch, or the class token alone
) -> Variant:
    """Image shape (C, H, W) -> the encoder. Raises ValueError for a file or a setting that does not fit."""
    weights = read_vit(Path(path), format)
    known = HEADS.get(weights.width) if format != "maebench" else None
    if not (heads := known if heads is None else heads):
        raise ValueError(f"{path}: no tensor tells the heads of its {weights.width} features; set `heads`")
    if shape[0] not in (1, weights.channels):
        raise ValueError(f"{path} is for images of {weights.channels} channels, but these have {shape[0]}")
    if pool == "class" and weights.class_token is None:
        raise ValueError(f"{path} has no class token; set `pool` to patches")
    defaults = ((CENTRE,) * weights.channels, (SPREAD,) * weights.channels) if format == "maebench" else IMAGENET
    normal = torch.tensor(mean or defaults[0]), torch.tensor(std or defaults[1])
    if {len(values) for values in normal} != {weights.channels} or not (normal[1] > 0).all():
        raise ValueError(f"`mean` and `std` must have {weights.channels} numbers each, and std be above 0")
    return Pretrained(weights, input_size(shape, size, weights), heads, normal, pool)


def input_size(shape: tuple[int, int, int], size: int | tuple[int, int] | None, weights: Weights) -> tuple[int, int]:
    """(H, W) of the images that the encoder is given.

    Ours: those of the data set where positions are sine-cosine, which any grid has. ValueError where none is known.
    """
    if size is None and weights.positions is None:
        return shape[1], shape[2]
    if size is None:
        count = weights.patches
        if isqrt(count) ** 2 != count:
            raise ValueError(f"its {count} positions are no square; set `size` to [height, width]")
        size = isqrt(count) * weights.patch
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < weights.patch:
        raise ValueError(f"size {height} x {width} holds no patch of {weights.patch} pixels")
    return height, width
