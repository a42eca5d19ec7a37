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


Elsewhere = Annotated[Path | None, typer.Option("--out", help="Write its files there (default: into DIR)")]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder")],
    target: Targets = None,
    out: Elsewhere = None,
) -> None:
    """Print the leaderboard of a results folder and write its files again."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; name one that `maebench run` has written to")
    show(folder, out or folder, target or ())


def show(folder: Path, out: Path, targets: Sequence[str] = ()) -> None:
    """Print the boards of a results folder and write its report into `out`.

    Raises ValueError, once they are printed, where nothing can be written there.
    """
    from maebench.leaderboard import pages
    from maebench.leaderboard import report as files

    results = files.read(folder, targets)
    for warning in results.warnings:
        err_console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    for board in results.boards:
        out_console.print(pages.terminal(board, out_console.width, results.targets))
    try:
        paths = files.write(results, out)
    except OSError as error:
        todo = f"`maebench report {folder} --out DIR` writes the files of the report to another folder"
        raise ValueError(f"{out}: cannot be written to ({error.strerror}); {todo}") from error
    out_console.print("files: " + ", ".join(map(str, paths)), markup=False, soft_wrap=True)
