"""Patch-grid mathematics: the one place that counts patches."""

import torch
from torch import Generator, Tensor
from torch.nn import functional


def grid_of(shape: tuple[int, int, int], patch: int) -> tuple[int, int]:
    """Image shape (C, H, W) -> grid (h, w). Raises ValueError where the patch does not divide the image."""
    _, height, width = shape
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f"patch {patch} does not divide an image of {height} x {width} pixels")
    return height // patch, width // patch


def patchify(images: Tensor, patch: int) -> Tensor:
    """[B, C, H, W] -> [B, h*w, C*patch*patch], patches in row-major order."""
    return functional.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """[B, h*w, C*patch*patch] -> [B, C, H, W]; the inverse of `patchify`."""
    return functional.pixel_shuffle(patches.transpose(1, 2).reshape(len(patches), -1, *grid), patch)


def patch_of_pixel(shape: tuple[int, int, int], patch: int) -> Tensor:
    """Image shape (C, H, W) -> int64 [C*H*W], the patch in which each flattened pixel lies; all channels share it."""
    height, width = grid_of(shape, patch)
    index = torch.arange(height * width).view(1, 1, height, width).float()
    return to_pixels(index, patch).long().expand(-1, shape[0], -1, -1).reshape(-1)


def to_pixels(grid: Tensor, patch: int) -> Tensor:
    """[B, 1, h, w] -> [B, 1, H, W], each value repeated over its patch."""
    return grid.repeat_interleave(patch, -2).repeat_interleave(patch, -1)


def hidden_count(ratio: float, patches: int) -> int:
    """How many of the patches a masking ratio hides: the nearest whole number, with at least one left visible."""
    return min(round(ratio * patches), patches - 1)


def hide_top(scores: Tensor, ratio: float, rng: Generator) -> Tensor:
    """Scores [B, h, w] -> bool [B, h, w]: the `hidden_count` highest of each image are hidden; ties fall at random.

    Scores are compared as float32. Score and random number make one integer, so that one search finds the same patches
    on any device: the bits of a float are in its order once those of a negative one are turned round.
    """
    flat = scores.flatten(1)
    bits = (flat.float() + 0.0).view(torch.int32)  # + 0.0: -0.0 is no lower than 0.0
    ordered = (bits ^ (bits >> 31 & 0x7FFFFFFF)).long() << 31
    keys = ordered + torch.randint(2**31, flat.shape, generator=rng).to(flat.device)
    top = keys.topk(hidden_count(ratio, flat.shape[1]), sorted=False).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, top, value=True).view(scores.shape)


def hide_above(scores: Tensor, ratio: float) -> Tensor:
    """Scores [B, h, w] -> bool [B, h, w]: hidden where above 1 - ratio; an image's lowest score is never hidden."""
    flat = scores.flatten(1)
    hidden = (flat > 1 - ratio).scatter(1, flat.argmin(1, keepdim=True), value=False)
    return hidden.view(scores.shape)


def from_middle(side: Tensor, length: int, place: Tensor) -> Tensor:
    """Sides in patches, places in [0, 1), both [...] -> [..., length], how far each patch is from a side's middle.

    In half sides, so below 1 inside. Sides are rounded, to at least 1 and at most `length`; every place where one fits
    is as likely, the last included.
    """
    side = side.round().clamp(1, length)
    start = (place * (length - side + 1)).floor()
    return (2 * (torch.arange(length) + 0.5 - start[..., None]) / side[..., None] - 1).abs()


def hide_nothing(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
    """A `Hide` that hides no patch: bool [B, h, w], all False."""
    return torch.zeros(len(images), *grid, dtype=torch.bool, device=images.device)


def scored_patches(hidden: Tensor) -> Tensor:
    """bool [B, h, w] -> bool [B, h, w]: the hidden patches, or all where nothing is hidden (an autoencoder)."""
    return hidden | ~hidden.flatten(1).any(1).view(-1, 1, 1)


def scored_pixels(hidden: Tensor, patch: int) -> Tensor:
    """bool [B, h, w] -> bool [B, 1, H, W]: the pixels of `scored_patches`."""
    return to_pixels(scored_patches(hidden)[:, None], patch)


def seen_pixels(images: Tensor, hidden: Tensor, patch: int) -> Tensor:
    """images [B, C, H, W], hidden bool [B, h, w] -> [B, C, H, W] with NaN in the hidden patches."""
    return images.masked_fill(to_pixels(hidden[:, None], patch), torch.nan)
