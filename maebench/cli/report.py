"""`maebench report`: the leaderboard of a results folder, printed and written again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from maebench.cli.options import err_console, out_console

Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="TASK=VALUE", help="Also say when a task's headline metric reaches a value; can be repeated"
    ),
]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder")], target: Targets = None
) -> None:
    """Print the leaderboard of a results folder and write its files again."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; name one that `maebench run` has written to")
    show(folder, target or ())


def show(folder: Path, targets: Sequence[str] = ()) -> None:
    """Write the report of a results folder and print its boards."""
    from maebench.leaderboard import pages
    from maebench.leaderboard import report as files

    written = files.write_all(folder, targets)
    for warning in written.warnings:
        err_console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    for board in written.boards:
        out_console.print(pages.terminal(board, out_console.width, written.targets))
    out_console.print("files: " + ", ".join(str(path) for path in written.paths), markup=False, soft_wrap=True)
