"""Boards -> Markdown, one HTML file, a terminal table. Names come from users: each format escapes them."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from maebench.leaderboard.board import Board
from maebench.leaderboard.tables import (
    ALONE,
    BRIEFLY,
    RULE,
    SINGLE,
    WORDY,
    Scale,
    Shown,
    board_table,
    notes,
    races,
    readouts,
)
from maebench.leaderboard.time_to_target import Goal
from maebench.runs.drawing import MASKS, PICTURE

# file -> heading, and its text alternative
FIGURES = {
    "accuracy_vs_cost.png": (
        "Score and cost",
        "The headline metric of each task over the seconds of pretraining; floors are dashed lines",
    ),
    "score_vs_components.png": (
        "Score and the number of components",
        "The headline metric of each task, read from the first k principal components of the features, against k; a "
        "line a row with its 95% interval over seeds, floors in grey",
    ),
    "accuracy_vs_time.png": (
        "Score over training time",
        "The headline metric of each task at snapshots over the seconds of training, a line a row with a band of one "
        "standard deviation over seeds; floors are dashed lines",
    ),
}

# picture in the folder of a run -> what a gallery of them is called, and the text alternative of one
GALLERIES = {
    PICTURE: ("Reconstructions", "Input, what the encoder saw, and reconstruction of {}"),
    MASKS: ("Masks", "Masked images, and a map of how often each position is hidden, of {}"),
}


def markdown(boards: Sequence[Board], facts: dict[str, str], targets: Sequence[Goal] = (), scale: Scale = "raw") -> str:
    """A Markdown page: a table a board, what its rows share, the failures, and where the results come from."""
    blocks = ["# Leaderboard"]
    for board in boards:
        blocks += [f"## {md(board.title)}", _md_table(*board_table(board, scale))]
        blocks.append("\n".join(f"- {md(name)}: {md(text)}" for name, text in notes(board)))
        if lost := board.failures:
            blocks += ["Failed:", "\n".join(f"- {md(line)}" for line in lost)]
        found = races(board, targets)
        for race in found:
            blocks += [f"### {md(race.title)}", _md_table(race.heads, race.rows)]
        blocks += [RULE] if found else []
    blocks += ["## Where the numbers come from", "\n".join(f"- {name}: {md(text)}" for name, text in facts.items())]
    return "\n\n".join(blocks) + "\n"


def _md_table(heads: Sequence[str], rows: Sequence[Sequence[Shown]]) -> str:
    table = [[md(head) for head in heads], ["---" if head in WORDY else "--:" for head in heads]]
    table += [[f"**{md(one.text)}**" if one.mark == "best" else md(one.text) for one in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "| " + " | ".join(one.ljust(width) for one, width in zip(row, widths, strict=True)) + " |" for row in table
    )


def md(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*<>|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def html(
    boards: Sequence[Board],
    facts: dict[str, str],
    results: Path,
    out: Path,
    targets: Sequence[Goal] = (),
    scale: Scale = "raw",
) -> str:
    """One page that needs no network: the pictures of the results folder are inside it, and the figures in `out`."""
    page = template("maebench.leaderboard", "leaderboard.html.j2")
    parts = [
        (
            *(
                board,
                *board_table(board, scale),
                [*(row.floor for row in board.rows), *(True for _ in board.baselines)],
                notes(board),
                races(board, targets),
            ),
            [(title, text, _gallery(board, results, name)) for name, (title, text) in GALLERIES.items()],
        )
        for board in boards
    ]
    figures = [(title, uri(out / name), text) for name, (title, text) in FIGURES.items() if (out / name).exists()]
    return page.render(parts=parts, facts=facts, wordy=WORDY, rule=RULE, figures=figures)


def _gallery(board: Board, results: Path, name: str) -> list[tuple[str, str]]:
    """The rows and the picture of each; rows whose pictures are the same, as those of one mask are, share it."""
    labels: dict[str, list[str]] = {}
    for row in board.rows:
        if _is_whole(path := results / row.run_id / name):
            labels.setdefault(uri(path), []).append(row.label)
    return [("; ".join(rows), picture) for picture, rows in labels.items()]


def template(package: str, name: str) -> jinja2.Template:
    """A page of a package's templates, in which every value is escaped, and a missing one is an error."""
    loader = jinja2.PackageLoader(package)
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return pages.get_template(name)


def _is_whole(path: Path) -> bool:
    """Whether a PNG is there to its end."""
    return path.exists() and path.read_bytes().endswith(b"IEND\xaeB`\x82")


def uri(path: Path) -> str:
    """A PNG as text that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def terminal(board: Board, width: int, targets: Sequence[Goal] = (), scale: Scale = "raw") -> Group:
    """The board for a terminal of `width` columns: one table, or where that is too narrow as many as it takes."""
    heads, rows = board_table(board, scale)
    tables = [_table(board.title, heads, rows, range(len(heads)))]
    if _width(tables[0]) > width:
        tables = _narrow(board, heads, rows, width)
    below = [Text(f"failed: {line}", "yellow") for line in board.failures]
    below += [Text(f"suspect: {row.label}, {line}", "yellow") for row in board.rows for line in row.flags]
    if any(row.overall.n for row in board.rows):
        below.append(Text(BRIEFLY, "dim"))
    if any(len(row.seeds) == 1 and not row.floor for row in board.rows):
        below.append(Text(SINGLE, "dim"))
    if not all(row.seeds for row in board.rows):
        below.append(Text(f"1* {ALONE}", "dim"))
    if used := readouts(board):
        below.append(Text("read-outs: " + "; ".join(f"{task} {text}" for task, text in used), "dim"))
    times: list[Text | Table] = []
    for race in races(board, targets):  # a title of the table's own would break at the table's width
        times += [Text(f"\n{race.title}", "bold"), _table("", race.heads, race.rows, range(len(race.heads)))]
    return Group(*tables, *below, *times, *([Text(RULE, "dim")] if times else []))


def _narrow(board: Board, heads: list[str], rows: list[list[Shown]], width: int) -> list[Table]:
    """Tables that repeat rank and row, with as many of the other columns as fit beside them."""
    start = heads.index("seeds")
    heads = ["rank", "variant", *heads[start:]]
    labels = [*(row.label for row in board.rows), *board.baselines]
    rows = [[shown[0], Shown(label), *shown[start:]] for label, shown in zip(labels, rows, strict=False)]
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
        wordy = heads[number] in WORDY
        head = Text(re.sub(r" (?=\S+ )", "\n", heads[number], count=1))
        table.add_column(head, justify="left" if wordy else "right", no_wrap=not wordy, overflow="fold")
    for row in rows:
        cells = [Text(row[number].text, styles[row[number].mark]) for number in keep]
        table.add_row(*cells, style="dim" if row[0].text == "floor" else "")
    return table
