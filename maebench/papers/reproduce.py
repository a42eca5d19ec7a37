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

from maebench import __version__
from maebench.contracts import MissingData
from maebench.papers import drawing
from maebench.papers.claims import Finding
from maebench.papers.experiments import Experiments
from maebench.papers.names import NAMES
from maebench.papers.page import kept
from maebench.papers.scales import Scale
from maebench.plugins import ask, nearest
from maebench.runs import provenance
from maebench.runs.plan import digest
from maebench.runs.records import write_whole
from maebench.runs.run import DISK

DONE = "findings.json"


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

    def key(self, scale: Scale) -> str:
        """What its results hang on, as far as that is known before it is computed."""
        return digest([__version__, self.source, scale])


def every() -> dict[str, FigureModule]:
    """All figures by name, in the order of the paper: by the first number, unnumbered ones last."""
    found = [_read(importlib.import_module(f"maebench.papers.figures.{name}")) for name in NAMES]

    def place(one: FigureModule) -> tuple[int, str]:
        digits = "".join(letter for letter in one.figures[0] if letter.isdigit())
        return int(digits or 99), one.figures[0]

    return {one.name: one for one in sorted(found, key=place)}


def _read(module: ModuleType) -> FigureModule:
    title, source = (module.__doc__ or "").split("\n")[0], Path(str(module.__file__)).read_text(encoding="utf-8")
    parts = (module.FIGURES, module.CLAIMS, module.CHOICES, module.compute, module.judge, module.draw)
    return FigureModule(module.__name__.rpartition(".")[2], title, *parts, source)


def chosen(words: Sequence[str], known: Mapping[str, FigureModule]) -> list[FigureModule]:
    """The figures that are asked for by name or number ("influence", "7a"), all where none is. Raises LookupError."""
    if not words:
        return list(known.values())
    by_word = {word: one for one in known.values() for word in (one.name, *one.figures)}
    for word in words:
        if word not in by_word:
            raise LookupError(f"reproduce: no figure is called '{word}'{nearest(word, list(by_word))}")
    return list({by_word[word].name: by_word[word] for word in words}.values())


def reproduce(
    wanted: Sequence[FigureModule], experiments: Experiments, scale: Scale, out: Path, command: str
) -> list[str]:
    """Compute, judge and draw each figure into out/<name>/; one that is there already is left as it is.

    A figure whose data set is not in the data root is "not run", with the reason. Another failure goes into
    out/<name>/failed.txt; the next figure goes on. Returns a line for each figure that is not run, for either reason.
    """
    failures = []
    with experiments.progress.of(len(wanted)):
        for one in wanted:
            folder, start, key = out / one.name, time.perf_counter(), one.key(scale)
            if _stands(folder / DONE, key):
                experiments.progress.finish_run(f"{one.name}: done before")
                continue
            try:
                found = _carry_out(one, experiments, scale, folder)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in DISK:
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                if missing := isinstance(error, MissingData):
                    reason = str(error)
                else:
                    write_whole(folder / "failed.txt", "".join(traceback.format_exception(error)).encode())
                failures.append(f"{one.name}: {reason}")
                found, key = {claim: Finding("not run", reason) for claim in one.claims}, ""
                experiments.progress.line(f"{'not run' if missing else 'failed'}: {one.name}: {reason}")
            else:
                (folder / "failed.txt").unlink(missing_ok=True)
            facts = {"key": key, "budget": scale, "command": command, "seconds": round(time.perf_counter() - start, 1)}
            _note(one, found, folder / DONE, {**facts, "provenance": provenance.describe(experiments.device)})
            experiments.progress.finish_run(f"{one.name}: {_counted(found)}  {time.perf_counter() - start:.1f} s")
    return failures


def _carry_out(one: FigureModule, experiments: Experiments, scale: Scale, folder: Path) -> Mapping[str, Finding]:
    table = ask(one.compute, {"experiments": experiments, "scale": scale})
    write_whole(folder / "table.csv", str(table.to_csv(index=False, lineterminator="\n", float_format="%.6g")).encode())
    table = pd.read_csv(folder / "table.csv")  # so that whoever has the file finds the same
    found = one.judge(table)
    assert set(found) == set(one.claims), f"{one.name} judges {sorted(found)}, and claims {sorted(one.claims)}"
    for name, figure in one.draw(table).items():
        drawing.save(figure, folder / name)
    return found


def _counted(found: Mapping[str, Finding]) -> str:
    verdicts = [finding.verdict for finding in found.values()]
    return ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))


def _stands(path: Path, key: str) -> bool:
    """Whether the figure was made by this code at this budget; one that could not be made is tried again."""
    return path.exists() and bool(kept(path)["key"] == key)


def _note(one: FigureModule, found: Mapping[str, Finding], path: Path, facts: Mapping[str, Any]) -> None:
    content = {
        "title": one.title,
        "figures": one.figures,
        "claims": one.claims,
        "choices": one.choices,
        "findings": {key: asdict(finding) for key, finding in found.items()},
    }
    write_whole(path, json.dumps({**content, **facts}, indent=1).encode())
