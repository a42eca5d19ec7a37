"""`maebench data fetch | verify`: the data sets behind a benchmark."""

from pathlib import Path
from typing import Annotated

import typer

from maebench import discovery
from maebench.options import EPILOG, Plugins, Root, out_console, plugins_folder

app = typer.Typer(no_args_is_help=True, help="Fetch or verify a data set.", epilog=EPILOG)


@app.command(epilog=EPILOG)
def fetch(name: str, data_root: Root = Path("data"), plugins: Plugins = None) -> None:
    """Download a data set into the data root, or say how to get it."""
    module = discovery.load(discovery.find("datasets", name, plugins_folder(plugins)))
    if not hasattr(module, "fetch"):
        out_console.print(f"{name}: {getattr(module, 'HOW_TO_GET', 'is generated, nothing to fetch')}", markup=False)
        return
    module.fetch(data_root)


@app.command(epilog=EPILOG)
def verify(
    name: str,
    data_root: Root = Path("data"),
    plugins: Plugins = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the data set")
    ] = None,
) -> None:
    """Load all splits of a data set and print their sizes and checksums."""
    from maebench import provenance
    from maebench.config import full_settings

    found = discovery.find("datasets", name, plugins_folder(plugins))
    given = dict(pair.partition("=")[::2] for pair in set_ or [])
    settings = full_settings(found, given, "--set")
    for split in ("train", "val", "test"):
        loaded = discovery.ask(discovery.load(found).load, {"split": split, "root": data_root, **settings})
        shape = " x ".join(map(str, loaded.images.shape))
        out_console.print(
            f"{split:5}  {shape}  {', '.join(loaded.targets)}  sha256 {provenance.checksum(loaded)}", soft_wrap=True
        )
