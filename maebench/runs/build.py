"""Names and numbers -> a built variant, under its own seed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from maebench.contracts import Hide, Variant
from maebench.models.patches import hide_nothing, hide_top
from maebench.plugins import Declaration, ask, find, load
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.seeding import number
from maebench.training.timing import Tally


def assemble(
    encoder: EncoderSpec, shape: tuple[int, int, int], plugins: Path | None = None, masks: Tally | None = None
) -> Variant:
    """Build the variant for images (C, H, W), weights drawn under the run's seed; the global generator is untouched.

    `masks` counts the seconds that drawing masks takes.

    Raises ValueError for settings that the variant refuses, such as a patch that does not divide the image.
    """
    found = find("variants", encoder.variant.name, plugins)
    load(found)
    hide = (
        hide_by(encoder.masking, encoder.ratio, plugins)
        if encoder.masking and encoder.ratio is not None
        else hide_nothing
    )
    if encoder.masking and "hide" not in found.asks:
        raise ValueError(f"variant {encoder.variant.name} cannot be masked: its build does not ask for `hide`")
    if masks:
        hide = masks.around(hide)
    if encoder.budget.compile != "none":
        hide = torch.compiler.disable(hide)  # type: ignore[no-untyped-call]  # plug-ins draw on the CPU, where the compiler has no business
    try:
        return seeded(found, {"shape": shape, "hide": hide, **encoder.variant.settings}, encoder.seed or 0)
    except ValueError as error:
        raise ValueError(f"variant {encoder.variant.name}: {error}") from None


def seeded(found: Declaration, offered: Mapping[str, Any], seed: int) -> Variant:
    """Call the variant's `build`, its weights drawn under this seed. Raises ValueError where it gives no Variant."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number(seed, "weights"))  # weights are drawn on the CPU
        variant = ask(load(found).build, offered)
    if not isinstance(variant, Variant):
        raise ValueError(f"build returned {type(variant).__name__}, no maebench Variant")
    return variant


def hide_by(masking: Plugin, ratio: float, plugins: Path | None = None) -> Hide:
    """A masking strategy at one ratio: exactly `patches.hidden_count` patches of each image, on the images' device."""
    scores: Callable[..., Tensor] = load(find("maskings", masking.name, plugins)).scores

    def hide(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        result = ask(scores, {"images": images, "grid": grid, "rng": rng, **masking.settings})
        wanted = (len(images), *grid)
        if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
            given = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"masking {masking.name}: scores must be [B, h, w] = {list(wanted)}, not {given}")
        if result.isnan().any():
            raise ValueError(f"masking {masking.name}: scores hold NaN; a score must be a number, high = hide")
        return hide_top(result.to(images.device), ratio, rng)  # a GPU sorts faster than its host

    return hide
