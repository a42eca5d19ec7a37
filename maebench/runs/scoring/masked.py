"""A variant's reconstruction of images of which given patches are hidden: the same masks for variants of every kind."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from maebench.contracts import Variant, standardise
from maebench.models.linear import LinearModel
from maebench.models.patches import to_pixels
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.runs.plan import EncoderSpec
from maebench.seeding import stream

Masked = Callable[[Tensor, Tensor], Tensor]
"""uint8 images [N, C, H, W], hidden bool [N, h, w] -> float32 [N, C, H, W] in standard units, on the CPU.

Raises ValueError unless as many patches are hidden of each image.
"""
BATCH = 100  # images a forward pass


def masked_by(
    encoder: EncoderSpec, variant: Variant, shape: tuple[int, int, int], plugins: Path | None = None
) -> Masked:
    """The `Masked` of a trained variant for images (C, H, W): by its own masks where it asks for `hide`."""
    found = find("variants", encoder.variant.name, plugins)
    if "hide" not in found.asks:
        return by_hidden_pixels(variant)
    offered = {"shape": shape, **encoder.variant.settings}
    return by_its_masks(variant, lambda given: seeded(found, {**offered, **given.offers()}, encoder.seed or 0))


class Given:
    """The masks of the images at hand, on the variant's grid, which may be a finer one."""

    hidden: Tensor

    def offers(self) -> dict[str, Any]:
        """What a variant's `build` may ask for."""
        return {"hide": self.hide, "count": self.count, "report": None}

    def hide(self, images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        """A `Hide`."""
        return on_grid(self.hidden[: len(images)], grid).to(images.device)

    def count(self, grid: tuple[int, int]) -> int:
        """A `Count`."""
        return int(on_grid(self.hidden[:1], grid).sum())


def on_grid(hidden: Tensor, grid: tuple[int, int]) -> Tensor:
    """bool [N, h, w] -> bool [N, *grid], the same pixels hidden. Raises ValueError where the grid cannot say it."""
    (h, w), (rows, columns) = hidden.shape[1:], grid
    if rows % h or columns % w:
        raise ValueError(
            f"masks of {h} x {w} patches cannot be put on the variant's {rows} x {columns}; "
            "set the task's patch to a multiple of the variant's"
        )
    return hidden.repeat_interleave(rows // h, 1).repeat_interleave(columns // w, 2)


def by_its_masks(trained: Variant, build: Callable[[Given], Variant]) -> Masked:
    """Of a variant that `build` builds with these masks, anew for each call: it may keep how many are hidden."""

    @torch.inference_mode()
    def masked(images: Tensor, hidden: Tensor) -> Tensor:
        given = Given()
        given.hidden = hidden
        variant = build(given)
        variant.load_state_dict(trained.state_dict())
        variant.to(device_of(trained)).eval()

        def rebuild(pixels: Tensor, part: Tensor) -> Tensor:
            given.hidden = part
            return variant.reconstruct(pixels, stream(0, "masked")).painted

        return _in_batches(rebuild, images, hidden, device_of(trained))

    return masked


def by_hidden_pixels(variant: Variant) -> Masked:
    """Of a variant that is handed no `hide`: what is hidden is replaced before the variant sees it.

    A linear model counts it as its mean, and its own corruption is left out. Ours: any other variant sees mid grey, and
    reconstructs as it does in training, noise of its own included.
    """
    linear = next((part for part in variant.modules() if isinstance(part, LinearModel)), None)

    def rebuild(pixels: Tensor, part: Tensor) -> Tensor:
        gone = to_pixels(part[:, None], pixels.shape[2] // part.shape[1]).to(pixels.device)
        if linear:
            return linear.rebuild(linear.codes(pixels.masked_fill(gone, torch.nan)), pixels.shape)
        return variant.reconstruct(pixels.masked_fill(gone, 0), stream(0, "masked")).painted

    @torch.inference_mode()
    def masked(images: Tensor, hidden: Tensor) -> Tensor:
        variant.eval()
        return _in_batches(rebuild, images, hidden, device_of(variant))

    return masked


def _in_batches(
    rebuild: Callable[[Tensor, Tensor], Tensor], images: Tensor, hidden: Tensor, device: torch.device
) -> Tensor:
    counts = hidden.flatten(1).sum(1)
    if (counts != counts[:1]).any():
        raise ValueError("masks must hide as many patches of each image, since a variant may count on that")
    pairs = zip(torch.split(images, BATCH), torch.split(hidden, BATCH), strict=True)
    return torch.cat([rebuild(standardise(pixels.to(device)), part).float().cpu() for pixels, part in pairs])


def device_of(variant: Variant) -> torch.device:
    """Where its weights are; the CPU where it has none."""
    tensors = chain(variant.parameters(), variant.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
