"""A convolutional encoder that nothing hidden gets into, and a decoder that paints from all its scales."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from maebench.models.patches import to_pixels
from maebench.models.vit import initialise


class ConvBlock(nn.Module):
    """A depthwise convolution, then at each position a norm and a hidden layer 4 times as wide (Liu et al. 2022).

    The norm is over the channels of a position, so over no hidden one. Ours: no layer scale.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, features: Tensor) -> Tensor:
        """features [B, width, H, W] -> the same shape."""
        inner = self.norm(self.mix(features).permute(0, 2, 3, 1))
        inner = self.fc2(functional.gelu(self.fc1(inner)))
        return features + inner.permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def flops(self, positions: int) -> float:
        """Operations on one image of so many positions; norms, sums not counted."""
        return 2.0 * positions * sum(layer.weight.numel() for layer in (self.mix, self.fc1, self.fc2))


class ConvStage(nn.Module):
    """Half the height and width, then blocks; hidden positions are 0 after each."""

    def __init__(self, inputs: int, width: int, depth: int, kernel: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, width, 2, stride=2)  # no position of its output sees two of another unit
        self.blocks = nn.ModuleList(ConvBlock(width, kernel) for _ in range(depth))

    def forward(self, features: Tensor, visible: Tensor) -> Tensor:
        """features [B, inputs, H, W], visible 1 or 0 [B, 1, H/2, W/2] -> [B, width, H/2, W/2]."""
        features = self.down(features) * visible
        for block in self.blocks:
            features = block(features) * visible
        return features

    def flops(self, positions: int) -> float:
        """Operations on one image whose map has so many positions behind it."""
        blocks = sum(block.flops(positions) for block in self.blocks)  # type: ignore[operator]
        return 2.0 * positions * self.down.weight.numel() + blocks


class ConvEncoder(nn.Module):
    """Stages, each of half the resolution; a position of the last one is a patch."""

    def __init__(self, channels: int, widths: tuple[int, ...], depths: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            ConvStage(inputs, width, depth, kernel)
            for inputs, width, depth in zip((channels, *widths[:-1]), widths, depths, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in widths)
        initialise(self)

    def forward(self, images: Tensor, hidden: Tensor) -> list[Tensor]:
        """images [B, C, H, W], hidden bool [B, h, w] -> the map after each stage, [B, width, H/2, W/2] and so on.

        Each is normalised over the channels; 0 where hidden, and nothing hidden has any part in it.
        """
        visible, finest, found = (~hidden[:, None]).to(images.dtype), 2 ** len(self.stages), []
        features = images.contiguous(memory_format=torch.channels_last) * to_pixels(visible, finest)
        for number, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True), 1):
            here = to_pixels(visible, finest >> number)
            features = stage(features, here)
            found.append(norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * here)
        return found

    def flops(self, patches: int) -> float:
        """Operations on one image of so many patches: hidden positions are worked out too."""
        stages = list(self.stages)[::-1]
        return sum(stage.flops(patches * 4**scale) for scale, stage in enumerate(stages))  # type: ignore[operator]


class ConvDecoder(nn.Module):
    """U-shaped: from the coarsest map to the finest, each with a token at what is hidden; then pixels."""

    def __init__(self, channels: int, widths: tuple[int, ...], width: int, depth: int, kernel: int) -> None:
        super().__init__()
        sizes = [max(8, width >> scale) for scale in range(len(widths))]  # Ours: at least 8 wide
        self.tokens = nn.ParameterList(torch.empty(one).normal_(std=0.02) for one in widths[::-1])
        self.inputs = nn.ModuleList(nn.Conv2d(one, size, 1) for one, size in zip(widths[::-1], sizes, strict=True))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(size, finer, 2, stride=2) for size, finer in pairwise(sizes))
        self.blocks = nn.ModuleList(nn.ModuleList(ConvBlock(size, kernel) for _ in range(depth)) for size in sizes)
        self.head = nn.Conv2d(sizes[-1], 4 * channels, 1)
        initialise(self)

    def forward(self, maps: list[Tensor], hidden: Tensor) -> Tensor:
        """The encoder's maps, finest first, hidden bool [B, h, w] -> images [B, C, H, W] in target units."""
        gone, painted = hidden[:, None].to(maps[0].dtype), None
        for scale, (features, token) in enumerate(zip(maps[::-1], self.tokens, strict=True)):
            filled = features + token.to(features.dtype)[:, None, None] * to_pixels(gone, 2**scale)
            inner = self.inputs[scale](filled)
            painted = inner if painted is None else inner + self.ups[scale - 1](painted)
            for block in self.blocks[scale]:  # type: ignore[attr-defined]
                painted = block(painted)
        return functional.pixel_shuffle(self.head(painted), 2)

    def flops(self, patches: int) -> float:
        """Operations on one image of so many patches."""
        total: float = 2.0 * patches * 4 ** (len(self.inputs) - 1) * self.head.weight.numel()
        for scale, layer in enumerate(self.inputs):
            here = patches * 4**scale
            total += 2.0 * here * layer.weight.numel()  # type: ignore[operator]
            total += sum(block.flops(here) for block in self.blocks[scale])  # type: ignore[attr-defined]
            if scale:
                total += 2.0 * here / 4 * self.ups[scale - 1].weight.numel()  # type: ignore[operator]
        return total
