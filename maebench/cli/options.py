"""The options that several commands share, and the consoles."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

EPILOG = "Exit codes: 0 fine, 1 some cells or checks failed, 2 bad usage or input, 130 stopped by Ctrl-C."


class PatientConsole(Console):
    """A console whose reader may leave, as `| head` does: it falls silent, and the command ends as it would have."""

    def on_broken_pipe(self) -> None:
        """What rich calls then; its own answer is to end the program with exit code 1."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())  # or Python itself fails at the last flush


out_console = PatientConsole()
err_console = PatientConsole(stderr=True)

Plugins = Annotated[
    Path | None, typer.Option("--plugins", help="Folder of your plug-ins (default: ./variants, if there)")
]
Root = Annotated[
    Path, typer.Option("--data-root", envvar="MAEBENCH_DATA", help="Folder that holds data archives", show_default=True)
]
Out = Annotated[Path | None, typer.Option("--out", help="Results folder (default: results/NAME OF THE CONFIG)")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the plug-in; can be repeated")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads (default: OMP_NUM_THREADS, else as many cores as help)"),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda (default: the config's)")]
ConfigFile = Annotated[
    Path, typer.Argument(help="YAML file, or a built-in one by its name (default: quick.yaml)", show_default=False)
]


def settings_of(given: list[str] | None) -> dict[str, Any]:
    """["size=64", "widths=[16, 32]"] -> {"size": "64", "widths": [16, 32]}. Raises ValueError for one without "="."""
    pairs = [pair.partition("=") for pair in given or []]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ValueError(f"--set {wrong[0]}: write KEY=VALUE")
    return {key: _listed(key, value) if value.startswith("[") else value for key, _, value in pairs}


def _listed(key: str, value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        raise ValueError(f'--set {key}={value}: is no list; write [16, 32] or ["a", "b"]') from None
