"""The ViT masked autoencoder of the library transformers, ViTMAEForPreTraining, as it is but for how it starts."""

from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Count, Hide, Reconstruction, Report, Variant
from maebench.models.losses import patch_loss
from maebench.models.patches import grid_of
from maebench.models.targets import PatchTarget
from maebench.models.vit import refuse_sizes, sincos_positions


class HFViTMAE(Variant):
    """The library's encoder and decoder, class token included, given our masks; the loss is worked out here."""

    def __init__(self, model: Any, target: PatchTarget, masks: tuple[Hide, Count, Report]) -> None:
        super().__init__()
        self.model, self.target = model, target
        self.hide, self.count, self.report = masks

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks of the encoder, which versions 4 and 5 of the library keep in two places."""
        vit = self.model.vit
        found: nn.ModuleList = vit.layers if hasattr(vit, "layers") else vit.encoder.layer
        return found

    def look(self, images: Tensor, hidden: Tensor | None = None) -> Any:
        """images [B, C, H, W], hidden bool [B, h, w] (None: nothing) -> what the library's encoder gives.

        It keeps the patches with the least noise, int(h*w * (1 - mask_ratio)) of them; half a patch is added, so that
        no rounding loses one. They come in row-major order.
        """
        patches = self.target.grid[0] * self.target.grid[1]
        noise = torch.arange(patches, dtype=torch.float32, device=images.device).expand(len(images), -1)
        kept = patches
        if hidden is not None:
            noise, kept = noise + patches * hidden.flatten(1), patches - self.count(self.target.grid)
        self.model.config.mask_ratio = max(0.0, 1 - (kept + 0.5) / patches)
        return self.model.vit(images, noise=noise, output_hidden_states=hidden is None)

    def predict(self, images: Tensor, hidden: Tensor) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predictions [B, h*w, C*patch*patch] in target units.

        The library's are ordered by row, column and channel, ours by channel, row and column.
        """
        seen = self.look(images, hidden)
        patches = self.model.decoder(seen.last_hidden_state, seen.ids_restore).logits
        return patches.unflatten(2, (-1, images.shape[1])).transpose(2, 3).flatten(2)  # type: ignore[no-any-return]

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over hidden patches, a scalar, as the library's.

        At ratio 0 it is that over all patches, where the library has 0 / 0.
        """
        hidden = self.hide(images, self.target.grid, rng)
        return patch_loss(self.predict(images, hidden) - self.target(images), hidden, self.report)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every patch, those of hidden patches scored."""
        hidden = self.hide(images, self.target.grid, rng)
        return self.target.reconstruction(self.predict(images, hidden), images, hidden)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, width, h, w], the normalised patch tokens; the class token is left out."""
        return self.layers(images)[-1]

    def layers(self, images: Tensor) -> list[Tensor]:
        """images [B, C, H, W] -> the map [B, width, h, w] after each block, the last one as `encode` has it."""
        seen = self.look(images)
        found = (*(seen.hidden_states or ())[1:-1], seen.last_hidden_state)  # some versions have None at depth 0
        return [one[:, 1:].transpose(1, 2).unflatten(2, self.target.grid) for one in found]

    def attention(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h, w], the attention that each patch gets in the last block; an image's sum is 1.

        Ours: the mean over heads and over all patches that look. The class token neither looks nor is looked at: what
        a patch gives to the others is made to sum to 1. Raises ValueError for an encoder of no block.
        """
        if not len(self.blocks):
            raise ValueError("an encoder of depth 0 has no attention")
        last, heads = self.blocks[-1], self.model.config.num_attention_heads
        names = ("query", "key", "q_proj", "k_proj")  # of versions 4, and of 5
        tokens = last.layernorm_before(self.look(images).hidden_states[-2])[:, 1:]  # type: ignore[operator]
        q, k = (
            part(tokens).unflatten(2, (heads, -1)).transpose(1, 2)
            for name, part in last.named_modules()
            if name.endswith(names)
        )
        seen: Tensor = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
        return seen.mean((1, 2)).unflatten(1, self.target.grid)  # type: ignore[no-any-return, no-untyped-call]

    def stages(self) -> list[nn.Module]:
        """The encoder's parts, input first: the embedding, then each block, the last one with the final norm."""
        vit = self.model.vit
        return [vit.embeddings, *self.blocks[:-1], nn.ModuleList([*self.blocks[-1:], vit.layernorm])]

    def flops(self) -> float:
        """Operations of the loss of one image, forward: the library embeds and predicts hidden and visible patches."""
        config, decoder, patches = self.model.config, self.model.decoder, self.target.grid[0] * self.target.grid[1]
        seen, width, inner = patches - self.count(self.target.grid) + 1, config.hidden_size, config.decoder_hidden_size
        total: float = (
            2.0 * patches * self.model.vit.embeddings.patch_embeddings.projection.weight.numel()
            + 2.0 * width * seen * (12 * width + 2 * seen) * config.num_hidden_layers
            + 2.0 * seen * decoder.decoder_embed.weight.numel()
            + 2.0 * inner * (patches + 1) * (12 * inner + 2 * (patches + 1)) * config.decoder_num_hidden_layers
            + 2.0 * (patches + 1) * decoder.decoder_pred.weight.numel()
        )
        return total


def start(model: Any, size: tuple[int, int], positions: tuple[Tensor, Tensor]) -> None:
    """Fit a new model of the library to images of size (H, W), whose positions are [h*w, D] of encoder and decoder.

    Ours: its positions, sine-cosine with columns before rows and 0 for the class token, as it has them itself, but for
    square images alone, and versions 4.53 to 5.24 leave the decoder's at 0 unless a checkpoint is loaded, versions 5
    the encoder's too. So they do with the tokens, which are drawn as it means to, and versions differ in the weights of
    the embedding, which are Xavier-uniform as in He et al. 2022 (MAE).
    """
    embeddings, decoder = model.vit.embeddings, model.decoder
    embeddings.image_size = embeddings.patch_embeddings.image_size = size
    places = ((embeddings, "position_embeddings"), (decoder, "decoder_pos_embed"))
    for (part, name), values in zip(places, positions, strict=True):
        delattr(part, name)  # parameters there, which fine-tuning would move
        columns_first = values.roll(values.shape[1] // 2, 1)
        part.register_buffer(name, torch.cat([torch.zeros(1, values.shape[1]), columns_first])[None])
    nn.init.normal_(embeddings.cls_token, std=0.02)
    nn.init.normal_(decoder.mask_token, std=0.02)
    nn.init.xavier_uniform_(embeddings.patch_embeddings.projection.weight.flatten(1))


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    count: Count,
    report: Report,
    patch: int = 4,  # as vit_mae
    width: int = 128,  # as vit_mae
    depth: int = 4,  # as vit_mae
    heads: int = 4,  # as vit_mae
    decoder_width: int = 64,  # as vit_mae
    decoder_depth: int = 1,  # as vit_mae
    decoder_heads: int = 4,  # as vit_mae
    target: Literal["pixels", "normalised"] = "normalised",  # as vit_mae; the library's norm_pix_loss
) -> Variant:
    """Image shape (C, H, W) -> the model. ValueError where the sizes do not fit or the library is not there."""
    try:
        from transformers import ViTMAEConfig, ViTMAEForPreTraining
    except ModuleNotFoundError:
        raise ValueError("needs the library transformers: pip install 'maebench[transformers]'") from None
    grid, goal = grid_of(shape, patch), PatchTarget(shape, patch, target)
    refuse_sizes("encoder", width, depth)
    refuse_sizes("decoder", decoder_width, decoder_depth)
    for features, parts in ((width, heads), (decoder_width, decoder_heads)):
        if parts < 1 or features % parts:
            raise ValueError(f"{parts} heads do not divide a width of {features}")
    positions = sincos_positions(grid, width), sincos_positions(grid, decoder_width)
    config = ViTMAEConfig(
        image_size=max(shape[1:]), patch_size=patch, num_channels=shape[0], norm_pix_loss=target == "normalised",
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * width,
        decoder_hidden_size=decoder_width, decoder_num_hidden_layers=decoder_depth,
        decoder_num_attention_heads=decoder_heads, decoder_intermediate_size=4 * decoder_width,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config)
    start(model, (shape[1], shape[2]), positions)
    return HFViTMAE(model, goal, (hide, count, report))
