"""What a plan takes before it is launched: seconds, memory and disk of the cells that are not on disk yet.

Ours: a real run of the same encoder on the same hardware, whatever its seed, is believed first; else a calibration is.
Not counted: loading the data, pictures, the report, and what the FLOP count and the matmul rate take.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from maebench.runs.calibration import Calibration, Need
from maebench.runs.plan import RunSpec
from maebench.runs.runner import Runner
from maebench.runs.scoring.cost import COST


@dataclass(frozen=True)
class Forecast:
    """What runs take, all together, that are alike but for the seed."""

    run: str
    runs: int
    pretrain: float
    """seconds"""
    tasks: float
    """seconds, without those in `unknown`"""
    unknown: tuple[str, ...]
    """tasks that no forecast is made for"""
    memory: float
    """peak MiB of one run"""
    disk: float
    """bytes that stay"""
    spare: float
    """bytes of the checkpoints of one run, until its training is done"""
    basis: str
    """"measured", "calibrated", or both"""

    @property
    def seconds(self) -> float:
        """Pretraining and tasks."""
        return self.pretrain + self.tasks


def forecast(runner: Runner, specs: Sequence[RunSpec]) -> list[Forecast]:
    """One row for runs that differ in the seed only; complete runs have none. Nothing is written.

    Raises ValueError, one line, where a variant, a masking or a task fails on a few images.
    """
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        if runner.missing(spec):
            groups.setdefault(_but_for_the_seed(spec), []).append(spec)
    calibration = Calibration(runner)
    rows = [_row(runner, calibration, group) for group in groups.values()]
    names = [row.run for row in rows]
    return [
        replace(row, run=f"{row.run} ({group[0].run_id})") if names.count(row.run) > 1 else row
        for row, group in zip(rows, groups.values(), strict=True)
    ]


def total(rows: Iterable[Forecast]) -> Forecast:
    """All rows in one: sums, and the largest peak and checkpoints, since runs follow one another."""
    rows = list(rows)
    return Forecast(
        "total",
        sum(row.runs for row in rows),
        sum(row.pretrain for row in rows),
        sum(row.tasks for row in rows),
        tuple(dict.fromkeys(name for row in rows for name in row.unknown)),
        max((row.memory for row in rows), default=0.0),
        sum(row.disk for row in rows),
        max((row.spare for row in rows), default=0.0),
        _words(row.basis for row in rows),
    )


def _but_for_the_seed(spec: RunSpec) -> str:
    return replace(spec, encoder=replace(spec.encoder, seed=None)).run_id


def _row(runner: Runner, calibration: Calibration, group: Sequence[RunSpec]) -> Forecast:
    pretrainings, cells, unknown, tasks = [], [], [], 0.0
    for spec in group:
        folder = runner.folder(spec)
        if folder.weights.exists():
            need = Need(0.0, snapshots=len(folder.snapshots), basis="measured")
        else:
            need = calibration.pretraining(spec.encoder)
        pretrainings.append(need)
        own = [
            (task.name, calibration.cell(spec.encoder, task, need.snapshots))
            for task in runner.missing(spec)
            if task != COST
        ]
        unknown += [name for name, cell in own if cell.seconds is None]
        tasks += sum(cell.seconds or 0.0 for _, cell in own) + max((cell.extract for _, cell in own), default=0.0)
        cells += [cell for _, cell in own]
    needs = [*pretrainings, *cells]
    return Forecast(
        replace(group[0], encoder=replace(group[0].encoder, seed=None)).label.rsplit(" ", 1)[0],
        len(group),
        sum(need.seconds or 0.0 for need in pretrainings),
        tasks,
        tuple(dict.fromkeys(unknown)),
        max(need.memory for need in needs),
        sum(need.disk for need in needs),
        max(need.spare for need in needs),
        _words(need.basis for need in needs if need.seconds),
    )


def _words(found: Iterable[str]) -> str:
    known = " + ".join(found)
    return " + ".join(word for word in ("measured", "calibrated") if word in known)
