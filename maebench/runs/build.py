"""Names and numbers -> a built variant, under its own seed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from maebench.contracts import Hide, Variant, standardise
from maebench.declaration import Declaration
from maebench.models.patches import hide_nothing, hide_top
from maebench.plugins import ask, find, load
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.seeding import number, stream
from maebench.training.timing import Tally


class MaskingError(ValueError):
    """A masking strategy refuses its settings or the grid."""


def assemble(
    encoder: EncoderSpec, shape: tuple[int, int, int], plugins: Path | None = None, masks: Tally | None = None
) -> Variant:
    """Build the variant for images (C, H, W), weights drawn under the run's seed; the global generator is untouched.

    `masks` counts the seconds that drawing masks takes.

    Raises ValueError where `build` fails, as for settings that the variant refuses: a patch that does not divide the
    image.
    """
    found = find("variants", encoder.variant.name, plugins)
    load(found)
    hide: Hide = hide_nothing
    if encoder.masking and encoder.ratio is not None:
        hide = on_unchanged_images(hide_by(encoder.masking, encoder.ratio, plugins), encoder.masking.name)
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
    except Exception as error:
        cause = f"build raised {type(error).__name__}: {error}"
        raise ValueError(f"variant {encoder.variant.name}: {cause}") from error


def seeded(found: Declaration, offered: Mapping[str, Any], seed: int) -> Variant:
    """Call the variant's `build`, its weights drawn under this seed. Raises ValueError where it gives no Variant."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number(seed, "weights"))  # weights are drawn on the CPU
        variant = ask(load(found).build, offered)
    if not isinstance(variant, Variant):
        raise ValueError(f"build returned {type(variant).__name__}, no maebench Variant")
    return variant


def hide_by(masking: Plugin, ratio: float, plugins: Path | None = None) -> Hide:
    """A masking strategy at one ratio: exactly `patches.hidden_count` patches of each image, on the images' device.

    It raises MaskingError where the strategy raises ValueError, and ValueError for scores that break the contract.
    """
    scores: Callable[..., Tensor] = load(find("maskings", masking.name, plugins)).scores

    def hide(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        try:
            result = ask(scores, {"images": images, "grid": grid, "rng": rng, **masking.settings})
        except ValueError as error:
            raise MaskingError(f"masking {masking.name}: {error}") from error
        wanted = (len(images), *grid)
        if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
            given = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"masking {masking.name}: scores must be [B, h, w] = {list(wanted)}, not {given}")
        if result.isnan().any():
            raise ValueError(f"masking {masking.name}: scores hold NaN; a score must be a number, high = hide")
        return hide_top(result.to(images.device), ratio, rng)  # a GPU sorts faster than its host

    return hide


def on_unchanged_images(hide: Hide, name: str) -> Hide:
    """The same `hide`; raises ValueError where the strategy changes images in place, on which the loss is taken."""

    def guarded(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        state = images._version
        hidden = hide(images, grid, rng)
        if images._version != state:
            raise ValueError(f"masking {name}: has changed images in place; work on a copy")
        return hidden

    return guarded


def refuse_masks(variant: Variant, images: Tensor) -> None:
    """Raise MaskingError where the strategy refuses, by the loss of two of the images, uint8 [N, C, H, W].

    What else goes wrong there is no matter of settings: it stays for the run, whose rows it spoils, and no others.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            variant.loss(standardise(images[:2]), stream(0, "refuse"))
        except MaskingError:
            raise
        except (Exception, SystemExit):
            return


def mask_grid(encoder: EncoderSpec, shape: tuple[int, int, int], plugins: Path | None = None) -> dict[str, Any]:
    """What a task's `check` can ask for as `mask_grid`: (h, w) of the patches that the variant's `hide` is asked for.

    Nothing where it is handed none, or cannot reconstruct yet.
    """
    grids: list[tuple[int, int]] = []

    def note(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        grids.append(grid)
        return hide_nothing(images, grid, rng)

    found = find("variants", encoder.variant.name, plugins)
    if "hide" in found.asks:
        with torch.random.fork_rng(devices=[]):
            try:
                variant = seeded(found, {"shape": shape, "hide": note, **encoder.variant.settings}, 0)
                variant.eval().reconstruct(torch.zeros(1, *shape), stream(0, "grid"))
            except Exception:
                return {}
    return {"mask_grid": grids[0]} if grids else {}
