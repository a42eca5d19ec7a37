"""`maebench report`: the leaderboard of a results folder, printed and written again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from maebench.cli.options import err_console, out_console

Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="TASK=VALUE", help="Also say when a task's headline metric reaches a value; can be repeated"
    ),
]


Scale = Literal["raw", "scaled"]
Scores = Annotated[
    Scale, typer.Option("--scores", help="raw: as measured; scaled: 0 at the floor and 1 at the ceiling of a task")
]
Elsewhere = Annotated[Path | None, typer.Option("--out", help="Write its files there (default: into DIR)")]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder")],
    target: Targets = None,
    out: Elsewhere = None,
    scores: Scores = "raw",
) -> None:
    """Print the leaderboard of a results folder and write its files again."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; name one that `maebench run` has written to")
    show(folder, out or folder, target or (), scores)


def show(folder: Path, out: Path, targets: Sequence[str] = (), scale: Scale = "raw") -> None:
    """Print the boards of a results folder and write its report into `out`.

    Raises ValueError, once they are printed, where nothing can be written there.
    """
    from maebench.leaderboard import pages
    from maebench.leaderboard import report as files

    results = files.read(folder, targets, scale)
    for warning in results.warnings:
        err_console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    for board in results.boards:
        out_console.print(pages.terminal(board, out_console.width, results.targets, results.scale))
    try:
        paths = files.write(results, out)
    except OSError as error:
        todo = f"`maebench report {folder} --out DIR` writes the files of the report to another folder"
        raise ValueError(f"{out}: cannot be written to ({error.strerror}); {todo}") from error
    out_console.print("files: " + ", ".join(map(str, paths)), markup=False, soft_wrap=True)
