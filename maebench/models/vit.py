"""What the ViT variants share: patch embedding, positions, encoder, decoder."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maebench.models.patches import grid_of, patchify

LARGE = 2**25  # multiply-adds from which the convolution is no slower. Ours: measured on 2 cores
ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


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


def linear(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """tokens [B, N, D], weight [E, D], bias [E] -> [B, N, E].

    Large ones on a CPU as a 1x1 convolution: the same products, done by oneDNN, faster than torch's own
    (docs/performance.md).
    """
    if tokens.device.type != "cpu" or not ONEDNN or tokens.numel() * len(weight) < LARGE:
        return functional.linear(tokens, weight, bias)
    pixels = tokens.unsqueeze(2).permute(0, 3, 1, 2)  # [B, D, N, 1], channels last in memory
    return functional.conv2d(pixels, weight[..., None, None], bias).permute(0, 2, 3, 1).flatten(1, 2)


class Block(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al. 2021), hidden layer 4 times as wide.

    Not timm's, for two things it lacks and that pay: `skip`, and `linear` above.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)  # as timm
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, skip: int = 0) -> Tensor:
        """tokens [B, N, width] -> [B, N - skip, width]: the first `skip` are attended to but not worked out."""
        tokens = tokens[:, skip:] + linear(self.attend(self.norm1(tokens), skip), self.proj.weight, self.proj.bias)
        inner = functional.gelu(linear(self.norm2(tokens), self.fc1.weight, self.fc1.bias))
        return tokens + linear(inner, self.fc2.weight, self.fc2.bias)

    def attend(self, tokens: Tensor, skip: int) -> Tensor:
        """tokens [B, N, width] -> what the heads of all but the first `skip` read, [B, N - skip, width]."""
        weight, bias, width = self.qkv.weight, self.qkv.bias, tokens.shape[2]
        if skip:
            queries = linear(tokens[:, skip:], weight[:width], bias[:width])
            parts = (queries, *linear(tokens, weight[width:], bias[width:]).chunk(2, 2))
        else:
            parts = linear(tokens, weight, bias).chunk(3, 2)
        q, k, v = (part.view(len(part), -1, self.heads, self.head_width).transpose(1, 2) for part in parts)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def attention(self, tokens: Tensor) -> Tensor:
        """tokens [B, N, width] -> [B, N], how much attention each gets: the mean over heads and over all that look."""
        q, k, _ = linear(self.norm1(tokens), self.qkv.weight, self.qkv.bias).chunk(3, 2)
        q, k = (part.view(len(part), -1, self.heads, self.head_width).transpose(1, 2) for part in (q, k))
        seen: Tensor = (q @ k.transpose(2, 3) / self.head_width**0.5).softmax(3)
        return seen.mean((1, 2))


def block_flops(block: nn.Module, tokens: int, skip: int = 0) -> float:
    """Operations of a `Block` on one image: 2 n a b for a product of [n, a] and [a, b]; norms, sums not counted."""
    assert isinstance(block, Block)
    width, asked = block.proj.in_features, tokens - skip
    return 2.0 * width * (2 * tokens * width + 10 * asked * width + 2 * asked * tokens)


def awkward_heads(model: nn.Module) -> list[int]:
    """Features a head where they are no multiple of 8: a GPU's fused attention pads them or is not used at all."""
    widths = (getattr(part, "head_width", getattr(part, "head_dim", 8)) for part in model.modules())
    return sorted({width for width in widths if isinstance(width, int) and width % 8})


def blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    """`depth` pre-norm transformer blocks [B, N, width] -> [B, N, width]. ValueError unless heads divides width."""
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}")
    return nn.Sequential(*(Block(width, heads) for _ in range(depth)))


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear layer. Source: He et al. 2022 (MAE)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def refuse_sizes(part: str, width: int, depth: int) -> None:
    """Raise ValueError for an encoder or decoder (`part`) that cannot be."""
    if width < 1 or depth < 0:
        raise ValueError(f"the {part} needs a width of 1 or more and a depth of 0 or more, not {width} and {depth}")


class ViTEncoder(nn.Module):
    """Patches -> tokens. Ours: no class token, since an MAE never trains it; read-outs pool the patch tokens."""

    positions: Tensor

    def __init__(self, shape: tuple[int, int, int], *, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        refuse_sizes("encoder", width, depth)
        self.patch, self.grid = patch, grid_of(shape, patch)
        self.embed = nn.Linear(shape[0] * patch * patch, width)
        self.blocks = blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sincos_positions(self.grid, width), persistent=False)
        initialise(self)

    def forward(
        self, images: Tensor, visible: Tensor | None = None, veil: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        """images [B, C, H, W], visible int64 [B, V] (None: all patches) -> tokens [B, V, width].

        Where veil bool [B, V] is True, `token` [width] stands for the patch: only its position is known.
        """
        return self.norm(self.blocks(self.embedded(images, visible, veil, token)))  # type: ignore[no-any-return]

    def embedded(
        self, images: Tensor, visible: Tensor | None = None, veil: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        """What the first block is given, [B, V, width]; arguments as those of `forward`."""
        patches, positions = patchify(images, self.patch), self.positions
        if visible is not None:
            patches = patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[2]))
            positions = positions[visible]
        tokens = self.embed(patches)
        if veil is not None and token is not None:
            tokens = torch.where(veil[..., None], token.to(tokens.dtype), tokens)
        return tokens + positions  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> feature map [B, width, h, w], nothing hidden."""
        return self._map(self(images))

    def layers(self, images: Tensor) -> list[Tensor]:
        """images [B, C, H, W] -> the map [B, width, h, w] after each block, the last one as `encode` has it."""
        tokens = self.embedded(images)
        found = [tokens := block(tokens) for block in self.blocks]
        return [self._map(one) for one in (*found[:-1], self.norm(tokens))]

    def attention(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h, w], the attention that each patch gets in the last block; an image's sum is 1.

        Ours: without a class token, the mean over all patches that look. Raises ValueError for an encoder of no block.
        """
        if not len(self.blocks):
            raise ValueError("an encoder of depth 0 has no attention")
        tokens = self.blocks[:-1](self.embedded(images))
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return last.attention(tokens).unflatten(1, self.grid)  # type: ignore[no-any-return, no-untyped-call]

    def _map(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, self.grid)  # type: ignore[no-any-return, no-untyped-call]

    def stages(self) -> list[nn.Module]:
        """Its parts, input first: the embedding, then each block, the last one with the final norm."""
        return [self.embed, *self.blocks[:-1], nn.ModuleList([*self.blocks[-1:], self.norm])]

    def flops(self, tokens: int) -> float:
        """Operations of one image of which so many patches are seen."""
        return 2.0 * tokens * self.embed.weight.numel() + sum(block_flops(block, tokens) for block in self.blocks)


class ViTDecoder(nn.Module):
    """Tokens of every patch -> what is predicted of each."""

    positions: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        patch: int,
        encoder_width: int,
        width: int,
        depth: int,
        heads: int,
        values: int | None = None,
    ) -> None:
        """`values` are predicted of a patch; None: its pixels."""
        super().__init__()
        refuse_sizes("decoder", width, depth)
        self.grid = grid_of(shape, patch)
        self.embed = nn.Linear(encoder_width, width)
        self.blocks = blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, values or shape[0] * patch * patch)
        self.register_buffer("positions", sincos_positions(self.grid, width), persistent=False)
        initialise(self)

    def forward(self, embedded: Tensor, order: Tensor | None = None, skip: int = 0) -> Tensor:
        """tokens [B, h*w, width], already through `embed` or mask tokens -> patches [B, h*w, values], row-major.

        `order` int64 [B, h*w] names the patch of each token (None: row-major). The first `skip` tokens are read but
        nothing is predicted of them: theirs is 0.
        """
        tokens = embedded + (self.positions if order is None else self.positions[order])
        tokens = self.blocks[:-1](tokens)
        tokens = self.blocks[-1](tokens, skip) if len(self.blocks) else tokens[:, skip:]
        patches = self.head(self.norm(tokens))
        if order is not None:
            everywhere = patches.new_zeros(len(patches), order.shape[1], patches.shape[2])
            patches = everywhere.scatter(1, order[:, skip:, None].expand_as(patches), patches)
        return patches  # type: ignore[no-any-return]

    def fill(self, tokens: Tensor, mask_token: Tensor, order: Tensor, wanted: Literal["hidden", "all"]) -> Tensor:
        """The encoder's tokens [B, V, encoder_width], mask_token [width] for the rest -> patches [B, h*w, values].

        `order` int64 [B, h*w] names the patches of the tokens first. Of the visible ones nothing is predicted (0) where
        the hidden are wanted, if there are any.
        """
        shown = self.embed(tokens)
        rest = order.shape[1] - shown.shape[1]
        masked = mask_token.to(shown.dtype).expand(len(shown), rest, -1)
        skip = shown.shape[1] if rest and wanted == "hidden" else 0
        return self(torch.cat([shown, masked], 1), order, skip)  # type: ignore[no-any-return]

    def flops(self, embedded: int) -> float:
        """Operations of one image with so many tokens through `embed`, of which, if any is not, none is predicted."""
        tokens, last = len(self.positions), len(self.blocks) - 1
        skip = embedded if embedded < tokens else 0
        inner = sum(block_flops(block, tokens, skip if i == last else 0) for i, block in enumerate(self.blocks))
        return 2.0 * (embedded * self.embed.weight.numel() + (tokens - skip) * self.head.weight.numel()) + inner
