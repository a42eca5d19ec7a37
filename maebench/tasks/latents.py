"""The latents that each image was drawn from, by a linear map from all of the frozen feature map."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import Predict, Split
from maebench.tasks.readouts.dense import explained, first, r2, refuse_none
from maebench.tasks.readouts.maps import refuse_components, words
from maebench.tasks.readouts.whole import Components, Reading, Whole, read

VERSION = 2
NEEDS = "latents"
METRICS = {"r2": ("", "higher")}


@dataclass(frozen=True)
class Latents:
    """A `Predict` of latents [N, R, L], R readings: the headline's, and one each k of the axis."""

    found: Components
    readings: list[Reading]
    readout: str

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, R, L]."""
        scores = self.found(images)
        return torch.stack([reading(scores) for reading in self.readings], 1)


def check(fit_images: int, k: int | None, axis: tuple[int, ...]) -> None:
    """Raises ValueError for a fit on no image or component."""
    refuse_none(fit_images)
    refuse_components(k, axis)


def fit(
    whole: Whole,
    train: Split,
    val: Split,
    *,
    fit_images: int = 4_000,  # Ours: the first of train; the components of so many take seconds
    k: int | None = None,  # components that the headline reads; all
    axis: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024),  # numbers of components that r2 is shown at
) -> Predict:
    """-> predict: images [N, C, H, W] -> latents [N, R, L], by ridge regression on the whole map.

    Ours, as Kong et al. 2023 measure no latents: not pooled to one mean, which does not tell where a thing is. Fitted
    on the first `fit_images` of train, the penalty of each latent chosen on as many of val.
    """
    rows = [(part.images, part.targets["latents"]) for part in (first(train, fit_images), first(val, fit_images))]
    found = whole(rows[0][0]).up_to((k, *axis))
    return Latents(found, read(found, rows[0], rows[1], (k, *axis)), words(k))


def kept(guess: Tensor) -> Tensor:
    """Of the guess [N, R, L] the headline's."""
    return guess[:, :1]


def measure(guess: Tensor, targets: dict[str, Tensor], axis: tuple[int, ...]) -> dict[str, float]:
    """guess [N, R, L], targets["latents"] [N, L] -> R^2 of each latent, "r2@column=..", and their mean, "r2".

    "r2@k=.." is that mean, read from the first k components.
    A latent that is the same in all test images has no R^2 and is left out. Raises ValueError where all are.
    """
    wanted = targets["latents"]
    values = {f"r2@column={column}": r2(guess[:, 0, column], wanted[:, column]) for column in _varied(wanted)}
    first, *others = (float(_each(guess[:, reading], wanted).mean()) for reading in range(guess.shape[1]))
    at = {f"r2@k={k}": value for k, value in zip(axis, others, strict=True)}
    return {"r2": first, **values, **at, "r2@floor": 0.0, "r2@ceiling": 1.0}


def per_image(guess: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """guess [N, R, L], targets as in `measure` -> float64 [N], each image's share of r2; their mean is it."""
    return _each(guess[:, 0], targets["latents"])


def _each(guess: Tensor, wanted: Tensor) -> Tensor:
    """guess, wanted [N, L] -> float64 [N], `explained`, averaged over the latents that vary."""
    return torch.stack([explained(guess[:, column], wanted[:, column]) for column in _varied(wanted)]).mean(0)


def _varied(wanted: Tensor) -> list[int]:
    columns: list[int] = (wanted != wanted[:1]).any(0).nonzero().flatten().tolist()
    if not columns:
        raise ValueError("latents: no latent differs between the test images; take more of them, or another data set")
    return columns
