"""Figures: the right pixels, names that do not meet, a front that nothing beats."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders.boards import learn, only, put, put_on_two_machines
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from maebench.leaderboard import panels, plots
from maebench.leaderboard.board import Board
from maebench.runs import drawing


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")) / 255


def test_reconstruction_shows_pixels_as_they_are_and_hides_the_hidden(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 3, 8, 8)).round(1)
    seen = images.copy()
    seen[:, :, :4, :4] = np.nan
    drawing.reconstruction(tmp_path / "a.png", images, seen, 1 - images, "no $\\maths$ in a title_")
    drawn = read(tmp_path / "a.png")
    scale, gap, left, top = 12, 6, 110, 34
    for row, batch in enumerate((images, seen, 1 - images)):
        for column in range(2):
            y, x = top + row * (8 * scale + gap), left + column * (8 * scale + gap)
            tile = drawn[y : y + 8 * scale, x : x + 8 * scale][scale // 2 :: scale, scale // 2 :: scale]
            wanted = batch[column].transpose(1, 2, 0)
            known = ~np.isnan(wanted)
            assert np.abs(tile - wanted)[known].max() < 0.01
            assert np.ptp(tile[~known].reshape(-1, 3), axis=1).max(initial=0) == 0  # hidden is a grey


def test_hidden_is_hatched_so_no_flat_grey_looks_like_it(tmp_path: Path) -> None:
    grey = np.full((1, 1, 4, 4), 0.78)
    drawing.reconstruction(tmp_path / "a.png", grey, np.full_like(grey, np.nan), grey, "grey")
    tiles = read(tmp_path / "a.png")[34:, 110:206, 0]
    assert len(np.unique(tiles[:96].round(2))) == 1
    assert len(np.unique(tiles[102:198].round(2))) == 2


def test_reconstruction_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = np.array([-3.0, 5.0]).reshape(2, 1, 1, 1) * np.ones((1, 1, 2, 2))
    drawing.reconstruction(tmp_path / "a.png", images, images, images, "")
    drawn = read(tmp_path / "a.png")
    assert (drawn[40, 120].max(), drawn[40, 230].min()) == (0, 1)
    assert not caplog.records  # matplotlib would clip too, and complain


def board_of_oddities(folder: Path) -> None:
    """No cost, cost zero, one seed, three seeds, a `$` in a name, a floor far off, a task that failed everywhere."""
    put(folder, "closed $\\form$", None, {"probe": 40.0, "depth": "lost"}, costs={"pretrain_seconds": 0.0})
    put(folder, "single", 0, {"probe": 50.0, "depth": "lost"})
    put(folder, "raw_pixels", None, {"probe": 35.0}, floor=True)
    put(folder, "blank", None, {"probe": -900.0}, floor=True)
    for seed in range(3):
        put(folder, "vit", seed, {"probe": 55.0 + seed}, masking="block", ratio=0.5)


def test_accuracy_vs_cost_draws_odd_boards_the_same_each_time(tmp_path: Path) -> None:
    board_of_oddities(tmp_path)
    path = tmp_path / "a.png"
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), path)
    first = path.read_bytes()
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), path)
    assert path.read_bytes() == first
    assert 0.01 < (read(path) < 0.99).mean() < 0.5  # neither empty nor full
    assert io.BytesIO(first).read(4) == b"\x89PNG"


def test_a_row_of_two_machines_has_its_whole_score_at_the_cost_of_each(tmp_path: Path) -> None:
    put_on_two_machines(tmp_path)
    board = only(tmp_path)
    (column,) = [one for one in board.columns if one.task == "probe"]
    for machine, points in zip(board.hardware, ([(61, 51)], [(30, 51), (60, 40)]), strict=True):
        panel = Figure().subplots()
        plots._costs(panel, board, machine, column, panels.looks(board.rows))
        marked = [line.get_xydata()[0] for line in panel.lines if line.get_marker() in ("o", "s")]
        assert np.allclose(marked, points)


def test_a_board_of_floors_or_without_tasks_is_drawn(tmp_path: Path) -> None:
    put(tmp_path, "raw_pixels", None, {"probe": 0.0}, floor=True)
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), tmp_path / "a.png")
    put(tmp_path, "raw_pixels", None, {"probe": "lost"}, floor=True)
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_a_crowd_is_drawn(tmp_path: Path) -> None:
    for number in range(80):
        put(tmp_path, f"a_variant_with_a_long_name_{number}", None, {"probe": 50.0 + number})
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), tmp_path / "a.png")
    assert read(tmp_path / "a.png").shape[0] < 2500  # pixels; the legend is cut


def long_names(folder: Path, rows: int) -> None:
    """Rows of one variant that differ in all settings, each with its untrained floor."""
    for number in range(rows):
        names = ("patch", "width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads", "drop_path")
        settings = {name: 10 * number + place for place, name in enumerate(names)}
        learn(folder, "vit", 0, [20.0, 40.0 + number], settings=settings, masking="block", ratio=0.5, run=f"a{number}")
        floor = {"floor": True, "budget": {"steps": 0}, "run": f"b{number}"}
        put(folder, "vit", 0, {"probe": 20.0 + number}, settings=settings, **floor)
    put(folder, "raw", None, {"probe": 35.0, "depth": 0.2}, floor=True)


@pytest.mark.parametrize("rows", [2, 24])
@pytest.mark.parametrize("draw", [plots.accuracy_vs_cost, plots.accuracy_vs_time])
def test_long_names_cover_no_panel_and_are_not_cut(
    tmp_path: Path, rows: int, draw: Callable[[list[Board]], Figure]
) -> None:
    long_names(tmp_path, rows)
    board = only(tmp_path)
    figure = draw([board])
    FigureCanvasAgg(figure).draw()  # a warning of matplotlib would fail here
    (legend,) = figure.legends
    box, shown = legend.get_window_extent(), [panel.get_tightbbox() for panel in figure.axes if panel.axison]
    assert not any(box.overlaps(panel) for panel in shown)
    for x, y in (*box.corners(), *(corner for panel in shown for corner in panel.corners())):
        assert -1 <= x <= figure.bbox.width + 1
        assert -1 <= y <= figure.bbox.height + 1
    assert min(panel.get_window_extent().height for panel in figure.axes) > 200, "a panel stays a panel"
    texts = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    beside = {text.get_text().split(":")[0] for panel in figure.axes for text in panel.texts}
    for row in board.rows:
        (name,) = [text for text in texts if text.endswith(row.label)] or [row.label]
        assert name == row.label or row.floor
        assert not row.floor or name.split(":")[0] in beside or rows > 12, "of many floors the best are named"


def test_letters_without_a_font_are_no_warning(tmp_path: Path) -> None:
    put(tmp_path, "模型", 0, {"probe": 50.0})
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("costs", "edge", "labels"),
    [
        ([1 / 3, 1.0, 60.0], 1 / 3, ["0", "1", "10", "100"]),
        ([60.0, 70.0], 20.0, ["50", "100"]),
        ([0.4, 4000.0], 0.1, ["1", "10", "100", "1000"]),
    ],
)
def test_seconds_are_plain_numbers_and_no_cost_is_zero(costs: list[float], edge: float, labels: list[str]) -> None:
    panel = Figure().subplots()
    panels.log_seconds(panel, costs, edge)
    assert [tick.get_text() for tick in panel.get_xticklabels()] == labels


def test_names_keep_their_order_and_their_distance() -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 12):
        places = np.sort(rng.random(count) * rng.choice([0.01, 1.0]))
        found = np.array(panels.apart(places.tolist(), 0.05))
        assert (np.diff(found) > 0.05 - 1e-3).all()
        assert (found > -1e-3).all()
        assert (found < 1 + 1e-3).all()
    roomy = [0.0, 0.1, 0.7, 1.0]
    assert panels.apart(roomy, 0.05) == roomy, "nobody is moved without need"
    assert panels.apart([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9]), "nor further than needed"
    assert panels.apart([-9.0, 0.0, 9.0], 0.1) == pytest.approx([0.0, 0.1, 1.0], abs=1e-3)


@pytest.mark.parametrize(("better", "sign"), [("higher", 1), ("lower", -1)])
def test_nothing_beats_the_front(better: str, sign: int) -> None:
    points = np.random.default_rng(0).random((40, 2))
    panel = Figure().subplots()
    plots._front(panel, [tuple(point) for point in points], better)
    front = panel.lines[0].get_xydata()
    for cost, mean in front:
        assert not ((points[:, 0] <= cost) & (sign * points[:, 1] > sign * mean)).any()
    assert any((point == points[sign * points[:, 1] == (sign * points[:, 1]).max()][0]).all() for point in front)


def test_rows_of_one_variant_share_the_colour_and_differ_in_the_marker(tmp_path: Path) -> None:
    for ratio in (0.25, 0.5, 0.75):
        put(tmp_path, "vit", 0, {"probe": 50.0}, masking="block", ratio=ratio)
    put(tmp_path, "linear", None, {"probe": 40.0})
    looks = panels.looks(only(tmp_path).rows)
    vits = [look for label, look in looks.items() if label.startswith("vit")]
    assert len({colour for colour, _ in vits}) == 1
    assert len({marker for _, marker in vits}) == 3
    assert looks["linear"][0] != vits[0][0]


def test_the_reading_side_starts_without_torch_and_pyplot() -> None:
    code = "import sys, maebench.leaderboard.report; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_row_whose_cost_is_not_known_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0})
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), tmp_path / "without.png")
    put(tmp_path, "elsewhere", None, {"probe": 50.0}, costs={"pretrain_seconds": None})
    drawing.save_png(plots.accuracy_vs_cost([only(tmp_path)]), tmp_path / "with.png")
    assert (tmp_path / "with.png").read_bytes() == (tmp_path / "without.png").read_bytes()
