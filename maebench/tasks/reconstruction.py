"""Error of reconstructing test images under masks that are the same for every variant, whatever it was trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from maebench.contracts import CENTRE, SPREAD, Predict, Split, standardise
from maebench.tasks.readouts.content import own_stream
from maebench.tasks.readouts.dense import chunks
from maebench.tasks.readouts.similarity import ssim

VERSION = 1
NEEDS = None
METRICS = {"mse": ("", "lower"), "psnr": ("dB", "higher"), "ssim": ("", "higher")}

ROUNDING = (1 / 255) ** 2 / 12  # mean squared error of rounding a value in [0, 1] to 8 bits


@dataclass(frozen=True)
class Compare:
    """A `Predict` of how good an image's reconstruction is: MSE hidden and visible, SSIM hidden and visible, [N, 4]."""

    masked: Callable[[Tensor, Tensor], Tensor]
    ratio: float
    patch: int
    readout: str = "pixels"

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 images [N, C, H, W] -> float32 [N, 4]."""
        return torch.cat([self._one(part.images) for part in chunks(Split(images))])

    def _one(self, images: Tensor) -> Tensor:
        hidden = masks(images, self.ratio, self.patch)
        return compared(images, self.masked(images, hidden), in_pixels(hidden, self.patch))


def check(shape: tuple[int, int, int], ratio: float, patch: int, mask_grid: tuple[int, int] | None = None) -> None:
    """Raises ValueError for masks that images (C, H, W), or a variant that hides on `mask_grid`, cannot have."""
    if patch < 1 or shape[1] % patch or shape[2] % patch:
        raise ValueError(f"patch {patch} does not divide an image of {shape[1]} x {shape[2]} pixels")
    h, w = shape[1] // patch, shape[2] // patch
    if not 0 < ratio < 1 or hidden_count(ratio, h * w) == 0:
        raise ValueError(f"ratio {ratio} hides none or all of {h * w} patches; set it to more than 0, below 1")
    if mask_grid and (mask_grid[0] % h or mask_grid[1] % w):
        raise ValueError(
            f"the variant hides {mask_grid[0]} x {mask_grid[1]} patches, on which masks of {h} x {w} do not fit; "
            "set patch to a multiple of the variant's"
        )


def fit(
    masked: Callable[[Tensor, Tensor], Tensor],
    *,
    ratio: float = 0.75,  # He et al. 2022 (MAE)
    patch: int = 4,  # pixels a side; as vit_mae's
) -> Predict:
    """-> predict: images [N, C, H, W] -> float32 [N, 4], see `Compare`. Nothing is fitted.

    Ours: an image's mask is drawn from a stream that its content names, uniform over all masks of that ratio.
    """
    return Compare(masked, ratio, patch)


def hidden_count(ratio: float, patches: int) -> int:
    """How many of the patches a masking ratio hides, as in pretraining: at least one is left visible."""
    return min(round(ratio * patches), patches - 1)


def masks(images: Tensor, ratio: float, patch: int) -> Tensor:
    """uint8 images [N, C, H, W] -> bool [N, h, w], True = hidden."""
    h, w = images.shape[2] // patch, images.shape[3] // patch
    scores = torch.stack([torch.rand(h * w, generator=own_stream(image, "mask")) for image in images])
    top = scores.topk(hidden_count(ratio, h * w)).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, top, value=True).view(-1, h, w)


def in_pixels(hidden: Tensor, patch: int) -> Tensor:
    """bool [N, h, w] -> bool [N, 1, H, W]."""
    return hidden[:, None].repeat_interleave(patch, 2).repeat_interleave(patch, 3)


def compared(images: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
    """uint8 images, their reconstruction in standard units [N, C, H, W], hidden bool [N, 1, H, W] -> see `Compare`.

    SSIM is of values clipped to [0, 1]. Around hidden pixels it is that of the image with the visible ones pasted in,
    around visible ones that of the reconstruction as it is.
    """
    wanted = standardise(images)
    error = (pixels - wanted).square()
    light = [(part * SPREAD + CENTRE).clamp(0, 1) for part in (wanted, torch.where(hidden, pixels, wanted), pixels)]
    columns = [_mean(error, hidden), _mean(error, ~hidden)]
    columns += [_mean(ssim(light[0], light[1]), hidden), _mean(ssim(light[0], light[2]), ~hidden)]
    return torch.stack(columns, 1).float()


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """[N, C, H, W] and bool [N, 1, H, W] -> float64 [N], over channels and the pixels where it is True."""
    there = where.flatten(1).double()
    return (values.double().mean(1).flatten(1) * there).sum(1) / there.sum(1)


def measure(guess: Tensor, images: Tensor, ratio: float, patch: int) -> dict[str, float]:
    """guess [N, 4] -> means over the images: of hidden pixels, and "@visible" of the others.

    mse in standard units, where a pixel of CIFAR-10 has a variance of about 1, as the loss of pretraining; psnr, the
    mean of 10 log10(1 / MSE) of values in [0, 1], Ours: no more than 8 bits allow, 58.9 dB; ssim as `ssim` has it. The
    floor is the mean of the images at each pixel, the ceiling no error.
    """
    mse, ratios = guess[:, :2].double(), guess[:, 2:].double().mean(0)
    psnr = -10 * (mse * SPREAD**2).clamp(min=ROUNDING).log10().mean(0)
    scores = {"mse": mse.mean(0), "psnr": psnr, "ssim": ratios}
    return {
        **{name: float(value[0]) for name, value in scores.items()},
        **{f"{name}@visible": float(value[1]) for name, value in scores.items()},
        "mse@floor": _floor(images, ratio, patch),
        "mse@ceiling": 0.0,
    }


def _floor(images: Tensor, ratio: float, patch: int) -> float:
    parts = [part.images for part in chunks(Split(images))]
    mean = sum((standardise(part).double().sum(0) for part in parts), torch.zeros(())) / len(images)
    errors = [_mean((standardise(part) - mean).square(), in_pixels(masks(part, ratio, patch), patch)) for part in parts]
    return float(torch.cat(errors).mean())


def per_image(guess: Tensor) -> Tensor:
    """guess [N, 4] -> float64 [N], the MSE of the hidden pixels of each image."""
    return guess[:, 0].double()
