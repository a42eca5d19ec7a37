"""Boards -> Markdown, one HTML file, a terminal table. Names come from users: each format escapes them."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jinja2
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from maebench.stats import Board, Column, Row, own, plain, shared, short, words

# cost -> heading, how a number is written, and across what it may be compared
_COSTS = {
    "pretrain_seconds": ("pretrain s", plain, "one machine"),
    "images_per_second": ("images/s", short, "one machine"),
    "parameters": ("parameters", short, "all machines"),
    "flops_per_image": ("FLOPs/image", short, "all machines"),
    "peak_memory": ("peak MiB", plain, "one machine"),
}
_ARROWS = {"higher": "↑", "lower": "↓"}
_ALONE = "nothing is random here: one run stands for all seeds"
_WORDY = {"variant", "settings", "masking", "hardware"}
"""headings over text; all others stand over numbers"""


@dataclass(frozen=True)
class Shown:
    """One cell as people see it."""

    text: str
    number: float | None = None
    """by which it sorts; None sorts last"""
    mark: Literal["", "best", "failed", "missing"] = ""


def grid(board: Board) -> tuple[list[str], list[list[Shown]]]:
    """The headings of a board and the cells of each of its rows."""
    spare = {"settings"} if not any(row.differs for row in board.rows) else set()
    spare |= {"hardware"} if len(board.hardware) < 2 else set()
    best = [_best(board, column) for column in board.columns]
    named = [{name: one for name, one in _named(row).items() if name not in spare} for row in board.rows]
    rows = [
        [*first.values(), *(_cell(row, *one) for one in zip(board.columns, best, strict=True))]
        for first, row in zip(named, board.rows, strict=True)
    ]
    return [*named[0], *(head(column, board, _ARROWS[column.better]) for column in board.columns)], rows


def _named(row: Row) -> dict[str, Shown]:
    return {
        "rank": Shown("floor" if row.floor else "-" if row.rank is None else str(row.rank), row.rank),
        "variant": Shown(row.name),
        "settings": Shown(row.differs),
        "masking": Shown(row.masking),
        "ratio": Shown("" if row.ratio is None else f"{row.ratio:g}", row.ratio),
        "seeds": Shown(str(len(row.seeds)) if row.seeds else "1*", row.runs),
        "hardware": Shown(row.hardware),
    }


def head(column: Column, board: Board, arrow: str) -> str:
    """The heading of a column, with the settings of its task where two columns differ in them."""
    if column.is_cost:
        return f"{_COSTS[column.metric][0]} {arrow}".rstrip()
    if not column.metric:
        return column.task
    twins = [json.loads(one.settings) for one in board.columns if one.key[::2] == column.key[::2]]
    parts = (column.task, words(own(json.loads(column.settings), twins)), column.metric, column.unit, arrow)
    return " ".join(part for part in parts if part)


def _best(board: Board, column: Column) -> float | None:
    """The best mean among rows that are no floor; None among equals, and where nothing may be compared."""
    if column.is_cost and _COSTS[column.metric][2] == "one machine" and len(board.hardware) > 1:
        return None
    cells = [row.cells[column.key] for row in board.rows if not row.floor and row.cells[column.key].n >= row.runs]
    means = [cell.mean for cell in cells if cell.mean is not None]
    best = max if column.better == "higher" else min
    return best(means) if len(set(means)) > 1 else None


def _cell(row: Row, column: Column, best: float | None) -> Shown:
    cell = row.cells[column.key]
    if cell.mean is None:
        return Shown("failed", mark="failed") if cell.failed else Shown("-", mark="missing")
    text = (_COSTS[column.metric][1] if column.is_cost else plain)(cell.mean, cell.sd)
    if cell.n < row.runs:
        lost = f"{cell.failed} failed" if cell.failed else f"{row.runs - cell.n} missing"
        return Shown(f"{text} ({lost})", cell.mean, "failed" if cell.failed else "missing")
    return Shown(text, cell.mean, "best" if cell.mean == best and not row.floor else "")


def notes(board: Board) -> list[tuple[str, str]]:
    """What stands under a board: the settings that its rows share, and how to read it."""
    found = [("data", words(board.settings))]
    found += [(f"task {one.task}", words(json.loads(one.settings))) for one in board.columns if not one.is_cost]
    for name in sorted({row.variant for row in board.rows}):
        found.append((name, words(shared([row.settings for row in board.rows if row.variant == name]))))
    for name in sorted({row.masking for row in board.rows}):
        every = [row.masking_settings for row in board.rows if row.masking == name]
        found.append((f"masking {name}", words(shared(every))))
    found.append(("pretraining", words(shared([row.budget for row in board.rows if row.trained]))))
    found.append(("rank", "of the mean rank over all tasks; a row with a missing or failed cell has none"))
    if any(row.floor for row in board.rows):
        found.append(("floor", "what any trained row must beat; not ranked"))
    if not all(row.seeds for row in board.rows):
        found.append(("1*", _ALONE))
    if len(board.hardware) > 1:
        found.append(("hardware", "times and memory are not compared across machines"))
    return [(name, text) for name, text in found if text]


def markdown(boards: Sequence[Board], facts: dict[str, str]) -> str:
    """A Markdown page: a table a data set, what its rows share, the failures, and where the results come from."""
    blocks = ["# Leaderboard"]
    for board in boards:
        heads, rows = grid(board)
        table = [[_md(head) for head in heads], ["---" if head in _WORDY else "--:" for head in heads]]
        table += [[f"**{_md(one.text)}**" if one.mark == "best" else _md(one.text) for one in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "| " + " | ".join(one.ljust(width) for one, width in zip(row, widths, strict=True)) + " |" for row in table
        ]
        blocks += [f"## {_md(board.title)}", "\n".join(lines)]
        blocks.append("\n".join(f"- {_md(name)}: {_md(text)}" for name, text in notes(board)))
        if lost := board.failures:
            blocks += ["Failed:", "\n".join(f"- {_md(line)}" for line in lost)]
    blocks += ["## Where the numbers come from", "\n".join(f"- {name}: {_md(text)}" for name, text in facts.items())]
    return "\n\n".join(blocks) + "\n"


def _md(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*<>|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def html(boards: Sequence[Board], facts: dict[str, str], folder: Path) -> str:
    """One page that needs no network: the figures of the results folder are inside it."""
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("maebench"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("leaderboard.html.j2")
    pictures = [[(row.label, folder / row.run_id / "reconstruction.png") for row in board.rows] for board in boards]
    inside = [[(label, _uri(path)) for label, path in pairs if path.exists()] for pairs in pictures]
    parts = [(board, *grid(board), notes(board), images) for board, images in zip(boards, inside, strict=True)]
    return page.render(parts=parts, facts=facts, wordy=_WORDY, figure=_uri(folder / "accuracy_vs_cost.png"))


def _uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def terminal(board: Board, width: int) -> Group:
    """The board for a terminal of `width` columns: one table, or where that is too narrow as many as it takes."""
    heads, rows = grid(board)
    tables = [_table(board.title, heads, rows, range(len(heads)))]
    if _width(tables[0]) > width:
        tables = _narrow(board, heads, rows, width)
    below = [Text(f"failed: {line}", "yellow") for line in board.failures]
    if not all(row.seeds for row in board.rows):
        below.append(Text(f"1* {_ALONE}", "dim"))
    return Group(*tables, *below)


def _narrow(board: Board, heads: list[str], rows: list[list[Shown]], width: int) -> list[Table]:
    """Tables that repeat rank and row, with as many of the other columns as fit beside them."""
    start = heads.index("seeds")
    heads = ["rank", "variant", *heads[start:]]
    rows = [[shown[0], Shown(row.label), *shown[start:]] for row, shown in zip(board.rows, rows, strict=True)]
    keeps: list[list[int]] = [[0, 1]]
    for number in range(2, len(heads)):
        if len(keeps[-1]) > 2 and _width(_table("", heads, rows, [*keeps[-1], number])) > width:
            keeps.append([0, 1])
        keeps[-1].append(number)
    return [_table(board.title if keep is keeps[0] else "", heads, rows, keep) for keep in keeps]


def _width(table: Table) -> int:
    return Console(width=1000).measure(table).maximum


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Shown]], keep: Sequence[int]) -> Table:
    table = Table(
        title=Text(title, "bold") if title else None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    styles = {"best": "bold green", "failed": "red", "missing": "dim", "": ""}
    for number in keep:
        wordy = heads[number] in _WORDY
        head = Text(re.sub(r" (?=\S+ )", "\n", heads[number], count=1))
        table.add_column(head, justify="left" if wordy else "right", no_wrap=not wordy, overflow="fold")
    for row in rows:
        cells = [Text(row[number].text, styles[row[number].mark]) for number in keep]
        table.add_row(*cells, style="dim" if row[0].text == "floor" else "")
    return table
