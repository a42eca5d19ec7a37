"""The door: `maebench list | check | plan | run | report | ...`. Heavy modules are imported on use."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from maebench import __version__
from maebench.cli import data, question, until_sure
from maebench.cli.compare import compare
from maebench.cli.export import export
from maebench.cli.options import (
    EPILOG,
    ConfigFile,
    Device,
    Out,
    Plugins,
    Root,
    Settings,
    Threads,
    err_console,
    out_console,
    settings_of,
)
from maebench.cli.plan import plan, planned
from maebench.cli.report import report, show
from maebench.cli.reproduce import reproduce
from maebench.cli.show import app as pictures
from maebench.declaration import KINDS, REQUIRED
from maebench.plugins import find, names, nearest, plugins_folder
from maebench.runs.records import RunsFailed
from maebench.training.threads import prepare

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    epilog=EPILOG,
    help="The benchmark for masked autoencoders at small scale.",
)


def _version(wanted: bool) -> None:
    if wanted:
        out_console.print(f"maebench {__version__}")
        raise typer.Exit


app.add_typer(data.app, name="data")
app.add_typer(pictures, name="show")


@app.callback()
def _top(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """Options before any command."""


@app.command("list", epilog=EPILOG)
def list_(
    kind: Annotated[str | None, typer.Argument(help="variants, maskings, tasks or datasets (default: all)")] = None,
    plugins: Plugins = None,
) -> None:
    """List the plug-ins that can be named in a config, broken ones with their error."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"list: no kind is called '{kind}'{nearest(kind, list(KINDS))}")
    for one in KINDS:
        if kind not in (None, one):
            continue
        table = Table("name", "what it is", "settings", title=one, title_justify="left", box=None, pad_edge=False)
        for found in names(one, plugins_folder(plugins)).values():
            settings = ", ".join(f"{name}={_default(value)}" for name, (_, value) in found.settings.items())
            summary = f"[red]broken: {escape(found.error)}[/red]" if found.error else escape(found.summary)
            table.add_row(escape(found.name), summary, escape(settings))
        out_console.print(table, "")


def _default(value: Any) -> str:
    return "(required)" if value is REQUIRED else str(value)


@app.command(epilog=EPILOG)
def check(name: str, plugins: Plugins = None, data_root: Root = Path("data"), settings: Settings = None) -> None:
    """Run the contract checks on one plug-in, of whatever kind."""
    folder = plugins_folder(plugins)
    kinds = [kind for kind in KINDS if name in names(kind, folder)]
    if not kinds:
        known = [one for kind in KINDS for one in names(kind, folder)]
        raise LookupError(f"check: no plug-in is called '{name}'{nearest(name, known)}")
    found = [find(kind, name, folder) for kind in kinds]
    prepare(None)
    from maebench.checks import contract

    failed = 0
    for one in found:
        for title, problem in contract.check(one, data_root, settings_of(settings)):
            mark = (
                f"[red]FAILED[/red]  {escape(title)}: {escape(problem)}"
                if problem
                else f"[green]ok[/green]      {escape(title)}"
            )
            out_console.print(mark, soft_wrap=True)
            failed += bool(problem)
    raise typer.Exit(1 if failed else 0)


app.command(epilog=EPILOG)(plan)


@app.command(epilog=EPILOG)
def run(
    config: ConfigFile = Path("quick.yaml"),
    out: Out = None,
    data_root: Root = Path("data"),
    plugins: Plugins = None,
    device: Device = None,
    threads: Threads = None,
    rows: until_sure.Rows = None,
    least: until_sure.Least = None,
    task: until_sure.Task = None,
    most: until_sure.Most = None,
) -> None:
    """Carry out a config and print its leaderboard. What is on disk already is not done again."""
    folder, plugins = out or Path("results") / config.stem, plugins_folder(plugins)
    wanted = until_sure.asked(rows, least, task, most)
    settings, specs = planned(config, plugins)
    allowance = prepare(threads)
    contest = wanted and question.ask(wanted, settings, specs, str(config), plugins)
    from maebench.runs.runner import carry_out

    command = shlex.join(["maebench", "run", config.name, *(wanted.words if wanted else ())])
    runner = carry_out(
        settings, specs, folder, data_root, plugins, device, err_console, command, allowance, str(config)
    )
    if runner.world.rank:
        return
    try:
        decision = until_sure.decide(contest, runner, str(config)) if contest else ""
    except RunsFailed:
        show(folder, folder)
        raise
    show(folder, folder)
    if decision:
        out_console.print(decision, markup=False, highlight=False, soft_wrap=True)
    runner.report_failures()


app.command(epilog=EPILOG)(report)
app.command(epilog=EPILOG)(compare)
app.command(epilog=EPILOG)(reproduce)
app.command(epilog=EPILOG)(export)


def main(words: list[str] | None = None) -> None:
    """Run a command; every mistake of the user is one line on standard error and exit code 2."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its fonts is not for users
    try:
        code = app(words, standalone_mode=False)
        if code == 130:  # how newer versions of typer hand on a Ctrl-C
            raise KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped; finished results are kept, and the same command goes on where it was", 130)
    except SystemExit as stop:  # how typer's own console, that of --help, answers a reader who leaves
        if not isinstance(stop.__context__, BrokenPipeError):
            _fail("a plug-in has ended the program by sys.exit; it must raise an error instead", 1)
        code = 0
    except RunsFailed as error:
        _fail(str(error), 1)
    except (KeyError, IndexError):
        raise
    except (ValueError, LookupError, OSError) as error:
        if os.environ.get("MAEBENCH_DEBUG"):
            raise
        _fail(" ".join(str(error).split()), 2)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message()}; see `maebench --help`", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    err_console.print(f"maebench: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
