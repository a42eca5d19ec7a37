"""A tidy frame -> boards, rows in any order: `certainty` ranks them."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pandas as pd

from maebench.leaderboard.board import COSTS, Board, Column, Row, Share, Summary, own, summary, telling, words
from maebench.leaderboard.frame import ROW, Key, curves

# Kinds of budget, of which a trained row has one, and how a title calls them.
KINDS = {"steps": "steps", "epochs": "epochs", "tokens": "visible tokens", "flops": "FLOPs", "seconds": "seconds"}


def boards(frame: pd.DataFrame) -> tuple[list[Board], list[str]]:
    """A tidy frame -> one board a data set, its settings and a kind of budget, and a line for each thing left out.

    What is not trained by gradient (closed forms, floors) stands on every board of its data set.
    """
    identity = frame[ROW].astype(object).where(frame[ROW].notna(), None)
    frame = frame.assign(row=[json.dumps(row) for row in identity.to_numpy().tolist()])
    found, warnings = [], []
    for (dataset, settings), part in frame.groupby(["dataset", "dataset_settings"]):
        part, lines = _current(part, str(dataset))
        part = part.assign(hardware=part["run_id"].map(_machines(part)))
        every = frame.loc[frame["dataset"] == dataset, "dataset_settings"].unique()
        mine = json.loads(str(settings))
        title = f"{dataset} {words(own(mine, [json.loads(one) for one in every]))}".strip()
        kinds = part["row"].map(_kind)
        known = sorted(set(kinds.dropna())) or [""]
        for kind in known:
            some = part[kinds.isna() | (kinds == kind)]
            columns = _columns(some)
            rows = tuple(_told_apart(_rows(some, columns)))
            named = f"{title}, budget in {kind}" if len(known) > 1 else title
            found.append(Board(named, str(dataset), mine, kind, columns, rows, _baselines(some, columns)))
        warnings += lines
    return found, warnings


def _kind(row: str) -> str | None:
    """In what the budget of a row is given; None for a row that is not trained by gradient."""
    identity = dict(zip(ROW, json.loads(row), strict=True))
    budget = json.loads(identity["budget"])
    if identity["floor"] or not budget:
        return None
    return next((word for kind, word in KINDS.items() if kind in budget), "unknown units")


def _current(part: pd.DataFrame, dataset: str) -> tuple[pd.DataFrame, list[str]]:
    """Only the newest version of each task, and only the newest run of each row and seed."""
    known = [json.loads(text) for text in part["provenance"]]
    newest = part["task_version"] == part.groupby("task")["task_version"].transform("max")
    old = part[~newest].drop_duplicates(["task", "task_version"])
    lines = [f"{dataset}: left out {row.task}@{row.task_version}, there is a newer version" for row in old.itertuples()]
    if len(sums := {one["data_checksum"] for one in known if one.get("data_checksum")}) > 1:
        lines.append(
            f"{dataset}: the results come from {len(sums)} different contents of the data; do not compare them"
        )
    part = part.assign(date=[str(one.get("date", "")) for one in known])[newest]
    runs = part.sort_values(["date", "run_id"]).drop_duplicates("run_id", keep="last")
    stale = sorted(runs["run_id"][runs.duplicated(["row", "seed"], keep="last")])
    lines += [f"{dataset}: left out run {run}, there is a newer one of the same settings and seed" for run in stale]
    return part[~part["run_id"].isin(stale)], lines


def _machines(part: pd.DataFrame) -> dict[str, str]:
    """Run -> where it was trained, as its cost cell says: a later task may have run elsewhere."""
    known = pd.concat([part, part[part["task"] == "cost"]])
    return dict(zip(known["run_id"], known["hardware"], strict=True))


def _columns(part: pd.DataFrame) -> tuple[Column, ...]:
    """Tasks by name, then the costs."""
    cost, keys = part["task"] == "cost", ["task", "task_settings", "metric"]
    heads = part[(part["headline"] & ~cost) | (part["metric"].isin(COSTS) & cost)].drop_duplicates(keys)
    found = [Column(*row) for row in heads[[*keys, "unit", "better"]].itertuples(index=False, name=None)]
    alive = {(one.task, one.settings) for one in found}
    asked = set(zip(part["task"][~cost], part["task_settings"][~cost], strict=True))
    found += [Column(task, settings, "", "", "higher") for task, settings in asked - alive]
    order = list(COSTS)
    return tuple(sorted(found, key=lambda one: (order.index(one.metric) + 1 if one.is_cost else 0, one.key)))


def _rows(part: pd.DataFrame, columns: Sequence[Column]) -> list[Row]:
    rows, readouts, shares, over_all = [], _readouts(part), _shares(part, columns), _summaries(part, ["row"])
    for key, group in part.sort_values(["seed", "run_id"]).groupby("row"):
        variant, settings, masking, hiding, ratio, budget, floor = json.loads(str(key))
        mixed = len(shares[str(key)]) > 1
        cells = {one.key: Summary() if mixed and one.is_bound else over_all((str(key),), one) for one in columns}
        bad = group[group["status"] == "failed"]
        told = [
            f"{'' if pd.isna(seed) else f'seed {seed}, '}{task}: {' '.join(reason.split())}"
            for seed, task, reason in zip(bad["seed"], bad["task"], bad["reason"], strict=True)
        ]
        rows.append(
            Row(
                variant,
                json.loads(settings),
                masking or "",
                json.loads(hiding),
                ratio,
                json.loads(budget),
                floor,
                tuple(shares[str(key)]),
                tuple(int(seed) for seed in group["seed"].dropna().unique()),
                group["run_id"].iloc[0],
                cells,
                readouts[str(key)],
                tuple(told),
                flags=tuple(_collapses(group)),
                axes={one.key: points for one in columns if (points := _axis(group, one))},
            )
        )
    return rows


def _axis(group: pd.DataFrame, column: Column) -> tuple[tuple[int, Summary], ...]:
    """A row's values "metric@k=.." of one task, by k."""
    values = _details(group, column, "k", r"([1-9]\d{0,8})").groupby(int).agg(list)
    return tuple((k, summary(some)) for k, some in zip(values.index.tolist(), values, strict=True))


def _baselines(part: pd.DataFrame, columns: Sequence[Column]) -> dict[str, dict[Key, float]]:
    """See `Board`: every run says the same of them, as they know nothing but the data."""
    found: dict[str, dict[Key, float]] = {}
    for column in columns:
        values = _details(part, column, "baseline", "(.+)")
        for name, value in values.groupby(level=0).first().items():
            found.setdefault(str(name), {})[column.key] = float(value)
    return found


def _details(part: pd.DataFrame, column: Column, kind: str, pattern: str) -> pd.Series:
    """The values of a headline's details "metric@kind=..", by what matches the pattern there."""
    mine = part[(part["task"] == column.task) & (part["task_settings"] == column.settings)]
    names = mine["metric"].str.extract(rf"^{re.escape(column.metric)}@{kind}={pattern}$")[0]
    found: pd.Series = mine.loc[names.notna(), "value"].set_axis(names.dropna())
    return found


def _collapses(group: pd.DataFrame) -> Iterator[str]:
    """A line for each run of a row whose record says that its training seems to have collapsed."""
    costs = group[(group["task"] == "cost") & (group["status"] == "ok")]
    for _, run in costs.groupby("run_id", sort=False):
        told = dict(zip(run["metric"], run["value"], strict=True))
        if told.get("collapsed"):
            seed = run["seed"].iloc[0]
            rank, before = (told.get(f"effective_rank{end}", math.nan) for end in ("", "_untrained"))
            first, last = (told.get(f"pretrain_loss{end}", math.nan) for end in ("_first", ""))
            yield (
                f"seed {seed} seems to have collapsed: effective rank of the features {rank:.3g}, untrained "
                f"{before:.3g}; loss {first:.3g} at first, {last:.3g} at last"
            )


def _shares(part: pd.DataFrame, columns: Sequence[Column]) -> dict[str, list[Share]]:
    """Row -> its shares, one a machine."""
    found: dict[str, list[Share]] = {}
    known, on_one = curves(part), _summaries(part, ["row", "hardware"])
    tasks, costs = ([one for one in columns if one.is_cost == cost] for cost in (False, True))
    for place, group in part.sort_values(["seed", "run_id"]).groupby(["row", "hardware"]):
        row, hardware = map(str, place)
        runs = group["run_id"].unique()
        found.setdefault(row, []).append(
            Share(
                hardware,
                len(runs),
                {one.key: on_one((row, hardware), one) for one in costs},
                {one.key: tuple(known.get((run, one.key), ()) for run in runs) for one in tasks},
            )
        )
    return found


def _summaries(part: pd.DataFrame, by: list[str]) -> Callable[[tuple[str, ...], Column], Summary]:
    """The cells of the rows that are alike in the columns `by`: asked for by what they are there, and a column."""
    cell = [*by, "task", "task_settings"]
    values = part[part["status"] == "ok"].dropna(subset="value").groupby([*cell, "metric"])["value"].agg(list).to_dict()
    failed = part[part["status"] == "failed"].groupby(cell).size().to_dict()
    return lambda place, column: summary(
        values.get((*place, *column.key), ()), failed.get((*place, column.task, column.settings), 0)
    )


def _readouts(part: pd.DataFrame) -> dict[str, dict[str, tuple[str, ...]]]:
    """Row -> task -> the read-outs of its runs."""
    found: dict[str, dict[str, tuple[str, ...]]] = {row: {} for row in part["row"]}
    uses = part[["row", "task", "readout"]].drop_duplicates().sort_values("readout")
    for row, task, readout in uses[uses["readout"] != ""].itertuples(index=False, name=None):
        found[row][task] = (*found[row].get(task, ()), readout)
    return found


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """Each row with the settings that differ between rows of its variant, of its masking, or in the budget."""
    budgets = [one.budget for one in rows if one.trained]
    told = []
    for row in rows:
        every = [one.settings for one in rows if one.variant == row.variant]
        left = {
            **telling("variants", row.variant, row.settings, every),
            **(own(row.budget, budgets) if row.trained else {}),
        }
        every = [one.masking_settings for one in rows if one.masking == row.masking]
        hides = telling("maskings", row.masking, row.masking_settings, every)
        told.append(replace(row, differs=words(left), hides=words(hides)))
    return told
