"""Which images a step sees, in which order, and how they are augmented: whole batches on their device."""

import math
from collections.abc import Iterator
from typing import get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional

from maebench.contracts import CENTRE, SPREAD, standardise
from maebench.seeding import stream
from maebench.training.budget import Augment


def indices(count: int, batch: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Endless int64 [batch] index batches, beginning with the batch numbered `start`.

    One fresh permutation of all images follows another: none is left out, and a batch may straddle two.
    """
    epoch, place = divmod(start * batch, count)
    order = _permutation(count, seed, epoch)[place:]
    while True:
        while len(order) < batch:
            epoch += 1
            order = torch.cat([order, _permutation(count, seed, epoch)])
        yield order[:batch]
        order = order[batch:]


def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=stream(seed, "order", epoch))


PADDING = 8  # a side is padded by 1/8 of its length: the 4 of 32 pixels usual on CIFAR
SMALLEST = 0.2  # share of the image's area in the smallest resized crop, He et al. 2022
STRETCH = 4 / 3  # at most, of either side against the other: torchvision's and He et al. 2022's 3/4 to 4/3


def augment(images: Tensor, how: Augment, rng: Generator) -> Tensor:
    """uint8 [B, C, H, W] -> float32 [B, C, H, W] in standard units, on the images' device.

    The numbers come from the CPU generator, one row an image: a key gives one result on every device, and image i's
    depends on row i alone, whatever B. "none" draws nothing. Raises ValueError for an unknown word.
    """
    if how == "none":
        return standardise(images)
    if how == "crop_flip":
        return crop_flip(images, torch.rand(len(images), 3, generator=rng))
    if how == "resized_crop_flip":
        return resized_crop_flip(images, torch.rand(len(images), 5, generator=rng))
    raise ValueError(f"augment: '{how}' is unknown; one of {', '.join(get_args(Augment))}")


def crop_flip(images: Tensor, draws: Tensor) -> Tensor:
    """uint8 [B, C, H, W], draws [B, 3] in [0, 1) for top, left, flip -> float32 [B, C, H, W] in standard units.

    Pads by an eighth of each side, crops to the old size, mirrors where flip < 1/2. Ours: padding reflects, for a black
    bar would be a patch without content to predict, and would change the pixel statistics that a linear MAE learns.
    """
    C, H, W = images.shape[1:]
    top, left, flip = draws.to(images.device, non_blocking=True)[:, :, None].unbind(1)
    rows = _shifted(top, H)
    columns = _shifted(left, W)
    columns = torch.where(flip < 0.5, columns.flip(1), columns)
    pixel = (rows[:, :, None] * W + columns[:, None]).flatten(1)
    return standardise(images.flatten(2).gather(2, pixel[:, None].expand(-1, C, -1)).view_as(images))


def _shifted(draw: Tensor, length: int) -> Tensor:
    """draw [B, 1] -> int64 [B, length]: where each place of the crop lies on a side, reflected at its ends."""
    padding = length // PADDING
    place = torch.arange(length, device=draw.device) - padding + (draw * (2 * padding + 1)).long()
    return length - 1 - (length - 1 - place.abs()).abs()


def resized_crop_flip(images: Tensor, draws: Tensor) -> Tensor:
    """uint8 [B, C, H, W], draws [B, 5] in [0, 1) as of `boxes` and for flip -> float32 [B, C, H, W], standard units.

    Cuts one box from each image, resizes it to H x W and mirrors it where flip < 1/2. Bicubic, as He et al. 2022, and
    clipped to what a pixel can be. A box is never larger than the image, so nothing needs smoothing first.
    Ours: boxes end between pixels, so the outermost pixels also read their neighbours outside the box.
    """
    B, _, H, W = images.shape
    size, centre = boxes(draws[:, :4])
    size[:, 1] *= torch.where(draws[:, 4] < 0.5, -1.0, 1.0)
    device = images.device
    moved = torch.cat([size, centre], dim=1).to(device, non_blocking=True)[:, :, None]
    # Not affine_grid: it multiplies matrices, and TF32 rounds those to about a thousandth of a side.
    y = moved[:, 0] * _centres(H, device) + moved[:, 2]
    x = moved[:, 1] * _centres(W, device) + moved[:, 3]
    grid = torch.stack([x[:, None].expand(B, H, W), y[:, :, None].expand(B, H, W)], dim=3)
    crop = functional.grid_sample(standardise(images), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return crop.clamp_(-CENTRE / SPREAD, (1 - CENTRE) / SPREAD)


def _centres(length: int, device: torch.device) -> Tensor:
    """Pixel centres of a side that runs from -1 to 1, [length]."""
    return (2 * torch.arange(length, device=device) + 1) / length - 1


def boxes(draws: Tensor) -> tuple[Tensor, Tensor]:
    """draws [B, 4] in [0, 1] for area, stretch, top, left -> height and width [B, 2], and centre (y, x) [B, 2].

    Both in units where a side of the image runs from -1 to 1 and a full box has size 1. The area is uniform in 0.2 to
    1 of the image's, the log of width over height (in shares of the sides) uniform in log 3/4 to log 4/3.
    Ours: torchvision draws again when a box does not fit, here the stretch is drawn from what fits at that area; so
    every box lies inside, every area is equally frequent, and large boxes are less stretched.
    """
    area = SMALLEST + (1 - SMALLEST) * draws[:, 0]
    reach = area.log().neg().clamp(max=math.log(STRETCH))
    stretch = (reach * (2 * draws[:, 1] - 1)).exp()
    size = torch.stack([area / stretch, area * stretch], dim=1).sqrt()
    return size, (2 * draws[:, 2:] - 1) * (1 - size)
