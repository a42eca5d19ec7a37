"""`maebench export`: a trained encoder for use elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from maebench.cli.options import Plugins, out_console
from maebench.plugins import plugins_folder


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, RESULTS/RUN_ID")],
    to: Annotated[str, typer.Option("--to", help="timm (its VisionTransformer), or safetensors (our own names)")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files (default: that of the run)")] = None,
    plugins: Plugins = None,
) -> None:
    """Write the encoder of a run as safetensors, with a JSON beside it that says how to use it."""
    from maebench.runs import encoders

    paths = encoders.export(run, to, out, plugins_folder(plugins))
    out_console.print("files: " + ", ".join(str(path) for path in paths), markup=False, soft_wrap=True)
