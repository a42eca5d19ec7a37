"""`maebench plan`: the runs of a config, or with `--forecast` what they take, before anything is launched."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from maebench.cli.options import ConfigFile, Device, Out, Plugins, Root, Threads, err_console, out_console
from maebench.plugins import plugins_folder
from maebench.training.threads import Allowance, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from maebench.runs.config import Config
    from maebench.runs.forecast import Forecast
    from maebench.runs.plan import RunSpec


Try = Annotated[bool, typer.Option("--forecast", help="Try each part shortly: time, memory and disk of the runs")]


def plan(
    config: ConfigFile = Path("quick.yaml"),
    forecast: Try = False,
    out: Out = None,
    data_root: Root = Path("data"),
    plugins: Plugins = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Print the runs that a config asks for, or what they would take, without doing any."""
    settings, specs = planned(config, plugins_folder(plugins))
    if forecast:
        folder = out or Path("results") / config.stem
        prepared, where = prepare(threads), device or settings.device
        return _forecast(str(config), specs, folder, data_root, plugins_folder(plugins), where, prepared)
    if idle := [name for name, given in (("out", out), ("device", device), ("threads", threads)) if given]:
        raise ValueError(f"plan: --{idle[0]} says something with --forecast only; add that")
    table = Table("run id", "run", "settings", "tasks", box=None, pad_edge=False)
    for spec in specs:
        variant, masking = spec.encoder.variant, spec.encoder.masking
        chosen = _words(variant.settings) + (f"; {_words(masking.settings)}" if masking and masking.settings else "")
        table.add_row(
            spec.run_id, escape(spec.label.rsplit(" ", 1)[0]), escape(chosen), ", ".join(t.name for t in spec.tasks)
        )
    out_console.print(table)
    out_console.print(
        f"{len(specs)} runs, {sum(len(spec.tasks) + 1 for spec in specs)} cells (each run has a cost cell)"
    )


def _words(settings: "Mapping[str, Any]") -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())


def planned(path: Path, plugins: Path | None) -> "tuple[Config, tuple[RunSpec, ...]]":
    """A config and its runs."""
    from maebench.runs import config
    from maebench.runs import plan as runs

    settings = config.read_config(path)
    return settings, runs.make(settings, str(path), plugins)


def _forecast(
    config: str,
    specs: "Sequence[RunSpec]",
    out: Path,
    root: Path,
    plugins: Path | None,
    device: str,
    allowance: Allowance,
) -> None:
    from maebench.runs import provenance
    from maebench.runs.forecast import forecast
    from maebench.runs.progress import Progress
    from maebench.runs.runner import Runner
    from maebench.training.devices import pick_device

    where, start = pick_device(device), time.perf_counter()
    runner = Runner(out, root, plugins, where, Progress(err_console), "", threads=allowance)
    todo = [spec for spec in specs if runner.missing(spec)]
    runner.check(todo, config)
    runner.settle(todo)
    rows = forecast(runner, todo)
    if out.is_dir():
        out_console.print(f"{len(specs) - len(todo)} of {len(specs)} runs are complete in {out}", soft_wrap=True)
    if rows:
        out_console.print(_table(rows))
        out_console.print(f"{summary(rows)}, on {provenance.describe(where)['device_name']}", soft_wrap=True)
    out_console.print(f"forecast made in {duration(time.perf_counter() - start)}; nothing was written to {out}")


def _table(rows: "Sequence[Forecast]") -> Table:
    table = Table("run", box=None, pad_edge=False)
    for title in ("n", "pretrain", "tasks", "total", "peak memory", "disk"):
        table.add_column(title, justify="right")
    table.add_column("basis")
    for row in rows:
        unknown = [f"+ {name}?" for name in row.unknown]
        tasks = " ".join([duration(row.tasks), *unknown])
        times = duration(row.pretrain), tasks, duration(row.seconds) + (" + ?" if unknown else "")
        table.add_row(escape(row.run), str(row.runs), *times, memory(row.memory), disk(row.disk), row.basis)
    return table


def summary(rows: "Sequence[Forecast]") -> str:
    """All rows in a few words."""
    from maebench.runs.forecast import total

    one = total(rows)
    spare = f" (and up to {disk(one.spare)} more of checkpoints while training)" if one.spare else ""
    unknown = f"; not forecast: {', '.join(one.unknown)}" if one.unknown else ""
    return f"about {duration(one.seconds)}, peak {memory(one.memory)}, {disk(one.disk)} on disk{spare}{unknown}"


def duration(seconds: float) -> str:
    """Seconds for people: "0.4 s", "14 s", "3.2 min", "14 min", "7.5 h", "3.1 days"."""
    largest = [("days", 86400, 48 * 3600), ("h", 3600, 5970), ("min", 60, 99.5), ("s", 1, 0.0)]
    unit, size = next((unit, size) for unit, size, least in largest if seconds >= least)
    return f"{_short(seconds / size)} {unit}"


def memory(mebibytes: float) -> str:
    """MiB for people; a dash where none was measured."""
    if not mebibytes:
        return "-"
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1000 else f"{mebibytes:.0f} MiB"


def disk(size: float) -> str:
    """Bytes for people, in thousands."""
    power = next((power for power in (4, 3, 2, 1) if size >= 999.5 * 1000 ** (power - 1)), 0)
    return f"{_short(size / 1000**power)} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _short(value: float) -> str:
    return f"{value:.{1 if 0 < value < 9.95 else 0}f}"
