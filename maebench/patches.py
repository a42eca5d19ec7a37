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
    """Scores [B, h, w] -> bool [B, h, w]: the `hidden_count` highest of each image are hidden; ties fall at random."""
    flat = scores.flatten(1)
    shuffle = torch.rand(flat.shape, generator=rng).to(flat.device).argsort(dim=1, stable=True)  # alike on any device
    order = flat.gather(1, shuffle).sort(dim=1, descending=True, stable=True).indices
    top = shuffle.gather(1, order)[:, : hidden_count(ratio, flat.shape[1])]
    hidden = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, top, torch.ones_like(top, dtype=torch.bool))
    return hidden.view(scores.shape)


def hide_nothing(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
    """A `Hide` that hides no patch: bool [B, h, w], all False."""
    return torch.zeros(len(images), *grid, dtype=torch.bool, device=images.device)


def scored_pixels(hidden: Tensor, patch: int) -> Tensor:
    """bool [B, h, w] -> bool [B, 1, H, W]: the hidden pixels, or all where nothing is hidden (an autoencoder)."""
    scored = hidden | ~hidden.flatten(1).any(1).view(-1, 1, 1)
    return to_pixels(scored[:, None], patch)


def seen_pixels(images: Tensor, hidden: Tensor, patch: int) -> Tensor:
    """images [B, C, H, W], hidden bool [B, h, w] -> [B, C, H, W] with NaN in the hidden patches."""
    return images.masked_fill(to_pixels(hidden[:, None], patch), torch.nan)
