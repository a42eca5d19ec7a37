"""`maebench show masks`: what masking strategies hide, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maebench.cli.options import EPILOG, Plugins, Root, Settings, err_console, out_console, settings_of
from maebench.declaration import Declaration
from maebench.plugins import find, names, plugins_folder
from maebench.training.threads import prepare

if TYPE_CHECKING:
    from typing import Any

    from torch import Generator, Tensor

    from maebench.runs.drawing import Masked

DEMO = Path("quick.yaml")

app = typer.Typer(no_args_is_help=True, help="Draw what a config names.", epilog=EPILOG)
Strategies = Annotated[
    list[str] | None, typer.Argument(metavar="STRATEGY", help="Masking strategies (default: all that there are)")
]
Ratio = Annotated[float, typer.Option("--ratio", help="Masking ratio, from 0 to below 1")]
Progress = Annotated[
    float,
    typer.Option("--progress", min=0, max=1, help="Share of the training that is done"),
]
Patch = Annotated[int, typer.Option("--patch", help="Patch size, in pixels")]
Dataset = Annotated[str | None, typer.Option("--dataset", help=f"Data set, as it is by default (default: {DEMO}'s)")]
Picture = Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture to write")]


@app.command(epilog=EPILOG)
def masks(
    strategies: Strategies = None,
    ratio: Ratio = 0.75,
    progress: Progress = 1.0,
    patch: Patch = 4,
    dataset: Dataset = None,
    out: Picture = Path("masks.png"),
    data_root: Root = Path("data"),
    plugins: Plugins = None,
    settings: Settings = None,
) -> None:
    """Draw masks of strategies on images, and how often each hides each position."""
    from maebench.runs.config import full_settings, read_config

    folder = plugins_folder(plugins)
    found = [find("maskings", name, folder) for name in strategies or names("maskings", folder)]
    data = find("datasets", dataset or read_config(DEMO).tracks[0].dataset.name, folder)
    if not 0 <= ratio < 1:
        raise ValueError(f"--ratio {ratio:g}: a masking ratio is 0 or more, and below 1")
    if out.suffix != ".png":
        raise ValueError(f"--out {out}: the picture is a PNG; give it a name that ends in .png")
    given = settings_of(settings)
    if given and len(found) != 1:
        raise ValueError("--set: is for one strategy; name it")
    chosen = [full_settings(one, given, "--set") for one in found]
    prepare(None)
    from maebench.data.reading.splits import load_splits
    from maebench.runs import drawing

    err_console.print(f"loading {data.name} (prepared once, then cached)", markup=False, highlight=False)
    images = load_splits(data, full_settings(data, {}, data.name), data_root)["train"].images
    pairs = zip(found, chosen, strict=True)
    drawing.masks(out, [_row(one, full, ratio, progress, patch, images, folder) for one, full in pairs])
    out_console.print(f"files: {out}", markup=False, soft_wrap=True)


def _row(
    strategy: Declaration,
    settings: "dict[str, Any]",
    ratio: float,
    progress: float,
    patch: int,
    images: "Tensor",
    plugins: Path | None,
) -> "Masked":
    """The masks of a strategy, by the same path as in a run; one that watches an encoder watches an untrained one."""
    from maebench.models.patches import grid_of, seen_pixels
    from maebench.runs.build import attached, strategy_of
    from maebench.runs.config import full_settings, read_config
    from maebench.runs.masks import masked
    from maebench.runs.plan import Plugin
    from maebench.training.masker import Masker

    channels, height, width = images.shape[1:]
    grid = grid_of((channels, height, width), patch)
    masker = Masker(strategy_of(Plugin(strategy.name, settings, ""), plugins), ratio)
    title = strategy.name
    if masker.strategy and masker.strategy.has_state:
        named = next(one for one in read_config(DEMO).variants if "hide" in find("variants", one.name).asks)
        variant = find("variants", named.name)
        sizes = full_settings(variant, {**named.settings, "patch": patch}, named.name)
        attached(variant, sizes, (channels, height, width), masker, 0)
        title += f" (untrained {variant.name})"
    if "progress" in strategy.asks:
        title += f" at progress {progress:g}"
    masker.prepare(images)
    masker.begin(progress, 0.5)

    def see(part: "Tensor", rng: "Generator") -> "Tensor":
        return seen_pixels(part, masker.hide(part, grid, rng), patch)

    return masked(see, images, title, settings, ratio)
