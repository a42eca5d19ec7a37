"""`maebench compare`: two rows of leaderboards, and how sure their difference is."""

from pathlib import Path
from typing import Annotated

import typer

from maebench.cli.options import err_console, out_console

Elsewhere = Annotated[
    Path | None, typer.Option("--out", help="Write compare.md, compare.csv and compare.png there (default: nowhere)")
]
Label = "words of the label of a row: variant, settings, masking, ratio"


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f'{Label}, as "vit_mae uniform 0.75"')],
    b: Annotated[str, typer.Argument(metavar="B", help="The same of the row that it is compared with")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder")],
    other: Annotated[Path | None, typer.Argument(metavar="DIR2", help="The results folder of B (default: DIR)")] = None,
    out: Elsewhere = None,
) -> None:
    """Compare two rows task by task: the difference, its 95% interval, and what could have been seen."""
    for one in (folder, other or folder):
        if not one.is_dir():
            raise ValueError(f"{one}: is no folder; name one that `maebench run` has written to")
    from maebench.leaderboard.comparison import compare as comparing
    from maebench.leaderboard.report import read

    left = read(folder)
    right = left if other is None else read(other)
    for warning in dict.fromkeys([*left.warnings, *right.warnings]):
        err_console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    found = comparing.compare(left, right, a, b)
    for line in found.warnings:
        err_console.print(f"warning: {line}", markup=False, soft_wrap=True)
    for line in found.sentences:
        out_console.print(line, markup=False, highlight=False, soft_wrap=True)
    if out:
        try:
            paths = comparing.write(found, out)
        except OSError as error:
            raise ValueError(f"--out {out}: cannot be written to ({error.strerror}); name another folder") from error
        out_console.print("files: " + ", ".join(map(str, paths)), markup=False, soft_wrap=True)
