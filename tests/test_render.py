"""Boards as Markdown, HTML and terminal tables: what people read, and what names may not do to it."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from builders.boards import CPU, only, put, put_on_two_machines
from rich.console import Console

from maebench.leaderboard import pages, tables
from maebench.leaderboard.report import write_all
from maebench.runs import drawing

GOLDEN = Path(__file__).parent / "golden" / "leaderboard.md"
EVIL = "<script>alert('x')</script>|[red]*a*"


def example(folder: Path) -> None:
    """Two data sets; floors, a closed form, three seeds, a failure."""
    provenance = {**CPU, "date": "2025-01-02T03:04:05", "command": "maebench run quick.yaml", "commit": "0a1b2c"}
    for seed in (0, 1, 2):
        for ratio in (0.5, 0.75):
            scores: dict[str, float | str] = {"probe": 50 + 4 * ratio + 0.3 * seed, "depth": 0.3 - 0.02 * seed * ratio}
            if (seed, ratio) == (1, 0.5):
                scores["depth"] = "FloatingPointError: the loss is not finite"
            costs = {"pretrain_seconds": 60.0 + seed, "images_per_second": 2500.0 - 9 * seed}
            put(folder, "vit_mae", seed, scores, masking="block", ratio=ratio, settings={"width": 96, "depth": 4},
                masking_settings={"aspect": 0.3}, costs=costs, provenance=provenance)  # fmt: skip
    linear = {"k": 64, "masking": "uniform", "ratio": 0.75}
    put(folder, "linear_mae", None, {"probe": 41.25, "depth": 0.351}, settings=linear, provenance=provenance)
    put(folder, "raw_pixels", None, {"probe": 30.5, "depth": 0.42}, floor=True, provenance=provenance)
    put(
        folder,
        "vit_mae",
        0,
        {"probe": 44.0},
        masking="block",
        ratio=0.5,
        dataset="photos",
        run="photo",
        provenance=provenance,
    )


def test_the_markdown_is_the_golden_one(tmp_path: Path) -> None:
    example(tmp_path)
    write_all(tmp_path)
    assert (tmp_path / "leaderboard.md").read_text() == GOLDEN.read_text()


def test_markdown_cells_cannot_break_the_table(tmp_path: Path) -> None:
    put(tmp_path, EVIL, 0, {"probe": 50.0}, run="evil", settings={"a\nb": "|"})
    put(tmp_path, EVIL, 0, {"probe": 50.0}, run="worse", settings={"a\nb": "||"})
    text = pages.markdown([only(tmp_path)], {})
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(row) for row in rows}) == 1
    assert "<script" not in text.replace("\\<script", "")


class Page(HTMLParser):
    """Every tag with its attributes, and the text of each table cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_html_escapes_names_and_needs_no_network(tmp_path: Path) -> None:
    run = put(tmp_path, EVIL, 0, {"probe": 50.0, "depth": EVIL}, run="evil", dataset=EVIL, masking=EVIL)
    image = np.zeros((1, 3, 4, 4))
    drawing.reconstruction(tmp_path / run / "reconstruction.png", image, image, image, "evil")
    write_all(tmp_path)
    text = (tmp_path / "leaderboard.html").read_text()
    page = Page(text)
    assert len(page.of("script")) == 1  # the one that sorts
    assert not re.search(r"https?://|@import|url\(", text)
    assert len(page.of("img")) == 2
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.of("img"))
    assert not page.of("link")


def test_html_sorts_by_numbers_and_marks_rows(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 9.5}, costs={"parameters": 1.2e6})
    put(tmp_path, "linear", None, {"probe": 10.25}, costs={"parameters": 800.0})
    put(tmp_path, "raw", None, {"probe": 3.0}, floor=True)
    put(tmp_path, "lost", 0, {"probe": "no memory"})
    write_all(tmp_path)
    page = Page((tmp_path / "leaderboard.html").read_text())
    numbers = [cell.get("data-number") for cell in page.of("td")]
    columns = len(page.of("th"))
    probe = [numbers[row * columns + 6] for row in range(4)]
    assert probe == ["10.25", "9.5", None, "3.0"]
    assert [row.get("class") for row in page.of("tr")] == [None, None, None, None, "floor"]
    assert [cell["class"] for cell in page.of("td")][2 * columns + 6] == "failed"


def test_the_best_is_bold_but_a_floor_is_not(tmp_path: Path) -> None:
    put(tmp_path, "good", 0, {"probe": 60.0})
    put(tmp_path, "bad", 0, {"probe": 40.0})
    put(tmp_path, "raw", None, {"probe": 90.0}, floor=True)
    heads, rows = tables.board_table(only(tmp_path))
    place = heads.index("probe top1 % ↑")
    assert [row[place].mark for row in rows] == ["best", "", ""]


def test_what_a_task_scores_without_images_is_a_floor_of_its_column(tmp_path: Path) -> None:
    for seed in (0, 1):
        put(tmp_path, "vit", seed, {"probe": 50.0 + seed, "depth": 0.2}, details={"absrel@baseline=row mean": 0.25})
    heads, rows = tables.board_table(only(tmp_path))
    shown = dict(zip(heads, rows[-1], strict=True))
    assert (shown["rank"].text, shown["variant"].text) == ("floor", "row mean")
    assert {head: cell.text for head, cell in shown.items() if cell.number is not None} == {"depth absrel ↓": "0.2500"}
    assert "row mean" in pages.markdown([only(tmp_path)], {})
    assert "row mean" not in pages.markdown([only(tmp_path)], {}, scale="scaled"), "its place between them is unknown"
    for width in (40, 200):
        console = Console(width=width, file=io.StringIO())
        console.print(pages.terminal(only(tmp_path), width))
        assert "row mean" in console.file.getvalue()


def test_times_of_two_machines_are_not_compared(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 60.0}, costs={"pretrain_seconds": 90.0, "parameters": 5.0})
    put(tmp_path, "linear", 0, {"probe": 50.0}, costs={"pretrain_seconds": 30.0})
    heads, rows = tables.board_table(only(tmp_path))
    assert "hardware" not in heads
    assert [row[heads.index("pretrain s ↓")].mark for row in rows] == ["", "best"]
    put(tmp_path, "ae", 0, {"probe": 61.0}, provenance={"device": "cuda", "device_name": "Big GPU"})
    heads, rows = tables.board_table(only(tmp_path))
    assert "hardware" in heads
    assert {row[heads.index("pretrain s ↓")].mark for row in rows} == {""}
    assert "best" in {row[heads.index("parameters ↓")].mark for row in rows}


def test_a_row_of_two_machines_has_the_costs_of_each_and_none_is_best(tmp_path: Path) -> None:
    put_on_two_machines(tmp_path)
    write_all(tmp_path)
    heads, rows = tables.board_table(only(tmp_path))
    cells = {head: [row[place] for row in rows] for place, head in enumerate(heads)}
    assert [one.text for one in cells["seeds"]] == ["3", "1*"]
    names = ["Small CPU, 1 threads (2 runs) / Small CPU, 2 threads (1 run)", "Small CPU, 2 threads"]
    assert [one.text for one in cells["hardware"]] == names
    assert [one.text for one in cells["pretrain s ↓"]] == ["61 ± 13 / 30.00", "60.00"]
    assert [one.number for one in cells["pretrain s ↓"]] == [None, 60.0]
    assert {one.mark for head in ("pretrain s ↓", "images/s ↑", "peak MiB ↓") for one in cells[head]} == {""}
    assert [one.mark for one in cells["parameters ↓"]] == ["", "best"]
    assert cells["probe top1 % ↑"][0].mark == "best"
    for ending in ("md", "html"):
        page = (tmp_path / f"leaderboard.{ending}").read_text()
        assert "61 ± 13 / 30.00" in page
        assert "a row from several has one of each a machine, in the order in which it names them" in page
        assert "seconds buy more steps" not in page


def test_a_cost_that_no_machine_has_is_one_dash(tmp_path: Path) -> None:
    put_on_two_machines(tmp_path)
    for path in tmp_path.glob("vit*/cost@1.jsonl"):
        path.unlink()
    heads, rows = tables.board_table(only(tmp_path))
    shown = rows[0][heads.index("pretrain s ↓")]
    assert (shown.text, shown.mark) == ("-", "missing")


def test_a_budget_in_seconds_on_two_machines_is_remarked(tmp_path: Path) -> None:
    put_on_two_machines(tmp_path, budget={"seconds": 60})
    assert any("seconds buy more steps on a faster machine" in text for _, text in tables.notes(only(tmp_path)))


@pytest.mark.parametrize("width", [80, 100, 250])
def test_the_terminal_shows_every_number_at_any_width(tmp_path: Path, width: int) -> None:
    example(tmp_path)
    put(tmp_path, EVIL, 0, {"probe": 20.0}, run="evil", dataset="photos")
    console = Console(width=width, file=io.StringIO(), color_system=None)
    boards = write_all(tmp_path).boards
    for board in boards:
        console.print(pages.terminal(board, width))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    cells = [
        cell for board in boards for row in tables.board_table(board)[1] for cell in row if cell.number is not None
    ]
    assert cells
    assert all(cell.text in text for cell in cells)
    assert "[red]" in text.replace("\n", "") or width < 250


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (43.2149, 0.5234, "43.21 ± 0.52"), (43.2149, 0.0996, "43.21 ± 0.10"), (1234.5, 57.0, "1234 ± 57"),
        (0.5, None, "0.5000"), (43.2149, None, "43.21"), (-0.001, None, "-0.001000"), (0.0, None, "0"),
        (43.0, 0.0, "43.00 ± 0"), (0.1 + 0.2, 1e-17, "0.3000 ± 0"),
    ],
)  # fmt: skip
def test_plain_shows_two_digits_of_the_sd(mean: float, sd: float | None, text: str) -> None:
    assert tables.plain(mean, sd) == text


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (612034, 0.0, "612 k"), (3.4e9, None, "3.40 G"), (999_600, None, "1.00 M"), (12, None, "12"), (0, None, "0"),
        (12340.0, 210.0, "12.34 ± 0.21 k"), (512.5, None, "512"),
    ],
)  # fmt: skip
def test_short_counts_in_thousands(mean: float, sd: float | None, text: str) -> None:
    assert tables.short(mean, sd) == text
