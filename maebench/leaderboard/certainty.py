"""Boards -> the same with what is sure: intervals, scores between floor and ceiling, overall scores and ranks."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from maebench.leaderboard.board import Board, Column, Row, Summary, words
from maebench.leaderboard.comparison.ranks import leaders, rank_intervals, wins
from maebench.leaderboard.comparison.scores import Cells
from maebench.leaderboard.comparison.statistics import LEVEL, Scores, interval
from maebench.leaderboard.frame import Key

Known = dict[Key, Scores]


def certain(board: Board, cells: Cells) -> tuple[Board, list[str]]:
    """The board with intervals, overall scores and ranks, and a line for each thing that could not be read.

    Rows with a rank stand first, the best on top, floors last.
    """
    lines: list[str] = []
    tasks = [one for one in board.columns if not one.is_cost]
    scored = [one for one in tasks if one.metric]
    known = [_known(board, row, scored, cells, lines) for row in board.rows]
    scaled = [_scaled(board, row, scored, mine, cells) for row, mine in zip(board.rows, known, strict=True)]
    alike = [one.key for one in scored if {one.key} <= set().union(*scaled) and _everywhere(one.key, known, scaled)]
    overall = [
        _mean([mine[key] for key in alike]) if alike and _whole(row, tasks) and set(alike) <= set(mine) else None
        for row, mine in zip(board.rows, scaled, strict=True)
    ]
    rows = [
        replace(
            row,
            cells={key: _with_interval(cell, mine.get(key)) for key, cell in row.cells.items()},
            shares=tuple(
                replace(one, costs={key: _spread(cell) for key, cell in one.costs.items()}) for one in row.shares
            ),
            axes={key: tuple((k, _spread(one)) for k, one in points) for key, points in row.axes.items()},
            between={key: _summary(one) for key, one in between.items()},
            overall=_summary(together) if together else Summary(),
        )
        for row, mine, between, together in zip(board.rows, known, scaled, overall, strict=True)
    ]
    rows = _led(_ranked(_flagged(rows), overall), known, scored)
    return replace(board, rows=tuple(sorted(rows, key=_place))), lines


def _known(board: Board, row: Row, columns: Sequence[Column], cells: Cells, lines: list[str]) -> Known:
    """The scores of a row; without those of its images, and with a line that says so, where they are damaged."""
    found: Known = {}
    for one in columns:
        try:
            scores = cells.scores(board, row, one)
        except ValueError as error:
            lines.append(f"without the scores of images: {error}")
            scores = cells.headlines(board, row, one)
        if scores is not None:
            found[one.key] = scores
    return found


def _scaled(board: Board, row: Row, columns: Sequence[Column], known: Known, cells: Cells) -> Known:
    found = {one.key: cells.scaled(board, row, one, known[one.key]) for one in columns if one.key in known}
    return {key: scores for key, scores in found.items() if scores is not None}


def _everywhere(key: Key, known: Sequence[Known], scaled: Sequence[Known]) -> bool:
    """Whether all scores of a column have a place between floor and ceiling."""
    return all(key in between for mine, between in zip(known, scaled, strict=True) if key in mine)


def _whole(row: Row, tasks: Sequence[Column]) -> bool:
    """Whether no cell is missing or failed. A task that failed in every row is missing in each."""
    filled = all(row.cells[one.key].n >= row.runs for one in tasks if one.metric)
    return filled and not any(row.cells[one.key].failed for one in tasks)


def _mean(parts: Sequence[Scores]) -> Scores:
    """The mean over tasks: image by image where all have as many of these, else run by run."""
    if len({one.values.shape for one in parts}) == 1:
        return Scores(np.mean([one.values for one in parts], 0), parts[0].seeds)
    runs = [one.values.reshape(len(one.values), -1).mean(1) for one in parts]
    return Scores(np.mean(runs, 0), parts[0].seeds)


def _summary(scores: Scores) -> Summary:
    runs = scores.values.reshape(len(scores.values), -1).mean(1)
    sd = float(runs.std(ddof=1)) if len(runs) > 1 else None
    return Summary(float(runs.mean()), sd, len(runs), 0, interval(scores).half)


def _with_interval(cell: Summary, scores: Scores | None) -> Summary:
    """The cell with the interval of its scores; of a cost by its runs alone."""
    if scores is not None:
        known = interval(scores)
        return replace(cell, half=known.half, sources=known.sources)
    return _spread(cell)


def _spread(cell: Summary) -> Summary:
    """The cell with the t interval of its runs."""
    if not cell.sd:
        return cell
    return replace(cell, half=-float(special.stdtrit(cell.n - 1, LEVEL / 2)) * cell.sd / math.sqrt(cell.n))


def _ranked(rows: Sequence[Row], overall: Sequence[Scores | None]) -> list[Row]:
    """Each row that can be ranked with the ranks that it may have."""
    race = [i for i, (row, one) in enumerate(zip(rows, overall, strict=True)) if one and not row.floor and _sure(row)]
    places = rank_intervals(wins([one for i in race if (one := overall[i])], "higher"))
    known = dict(zip(race, places, strict=True))
    return [replace(row, rank=known.get(i)) for i, row in enumerate(rows)]


def _sure(row: Row) -> bool:
    return len(row.seeds) != 1


def _flagged(rows: Sequence[Row]) -> list[Row]:
    """Each trained row with a flag where its overall score is below that of the same encoder untrained."""
    untrained = {_encoder(row): row.overall.mean for row in rows if row.name != row.variant}
    found = []
    for row in rows:
        floor, mine = untrained.get(_encoder(row)), row.overall.mean
        below = row.trained and floor is not None and mine is not None and mine < floor
        line = f"overall {mine:.3g}, below the {floor:.3g} of the same encoder untrained" if below else ""
        found.append(replace(row, flags=(*row.flags, line)) if line else row)
    return found


def _encoder(row: Row) -> tuple[str, str]:
    return row.variant, words(row.settings)


def _led(rows: Sequence[Row], known: Sequence[Known], columns: Sequence[Column]) -> list[Row]:
    """Each row with the columns that it leads, floors and rows with gaps left out."""
    leads: list[set[Key]] = [set() for _ in rows]
    for column in columns:
        key = column.key
        race = [i for i, row in enumerate(rows) if not row.floor and row.cells[key].n >= row.runs and key in known[i]]
        first = leaders([known[i][key] for i in race], column.better) if len(race) > 1 else []
        if len(first) < len(race):
            for place in first:
                leads[race[place]].add(key)
    return [replace(row, leads=frozenset(mine)) for row, mine in zip(rows, leads, strict=True)]


def _place(row: Row) -> tuple[object, ...]:
    mean = row.overall.mean
    first = row.floor, row.rank is None, mean is None, -(mean or 0.0)
    return *first, row.name, row.masking, isinstance(row.ratio, str), row.ratio or 0, row.told
