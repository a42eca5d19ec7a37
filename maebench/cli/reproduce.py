"""`maebench reproduce`: the papers' figures and claims, one by one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from maebench.cli.options import Device, Out, Root, Threads, err_console, out_console
from maebench.papers.names import NAMES
from maebench.runs.records import RunsFailed
from maebench.training.threads import prepare

if TYPE_CHECKING:
    from maebench.papers.claims import Outcome
    from maebench.papers.page import Reproduced

Figures = Annotated[
    list[str] | None, typer.Argument(metavar="FIGURE", help=f"Numbers (7a) or names (default: all): {', '.join(NAMES)}")
]
BudgetName = Annotated[Literal["quick", "full"], typer.Option("--budget", help="quick: 2 CPU cores; full: a GPU")]
COLOURS = {"holds": "green", "contradicted": "red", "not shown": "yellow", "not run": "dim"}


def reproduce(
    figures: Figures = None,
    budget: BudgetName = "quick",
    out: Out = None,
    data_root: Root = Path("data"),
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Reproduce the papers' figures, each with its claims and a verdict; reproduction.md and .html collect them."""
    allowance = prepare(threads)
    from maebench.papers import page
    from maebench.papers.experiments import Experiments
    from maebench.papers.reproduce import chosen, every
    from maebench.papers.reproduce import reproduce as carry_out
    from maebench.runs.folder import make_writable, unlocked
    from maebench.runs.progress import Progress
    from maebench.runs.runner import Runner
    from maebench.training.devices import pick_device

    known = every()
    wanted = chosen(figures or (), known)
    folder = out or Path("results") / f"reproduce_{budget}"
    make_writable(folder)
    for line in unlocked(folder):
        err_console.print(f"warning: {line}", markup=False, soft_wrap=True)
    command = f"maebench reproduce {' '.join([*(figures or ()), '--budget', budget])}"
    where = pick_device(device or "auto")
    if budget == "full" and where.type == "cpu":
        err_console.print("full: figures that train ViTs take months on a CPU; --budget quick: half an hour")
    runner = Runner(folder / "runs", data_root, None, where, Progress(err_console), command, threads=allowance)
    failures = carry_out(wanted, Experiments(runner), budget, folder, command)
    shown = page.read_figures(folder, list(known))
    paths = page.write_page(shown, folder)
    _show(page.by_outcome(shown))
    out_console.print("files: " + ", ".join(map(str, paths)), markup=False, soft_wrap=True)
    if failures:
        raise RunsFailed(f"{len(failures)} of {len(wanted)} figures could not be made, the first: {failures[0]}")


def _show(groups: "Mapping[Outcome, Sequence[tuple[Reproduced, str]]]") -> None:
    """The claims, sorted by verdict, and how many there are of each."""
    table = Table("figure", "claim", "verdict", "number", box=None, pad_edge=False)
    for outcome, claims in groups.items():
        for figure, key in claims:
            verdict = Text(outcome, COLOURS[figure.findings[key].verdict])
            number = Text(figure.findings[key].number)
            table.add_row(", ".join(figure.figures), Text(figure.claims[key]), verdict, number)
    out_console.print(table)
    counts = [f"{len(claims)} {outcome}" for outcome, claims in groups.items() if claims]
    out_console.print("claims: " + "; ".join(counts), markup=False, soft_wrap=True)
