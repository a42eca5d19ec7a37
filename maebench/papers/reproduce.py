"""Figures of the papers, one module each in maebench/papers/figures/: compute a table, judge the claims by it, draw it.

A figure module's first docstring line is its title. It defines FIGURES, the numbers the paper gives it; CLAIMS, key ->
the paper's claim in our words; CHOICES, what the paper leaves open and we chose; and three functions:
`compute(...)` -> a tidy table, asks by name for any of `experiments` (`Experiments`) and `scale` ("quick" or "full");
`judge(table)` -> key of CLAIMS -> `claims.Finding`; `draw(table)` -> file stem -> matplotlib figure.
"""

import importlib
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from maebench.contracts import MissingData
from maebench.papers import drawing, keys
from maebench.papers.claims import Finding, counted
from maebench.papers.experiments import Experiments
from maebench.papers.names import NAMES
from maebench.papers.page import kept
from maebench.papers.scales import Scale
from maebench.plugins import ask, nearest
from maebench.runs import provenance
from maebench.runs.records import write_whole
from maebench.runs.run import DISK

DONE, TABLE, FAILED = "findings.json", "table.csv", "failed.txt"


@dataclass(frozen=True)
class FigureModule:
    """One figure module."""

    name: str
    title: str
    figures: tuple[str, ...]
    claims: dict[str, str]
    choices: tuple[str, ...]
    compute: Callable[..., pd.DataFrame]
    judge: Callable[[pd.DataFrame], Mapping[str, Finding]]
    draw: Callable[[pd.DataFrame], Mapping[str, Figure]]
    source: str


def every() -> dict[str, FigureModule]:
    """All figures by name, in the order of the paper: by the first number, unnumbered ones last."""
    modules = [_read(importlib.import_module(f"maebench.papers.figures.{name}")) for name in NAMES]

    def place(module: FigureModule) -> tuple[int, str]:
        digits = "".join(letter for letter in module.figures[0] if letter.isdigit())
        return int(digits or 99), module.figures[0]

    return {module.name: module for module in sorted(modules, key=place)}


def _read(module: ModuleType) -> FigureModule:
    title, source = (module.__doc__ or "").split("\n")[0], Path(str(module.__file__)).read_text(encoding="utf-8")
    parts = (module.FIGURES, module.CLAIMS, module.CHOICES, module.compute, module.judge, module.draw)
    return FigureModule(module.__name__.rpartition(".")[2], title, *parts, source)


def chosen(words: Sequence[str], known: Mapping[str, FigureModule]) -> list[FigureModule]:
    """The figures that are asked for by name or number ("influence", "7a"), all where none is. Raises LookupError."""
    if not words:
        return list(known.values())
    by_word = {word: module for module in known.values() for word in (module.name, *module.figures)}
    for word in words:
        if word not in by_word:
            raise LookupError(f"reproduce: no figure is called '{word}'{nearest(word, list(by_word))}")
    return list({by_word[word].name: by_word[word] for word in words}.values())


def reproduce(
    wanted: Sequence[FigureModule], experiments: Experiments, scale: Scale, out: Path, command: str
) -> list[str]:
    """Compute, judge and draw each figure into out/<name>/; what this code made before at this scale is left as it is.

    Where only the code that judges and draws has changed, that alone is done again, from the table. A figure whose data
    set is not in the data root is "not run", with the reason. Another failure goes into out/<name>/failed.txt; the next
    figure goes on. Returns a line for each figure that is not run, for either reason.
    """
    made = {"budget": scale, "command": command, "provenance": provenance.describe(experiments.device)}
    with experiments.progress.of(len(wanted)):
        lines = [_bring_up_to_date(module, experiments, out / module.name, made) for module in wanted]
    return [line for line in lines if line]


def _bring_up_to_date(module: FigureModule, experiments: Experiments, folder: Path, made: Mapping[str, Any]) -> str:
    """What is due of one figure -> a line on what kept it from being made, or none."""
    before, start = kept(folder / DONE) if (folder / DONE).exists() else {}, time.perf_counter()
    computed, judged = before.get("computed", {}), before.get("judged", {})
    due = keys.computed(module.source, made["budget"]), keys.judged(module.source)
    if (computed.get("key"), judged.get("key")) == due:
        experiments.progress.finish_run(f"{module.name}: done before")
        return ""
    judged = {"key": "", "provenance": made["provenance"]}
    try:
        if computed.get("key") != due[0] or not (folder / TABLE).exists():
            computed = {"key": "", "seconds": 0.0, **made}
            _compute(module, experiments, made["budget"], folder)
            computed |= {"key": due[0], "seconds": round(time.perf_counter() - start, 1)}
        findings, failure = _judge(module, folder), ""
        judged["key"] = due[1]
        (folder / FAILED).unlink(missing_ok=True)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        failure = _told(error, folder)
        findings = {claim: Finding("not run", failure) for claim in module.claims}
        experiments.progress.line(f"not run: {module.name}: {failure}")
    _note(module, findings, folder / DONE, {"computed": computed, "judged": judged})
    words = f"{module.name}: {counted(findings.values())}  {time.perf_counter() - start:.1f} s"
    experiments.progress.finish_run(words)
    return f"{module.name}: {failure}" if failure else ""


def _compute(module: FigureModule, experiments: Experiments, scale: Scale, folder: Path) -> None:
    table = ask(module.compute, {"experiments": experiments, "scale": scale})
    write_whole(folder / TABLE, str(table.to_csv(index=False, lineterminator="\n", float_format="%.6g")).encode())


def _judge(module: FigureModule, folder: Path) -> Mapping[str, Finding]:
    """Judge and draw the table in the folder, as whoever has the file can."""
    table = pd.read_csv(folder / TABLE)
    findings = module.judge(table)
    assert set(findings) == set(module.claims), f"{module.name} judges {sorted(findings)}, not {sorted(module.claims)}"
    for name, figure in module.draw(table).items():
        drawing.save(figure, folder / name)
    return {claim: findings[claim] for claim in module.claims}


def _told(error: Exception, folder: Path) -> str:
    """The reason in a line; in full in a file, but for data that are not there."""
    if isinstance(error, MissingData):
        return str(error)
    write_whole(folder / FAILED, "".join(traceback.format_exception(error)).encode())
    return " ".join(f"{type(error).__name__}: {error}".split())


def _note(module: FigureModule, findings: Mapping[str, Finding], path: Path, facts: Mapping[str, Any]) -> None:
    content = {
        "title": module.title,
        "figures": module.figures,
        "claims": module.claims,
        "choices": module.choices,
        "findings": {key: asdict(finding) for key, finding in findings.items()},
    }
    write_whole(path, json.dumps({**content, **facts}, indent=1).encode())
