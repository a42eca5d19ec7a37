"""`maebench data fetch | verify`: the data sets behind a benchmark."""

from pathlib import Path

import typer

from maebench.cli.options import EPILOG, Plugins, Root, Settings, out_console, settings_of
from maebench.plugins import ask, find, load, plugins_folder
from maebench.training.threads import prepare

app = typer.Typer(no_args_is_help=True, help="Fetch or verify a data set.", epilog=EPILOG)


@app.command(epilog=EPILOG)
def fetch(name: str, data_root: Root = Path("data"), plugins: Plugins = None) -> None:
    """Download a data set into the data root, or say how to get it."""
    module = load(find("datasets", name, plugins_folder(plugins)))
    if not hasattr(module, "fetch"):
        out_console.print(f"{name}: {getattr(module, 'HOW_TO_GET', 'is generated, nothing to fetch')}", markup=False)
        return
    module.fetch(data_root)


@app.command(epilog=EPILOG)
def verify(
    name: str,
    data_root: Root = Path("data"),
    plugins: Plugins = None,
    settings: Settings = None,
) -> None:
    """Load all splits of a data set and print their sizes and checksums."""
    prepare(None)
    from maebench.runs import provenance
    from maebench.runs.config import full_settings

    found = find("datasets", name, plugins_folder(plugins))
    full = full_settings(found, settings_of(settings), "--set")
    for split in ("train", "val", "test"):
        loaded = ask(load(found).load, {"split": split, "root": data_root, **full})
        shape = " x ".join(map(str, loaded.images.shape))
        out_console.print(
            f"{split:5}  {shape}  {', '.join(loaded.targets)}  sha256 {provenance.checksum(loaded)}", soft_wrap=True
        )
