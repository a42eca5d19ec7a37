"""Immutable result rows on disk: one JSON line a metric, one file a cell, whole or absent. Standard library only."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

SCHEMA = 3  # 2 added `phases`, 3 lets `ratio` be words; older rows are still read


@dataclass(frozen=True)
class Metric:
    """One number: its name, value, unit, which direction is better, and whether it is the task's headline."""

    name: str
    value: float | None
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    headline: bool = False


@dataclass(frozen=True)
class ResultRecord:
    """One metric of one cell, with everything that is needed to know what was run, on what, and at which cost."""

    run_id: str
    dataset: str
    dataset_settings: dict[str, Any]
    variant: str
    settings: dict[str, Any]
    """every setting of the variant, defaults included"""
    masking: str | None
    masking_settings: dict[str, Any]
    ratio: float | str | None
    """the masking ratio, or how it changes, see `training.budget.Ratio`"""
    seed: int | None
    """None for a variant in which nothing is random"""
    budget: dict[str, Any]
    """pretraining steps, batch, learning rate ...; empty for a variant that is not trained by gradient"""
    floor: bool
    """True for a row that any trained row must beat: untrained, raw pixels, blank"""
    task: str
    """a task's name, or "cost" """
    task_version: int
    task_settings: dict[str, Any]
    readout: str
    """how features became guesses ("global", "per patch", "pooled"); empty for cost"""
    seconds: float
    """wall time of this cell"""
    metric: Metric | None
    """None where the cell failed"""
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    """seconds of this cell by phase: "extract", "probe", "eval" """
    schema: int = SCHEMA


class RunsFailed(RuntimeError):
    """Some cells could not be completed; their records say why."""


def write_whole(path: Path, data: bytes) -> None:
    """Write under a draft name, flush to the disk, then rename: the file is whole or absent, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[ResultRecord]) -> None:
    """Write the rows of one cell, whole or not at all."""
    write_whole(path, "".join(json.dumps(asdict(row), allow_nan=False) + "\n" for row in rows).encode())


def write_failure(path: Path, row: ResultRecord) -> None:
    """Write the row of a cell that failed, whatever it holds: what JSON lacks, such as infinity, becomes text."""
    plain = json.loads(json.dumps(asdict(row), default=str, skipkeys=True), parse_constant=str)
    write_whole(path, (json.dumps(plain) + "\n").encode())


def read_rows(path: Path) -> Iterator[ResultRecord]:
    """The rows of one file. Raises ValueError, naming file and line, for one that is not a result row, or for none."""
    mend = "the same `maebench run` makes it again"
    lines = path.read_bytes().splitlines()
    if not lines:
        raise ValueError(f"{path} is empty; {mend}")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            metric = row["metric"] and Metric(**row["metric"])
            if metric and not isinstance(metric.value, float | int | None):
                raise TypeError(f"the value is {metric.value!r}")
            yield ResultRecord(**{**row, "metric": metric})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}:{number} is not a result row of maebench ({error}); {mend}") from None


def cell_rows(path: Path) -> list[ResultRecord]:
    """The rows of a cell; none where its file is not there, empty or damaged: then the cell is still to be done."""
    try:
        return list(read_rows(path))
    except (FileNotFoundError, ValueError):
        return []


def misplaced(folder: Path) -> list[str]:
    """A line for each place in a results folder whose results are not read, since they are not in folder/<run id>/."""
    runs = {path.parent for path in folder.rglob("*@*.jsonl")}
    lines = [f"{folder} is the folder of one run; name the one that it is in"] if folder in runs else []
    for place, count in sorted(Counter(run.parent for run in runs - {folder}).items()):
        if place != folder:
            which = f"{count} run{'s' * (count > 1)}"
            lines.append(f"{place} holds {which} not read here; move what is in it into {folder}, or report it alone")
    return lines


def read_run(path: Path) -> dict[str, Any]:
    """What a run.json says: the "encoder" and its "data_checksum"; nothing where it is not there, empty or damaged."""
    try:
        content = json.loads(path.read_bytes())
        return {**content, "encoder": dict(content["encoder"]), "data_checksum": str(content["data_checksum"])}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}


def ratio_words(ratio: float | str | None) -> str:
    """A masking ratio, or how it changes, for people; nothing where there is none."""
    return f"{ratio:g}" if isinstance(ratio, int | float) else ratio or ""
