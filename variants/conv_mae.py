"""Convolutional masked autoencoder: a ConvNeXt-like encoder in which nothing crosses the mask (SparK)."""

from typing import Literal

from torch import Generator, Tensor, nn

from maebench.contracts import Hide, Reconstruction, Report, Variant
from maebench.models.conv import ConvDecoder, ConvEncoder
from maebench.models.losses import patch_loss
from maebench.models.patches import hide_nothing, patchify
from maebench.models.targets import PatchTarget
from maebench.models.vit import refuse_sizes


class ConvMAE(Variant):
    """Hidden positions are 0 at every scale of the encoder; the decoder reads every scale, with a token at these."""

    def __init__(
        self, encoder: ConvEncoder, decoder: ConvDecoder, target: PatchTarget, hide: Hide, report: Report
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.hide, self.report = hide, report

    def predict(self, images: Tensor, hidden: Tensor) -> Tensor:
        """images [B, C, H, W], hidden bool [B, h, w] -> predictions [B, h*w, C*patch*patch] in target units."""
        return patchify(self.decoder(self.encoder(images, hidden), hidden), self.target.patch)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error over hidden patches (over all at ratio 0), a scalar."""
        hidden = self.hide(images, self.target.grid, rng)
        return patch_loss(self.predict(images, hidden) - self.target(images), hidden, self.report)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> predictions for every patch, those of hidden patches scored."""
        hidden = self.hide(images, self.target.grid, rng)
        return self.target.reconstruction(self.predict(images, hidden), images, hidden)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, width, h, w], the last map, nothing hidden."""
        nothing = hide_nothing(images, self.target.grid, Generator())
        return self.encoder(images, nothing)[-1]  # type: ignore[no-any-return]

    def stages(self) -> list[nn.Module]:
        """The encoder's parts, input first; the last one with the norm behind it."""
        *first, last = self.encoder.stages
        return [*first, nn.ModuleList([last, self.encoder.norms[-1]])]

    def flops(self) -> float:
        """Operations of the loss of one image, forward."""
        patches = self.target.grid[0] * self.target.grid[1]
        return self.encoder.flops(patches) + self.decoder.flops(patches)


def build(
    shape: tuple[int, int, int],
    *,
    hide: Hide,
    report: Report,
    widths: tuple[int, ...] = (64, 128),  # of the stages, each of half the resolution: patches of 4. Ours
    depths: tuple[int, ...] = (3, 3),  # blocks of each stage. Ours
    kernel: int = 5,  # pixels a side of the depthwise convolutions. Ours: 7 in Liu et al. 2022, for larger images
    decoder_width: int = 64,  # at the coarsest scale, half of it at each finer one. Ours: half the encoder's
    decoder_depth: int = 1,  # blocks a scale. Ours
    target: Literal["pixels", "normalised"] = "normalised",  # Tian et al. 2023 (SparK); the decoder paints pixels
) -> Variant:
    """Image shape (C, H, W) -> the model. Raises ValueError where the sizes do not fit.

    Source: Tian et al. 2023 (SparK), whose masking ratio is 0.6. Patches are as large as the total stride of the
    stages. Hidden positions are worked out, too, and then set to 0, so hiding more saves no time.
    """
    if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1:
        raise ValueError(f"widths and depths are one number a stage, and 1 or more; not {widths} and {depths}")
    refuse_sizes("decoder", decoder_width, decoder_depth)
    if kernel % 2 == 0 or kernel < 1:
        raise ValueError(f"kernel {kernel} has no middle; use an odd number")
    goal = PatchTarget(shape, 2 ** len(widths), target)
    encoder = ConvEncoder(shape[0], tuple(widths), tuple(depths), kernel)
    decoder = ConvDecoder(shape[0], tuple(widths), decoder_width, decoder_depth, kernel)
    return ConvMAE(encoder, decoder, goal, hide, report)
