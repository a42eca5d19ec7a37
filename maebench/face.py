"""What `import maebench` offers beside types: plan, run and build, for scripts and notebooks."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import pandas as pd
from rich.console import Console

from maebench.contracts import Variant
from maebench.leaderboard.results import Results
from maebench.plugins import find, plugins_folder
from maebench.runs import plan as planning
from maebench.runs.build import attached, strategy_of
from maebench.runs.config import Config, full_settings, make_config, named, read_config
from maebench.runs.runner import carry_out
from maebench.training.masker import Masker, Strategy
from maebench.training.threads import prepare

Settings = str | Path | Mapping[str, Any]
"""A config: the path of a YAML file, the name of a built-in one, or its content."""


class Plan(Sequence[planning.RunSpec]):
    """The runs that a config asks for; a table of them in a notebook. Final."""

    def __init__(self, config: Config, specs: Sequence[planning.RunSpec]) -> None:
        self.config, self.specs = config, tuple(specs)

    @overload
    def __getitem__(self, index: int) -> planning.RunSpec: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[planning.RunSpec]: ...
    def __getitem__(self, index: int | slice) -> planning.RunSpec | Sequence[planning.RunSpec]:
        """One of the runs, or some."""
        return self.specs[index]

    def __len__(self) -> int:
        """How many runs."""
        return len(self.specs)

    @property
    def table(self) -> pd.DataFrame:
        """A row each run: its id, what it is, the settings of its variant, its tasks."""
        rows = [
            {
                "run id": spec.run_id,
                "run": spec.label.rsplit(" ", 1)[0],
                "settings": " ".join(f"{key}={value}" for key, value in spec.encoder.variant.settings.items()),
                "tasks": ", ".join(task.name for task in spec.tasks),
            }
            for spec in self.specs
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def __repr__(self) -> str:
        """The table in plain text."""
        return str(self.table.to_string(index=False))

    def _repr_html_(self) -> str:
        return str(self.table.to_html(index=False, border=0))


def plan(config: Settings, *, plugins: str | Path | None = None) -> Plan:
    """The runs that a config asks for. Raises ValueError, one line, for anything that is wrong with it."""
    where = "config" if isinstance(config, Mapping) else str(config)
    settings = make_config(config, where) if isinstance(config, Mapping) else read_config(Path(config))
    return Plan(settings, planning.make(settings, where, _folder(plugins)))


def run(
    config: Settings,
    out: str | Path,
    *,
    data_root: str | Path = "data",
    plugins: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Results:
    """Carry out a config in the folder `out` -> its results; what is on disk already is not done again.

    `device` is "auto", "cpu" or "cuda"; None: the config's. `threads` of the CPU; None: chosen by a short trial, for
    all that torch does in this process from then on. Raises ValueError or LookupError, one line, before any work
    is done, and RunsFailed, once all other cells are, where one failed: `maebench.results(out)` then has the rest.
    """
    known, folder = plan(config, plugins=plugins), Path(out)
    console = Console(stderr=True, force_jupyter=False, force_terminal=sys.stderr.isatty())  # plain lines in a notebook
    root, allowance = Path(data_root), prepare(threads)
    runner = carry_out(known.config, known, folder, root, _folder(plugins), device, console, "maebench.run", allowance)
    runner.report_failures()
    return Results(folder)


def build(
    variant: str,
    *,
    shape: tuple[int, int, int],
    masking: str | Mapping[str, Mapping[str, Any]] | None = None,
    ratio: float | None = None,
    seed: int = 0,
    plugins: str | Path | None = None,
    **settings: Any,
) -> Variant:
    """An untrained variant for images (C, H, W), its weights drawn under the seed; torch's own generator is untouched.

    `masking` is the name of a strategy, or {name: settings}, and goes with a masking ratio. Raises LookupError for an
    unknown name, ValueError for a setting that the variant or the strategy does not have or refuses.
    """
    folder = _folder(plugins)
    declaration = find("variants", variant, folder)
    masker = Masker()
    if masking is not None or ratio is not None:
        if masking is None or ratio is None or "hide" not in declaration.asks:
            raise ValueError(f"build: {variant} takes masking and ratio together, and only where it can be masked")
        masker = Masker(_strategy(masking, ratio, folder), ratio, seed)
    return attached(declaration, full_settings(declaration, settings, "build"), shape, masker, seed)


def _folder(plugins: str | Path | None) -> Path | None:
    return plugins_folder(None if plugins is None else Path(plugins))


def _strategy(masking: str | Mapping[str, Mapping[str, Any]], ratio: float, plugins: Path | None) -> Strategy:
    if not 0 <= ratio < 1:
        raise ValueError(f"build: ratio {ratio} is not a share of the patches; give 0 or more and less than 1")
    strategy = named(masking)
    full = full_settings(find("maskings", strategy.name, plugins), strategy.settings, "build")
    return strategy_of(planning.Plugin(strategy.name, full, ""), plugins)
