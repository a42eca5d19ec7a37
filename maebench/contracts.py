"""The words every part of maebench shares: what crosses a wall, and with which shape.

Settings that cannot be are refused before the first step: `build` and `scores` raise ValueError, one line, and so may a
task's optional `check`. It asks by name for its settings and for what is known of an encoder before it is trained:
`shape` (C, H, W), `stages` (their number, None without `stages()`), `grid` (h, w) of its feature map and `layers`
(their number, 0 without `layers()`). Of a closed form that cannot encode before its fit the last two are not known; a
`check` that needs one, without a default, is then not asked. `mask_grid` (h, w), of the patches that the variant's
`hide` is asked for, is known of variants that are handed one, so a `check` needs a default for it.

Axes: B images in a batch, N in a split, C channels, H W pixels, h w patches, D features, L latents.
Pixels: a `Split` holds uint8; a `Variant` gets float32 in standard units, (value / 255 - 0.5) / 0.25, so 0 is mid grey.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Generator, Tensor, nn

Encode = Callable[[Tensor], Tensor]
"""uint8 images [N, C, H, W] -> float32 features [N, D, h, w] on the CPU; frozen, no gradient.

A global code is [N, D, 1, 1].
"""

Hide = Callable[[Tensor, tuple[int, int], Generator], Tensor]
"""images [B, C, H, W], grid (h, w), rng -> bool [B, h, w], True = hidden."""

Count = Callable[[tuple[int, int]], int]
"""grid (h, w) -> how many patches `hide` hides of each image now; asks no device. A variant that leaves the hidden ones
out asks `build` for `count`, and is then not given strategies whose count is free."""

Report = Callable[[Tensor], None] | None
"""Takes the error of each patch [B, h, w], NaN where nothing is scored; None where nobody wants to know."""

Predict = Callable[[Tensor], Tensor]
"""uint8 images [N, C, H, W] -> guesses [N, ...], one row an image."""

File = str
"""A setting of this type names a file, relative to the working folder, that must be there when the runs are planned.

A run's id covers the content of the files that its variant and masking name.
"""


class MissingData(LookupError):
    """A data set's archive is not in the data root; the message says where to get it and where to put it."""


@dataclass(frozen=True)
class Split:
    """One fixed part (train, val or test) of a data set."""

    images: Tensor
    """uint8 [N, C, H, W]"""
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    """"label" int64 [N]; "depth" float32 [N, 1, H, W] metres, NaN = unknown; "latents" float32 [N, L]"""


@dataclass(frozen=True)
class Reconstruction:
    """What a variant gives back for a batch, in standard pixel units."""

    pixels: Tensor | None
    """[B, C, H, W]; None of a variant that paints none (PAINTS)"""
    scored: Tensor
    """bool [B, 1, H, W], True where the loss counts"""
    seen: Tensor
    """[B, C, H, W] what the encoder was given, noise included; NaN = hidden"""
    predicted: Tensor | None = None
    """[B, h, w, T], where no pixels are painted: what is predicted of each patch instead"""

    @property
    def painted(self) -> Tensor:
        """The pixels [B, C, H, W]. Raises ValueError where there are none."""
        if self.pixels is None:
            raise ValueError("the variant predicts no pixels, so nothing can be painted or compared with an image")
        return self.pixels


class Variant(nn.Module, ABC):
    """One autoencoder. Abstract; every subclass is final.

    A variant with a closed form adds `fit(self, images) -> None`, images uint8 [N, C, H, W], the whole train split; the
    training loop is then not run, and one seed stands for all since nothing is random. With a setting named `fit` too,
    the value "gradient" has it trained by the loop after all, with budget, seeds and untrained floor. Also optional:
    `stages(self) -> Sequence[nn.Module]`, the encoder's parts, input first, of which fine-tuning takes the last;
    `layers(self, images) -> Sequence[Tensor]`, the feature map [B, D, h, w] after each part, the last as `encode`'s;
    `flops(self) -> float`, floating-point operations of the loss of one image, forward, by its own formula;
    `attention(self, images) -> Tensor`, [B, h, w], for maskings that ask for it; `prepare(self, images) -> None`, uint8
    images of the train split, shown once before training; `after_step(self, ...) -> None`, called after each step, for
    which it may ask by name for `progress`, the share of the budget that is used, and `advance`, that of the last step.

    Its file may say `COUPLED`, True or the name of a setting: the loss of an image depends on its batch mates (where
    that setting is not 0); and `PAINTS`, False or {setting: values}: it predicts no pixels (but with these values).
    """

    elsewhere: ClassVar[bool] = False
    """True where it was trained before it came here: `fit` learns nothing, and what its training cost is not known"""

    @abstractmethod
    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> reconstruction; every random choice is drawn from rng, a CPU generator."""

    @abstractmethod
    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> the scalar that training minimises."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> features [B, D, h, w]; nothing hidden, no noise, deterministic."""


# Ours: constants near CIFAR-10's mean and sd, so that a loss or a noise sigma means the same on every data set.
CENTRE, SPREAD = 0.5, 0.25


def standardise(images: Tensor) -> Tensor:
    """uint8 [B, C, H, W] -> float32 [B, C, H, W] in standard units, (value / 255 - 0.5) / 0.25."""
    return images.float().mul_(1 / (255 * SPREAD)).sub_(CENTRE / SPREAD)
