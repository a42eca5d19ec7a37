"""Names and numbers -> a built variant, under its own seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from maebench.contracts import Hide, Variant, standardise
from maebench.declaration import OFFERED, Declaration
from maebench.models.patches import hide_nothing
from maebench.plugins import ask, find, load
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.seeding import stream, weights_under
from maebench.training.budget import Compile, Ratio
from maebench.training.masker import Masker, MaskingError, Strategy


def assemble(
    encoder: EncoderSpec, shape: tuple[int, int, int], plugins: Path | None = None, masker: Masker | None = None
) -> Variant:
    """Build the variant for images (C, H, W), weights drawn under the run's seed; the global generator is untouched.

    `masker`, by `masker_of`, is what a training steps along with the variant; None: one of its own.

    Raises ValueError where `build` fails, as for settings that the variant refuses: a patch that does not divide the
    image.
    """
    found = find("variants", encoder.variant.name, plugins)
    load(found)
    masker = masker or masker_of(encoder, plugins)
    if encoder.masking and "hide" not in found.asks:
        raise ValueError(f"variant {encoder.variant.name} cannot be masked: its build does not ask for `hide`")
    try:
        return attached(found, encoder.variant.settings, shape, masker, encoder.seed or 0, encoder.budget.compile)
    except ValueError as error:
        raise ValueError(f"variant {encoder.variant.name}: {error}") from None
    except Exception as error:
        cause = f"build raised {type(error).__name__}: {error}"
        raise ValueError(f"variant {encoder.variant.name}: {cause}") from error


def attached(
    found: Declaration,
    settings: Mapping[str, Any],
    shape: tuple[int, int, int],
    masker: Masker,
    seed: int,
    compiler: Compile = "none",
) -> Variant:
    """A variant that is handed the masks of `masker`, which is attached to it where it watches or learns."""
    offered: dict[str, Any] = masker.offers()
    if masker.strategy:
        offered["hide"] = on_unchanged_images(offered["hide"], masker.strategy.name)
    if compiler != "none":  # plug-ins draw on the CPU, where the compiler has no business
        offered["hide"] = torch.compiler.disable(offered["hide"])  # type: ignore[no-untyped-call]
    variant = seeded(found, {"shape": shape, **offered, **settings}, seed)
    if masker.strategy and masker.strategy.has_state and (grid := grid_of_masks(found, settings, shape)):
        masker.attach(variant, shape, grid)
    return variant


def seeded(found: Declaration, offered: Mapping[str, Any], seed: int) -> Variant:
    """Call the variant's `build`, its weights drawn under this seed. Raises ValueError where it gives no Variant."""
    with weights_under(seed, "weights"):
        variant = ask(load(found).build, offered)
    if not isinstance(variant, Variant):
        raise ValueError(f"build returned {type(variant).__name__}, no maebench Variant")
    return variant


def masker_of(encoder: EncoderSpec, plugins: Path | None = None) -> Masker:
    """The masks of a run's training; none where it has no masking."""
    if encoder.masking is None or encoder.ratio is None:
        return Masker()
    return Masker(strategy_of(encoder.masking, plugins), encoder.ratio, encoder.seed or 0)


def strategy_of(masking: Plugin, plugins: Path | None = None) -> Strategy:
    """A masking plug-in with its settings."""
    found = find("maskings", masking.name, plugins)
    module = load(found)
    functions: dict[str, Any] = {name: getattr(module, name) for name in OFFERED["maskings"] if name in found.functions}
    free, rate = found.constants.get("COUNT") == "free", float(found.constants.get("RATE", 1.0))
    return Strategy(masking.name, functions, found.asks, masking.settings, free=free, rate=rate)


def hide_by(masking: Plugin, ratio: Ratio, plugins: Path | None = None) -> Hide:
    """A masking strategy at one ratio, as a variant gets it at the end of a training."""
    hide: Hide = Masker(strategy_of(masking, plugins), ratio).offers()["hide"]
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
    grid = grid_of_masks(find("variants", encoder.variant.name, plugins), encoder.variant.settings, shape)
    return {"mask_grid": grid} if grid else {}


def grid_of_masks(
    found: Declaration, settings: Mapping[str, Any], shape: tuple[int, int, int]
) -> tuple[int, int] | None:
    """(h, w) of the patches that a variant's `hide` is asked for; None where it asks for none or cannot tell."""
    grids: list[tuple[int, int]] = []

    def note(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        grids.append(grid)
        return hide_nothing(images, grid, rng)

    if "hide" in found.asks:
        offered = {"shape": shape, **Masker().offers(), "hide": note, **settings}
        with torch.random.fork_rng(devices=[]):
            try:
                seeded(found, offered, 0).eval().reconstruct(torch.zeros(1, *shape), stream(0, "grid"))
            except Exception:
                return None
    return grids[0] if grids else None
