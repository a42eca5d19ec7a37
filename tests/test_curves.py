"""Snapshots of a training: curves of them, a figure, and nothing else of the report that they touch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.boards import CPU, grow, learn, only, put
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from maebench.leaderboard import plots
from maebench.leaderboard.frame import Point
from maebench.leaderboard.report import read, write_all
from maebench.runs import records

PROBE = ("probe", "{}", "top1")


def test_snapshots_leave_every_table_as_it_is(tmp_path: Path) -> None:
    for seed in (0, 1):
        put(tmp_path, "vit", seed, {"probe": 50.0 + seed, "depth": 0.3})
        put(tmp_path, "slow", seed, {"probe": 49.0, "depth": 0.2})
    put(tmp_path, "raw", None, {"probe": 30.0, "depth": 0.5}, floor=True)
    write_all(tmp_path)
    tables = {
        name: (tmp_path / name).read_bytes() for name in ("leaderboard.csv", "leaderboard.md", "accuracy_vs_cost.png")
    }
    for seed in (0, 1):
        grow(tmp_path, f"slow-None-{seed}", "probe", {100: (20.0, 99.0), 200: (40.0, 1.0)})
        grow(tmp_path, f"slow-None-{seed}", "depth", {100: (20.0, 0.01)})
    write_all(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in tables} == tables
    details = set(pd.read_csv(tmp_path / "details.csv")["metric"])
    assert {"top1@step=100", "top1@step=200", "absrel@step=100", "pretrain_seconds@step=100"} <= details


def test_a_curve_is_in_order_of_steps_and_ends_with_the_final_value(tmp_path: Path) -> None:
    run = put(tmp_path, "vit", 0, {"probe": 50.0}, costs={"pretrain_seconds": 60.0})
    grow(tmp_path, run, "probe", {1000: (50.0, 45.0), 200: (10.0, 30.0), 50: (2.5, 20.0)})
    curve = (Point(50, 2.5, 20.0), Point(200, 10.0, 30.0), Point(1000, 50.0, 45.0), Point(None, 60.0, 50.0))
    assert only(tmp_path).rows[0].curves == {PROBE: (curve,)}


def test_each_run_and_task_has_its_own_curve_and_a_value_without_seconds_is_left_out(tmp_path: Path) -> None:
    for seed in (0, 1):
        put(tmp_path, "vit", seed, {"probe": 50.0 + seed, "depth": 0.3}, costs={"pretrain_seconds": 60.0 + seed})
    grow(tmp_path, "vit-None-1", "probe", {200: (10.0, 30.0)})
    path = tmp_path / "vit-None-1" / "cost@1.jsonl"
    records.write_rows(path, [row for row in records.read_rows(path) if row.metric and "@step" not in row.metric.name])
    curves = only(tmp_path).rows[0].curves
    assert curves[PROBE] == ((Point(None, 60.0, 50.0),), (Point(None, 61.0, 51.0),))
    grow(tmp_path, "vit-None-1", "depth", {200: (10.0, 0.9)})
    curves = only(tmp_path).rows[0].curves
    assert [len(curve) for curve in curves["depth", "{}", "absrel"]] == [1, 2]


def test_a_mean_is_over_the_moments_that_every_run_has() -> None:
    short = (Point(10, 1.0, 20.0), Point(None, 4.0, 40.0))
    long = (Point(10, 3.0, 30.0), Point(20, 5.0, 90.0), Point(None, 6.0, 50.0))
    sd = 10 / np.sqrt(2)
    runs = (short, (), long)
    assert plots.means(runs, runs) == [(2.0, 25.0, pytest.approx(sd)), (5.0, 45.0, pytest.approx(sd))]
    assert plots.means((long,), (long,)) == [(3.0, 30.0, None), (5.0, 90.0, None), (6.0, 50.0, None)]
    assert plots.means(((), ()), ((), ())) == []


def test_seconds_are_those_of_one_machine_and_values_those_of_all() -> None:
    slow = (Point(10, 1.0, 20.0), Point(None, 4.0, 40.0))
    fast = (Point(10, 0.1, 30.0), Point(None, 0.4, 60.0))
    sd = 10 / np.sqrt(2)
    assert plots.means((slow,), (slow, fast)) == [(1.0, 25.0, pytest.approx(sd)), (4.0, 50.0, pytest.approx(2 * sd))]
    assert plots.means((fast,), (slow, fast)) == [(0.1, 25.0, pytest.approx(sd)), (0.4, 50.0, pytest.approx(2 * sd))]


def panel_of(folder: Path) -> Axes:
    """The one panel of the figure, drawn without a file."""
    figure = plots.accuracy_vs_time([only(folder)])
    assert figure is not None
    (panel,) = figure.axes
    return panel


def test_a_line_runs_through_the_means_within_its_sd_and_floors_are_dashed(tmp_path: Path) -> None:
    learn(tmp_path, "vit", 0, [20.0, 40.0, 50.0], 60.0)
    learn(tmp_path, "vit", 1, [30.0, 44.0, 52.0], 66.0)
    put(tmp_path, "raw", None, {"probe": 35.0}, floor=True)
    panel = panel_of(tmp_path)
    drawn = [line.get_xydata() for line in panel.lines]
    assert any(np.allclose(one, [[21, 25], [42, 42], [63, 51]]) for one in drawn if len(one) == 3)
    (band,) = panel.collections
    assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(25 - 10 / np.sqrt(2))
    assert [list(line.get_ydata()) for line in panel.lines if line.is_dashed()] == [[35.0, 35.0]]
    assert panel.get_xscale() == "linear"


def test_each_machine_has_its_panel_with_its_own_seconds(tmp_path: Path) -> None:
    learn(tmp_path, "vit", 0, [20.0, 40.0, 50.0], 60.0)
    learn(tmp_path, "vit", 1, [30.0, 44.0, 52.0], 6.0, provenance={"device": "cuda", "device_name": "Big GPU"})
    strips = plots._strips([only(tmp_path)])
    assert [machine for _, machine, _ in strips] == ["Big GPU", "Small CPU, 2 threads"]
    for (board, machine, (column,)), end in zip(strips, (6, 60), strict=True):
        panel = Figure().subplots()
        plots._panel(panel, board, machine, column, plots._lines(strips))
        (line,) = [line.get_xydata() for line in panel.lines if len(line.get_xydata()) == 3]
        assert np.allclose(line, [[end / 3, 25], [2 * end / 3, 42], [end, 51]])


def test_seconds_are_logarithmic_where_snapshots_span_much_of_them(tmp_path: Path) -> None:
    learn(tmp_path, "vit", 0, [20.0 + number for number in range(30)])
    put(tmp_path, "closed", None, {"probe": 35.0}, costs={"pretrain_seconds": 0.0})
    panel = panel_of(tmp_path)
    assert panel.get_xscale() == "log"
    assert min(line.get_xdata().min() for line in panel.lines if len(line.get_xdata())) > 0


def test_the_figure_is_there_only_where_there_are_snapshots(tmp_path: Path) -> None:
    learn(tmp_path, "vit", 0, [20.0, 40.0, 50.0])
    figure = tmp_path / "accuracy_vs_time.png"
    assert figure in write_all(tmp_path).paths
    first = figure.read_bytes()
    page = (tmp_path / "leaderboard.html").read_text()
    assert page.count("<figure>") == 2
    write_all(tmp_path)
    assert figure.read_bytes() == first
    put(tmp_path, "vit", 0, {"probe": 50.0})  # the same run without snapshots
    assert figure not in write_all(tmp_path).paths
    assert not figure.exists(), "a figure of results that are gone would mislead"
    assert (tmp_path / "leaderboard.html").read_text().count("<figure>") == 1


def test_every_row_has_a_line_of_its_own_look(tmp_path: Path) -> None:
    for number in range(12):
        learn(tmp_path, "vit", 0, [20.0, 40.0, 50.0 + number], ratio=number / 20, masking="block")
    put(tmp_path, "closed", None, {"probe": 35.0})
    seen = plots._lines(plots._strips([only(tmp_path)]))
    looks = {(to_hex(line.get_color()), line.get_linestyle(), line.get_marker()) for line in seen.values()}
    assert len(looks) == len(seen) == 13
    assert seen["closed"].get_linestyle() == "None", "a row without snapshots is a point"


BUDGETS: tuple[dict[str, Any], ...] = ({"steps": 600}, {"epochs": 10}, {"epochs": 20}, {"flops": 1e15}, {"seconds": 60})


def test_boards_never_mix_kinds_of_budget(tmp_path: Path) -> None:
    for number, budget in enumerate(BUDGETS):
        put(tmp_path, "vit", 0, {"probe": 50.0 + number}, budget={**budget, "batch": 128}, run=f"vit{number}")
    put(tmp_path, "linear", None, {"probe": 40.0})
    put(tmp_path, "vit", 0, {"probe": 30.0}, floor=True, budget={"steps": 0}, run="untrained")
    put(tmp_path, "raw", None, {"probe": 20.0}, floor=True)
    found = read(tmp_path).boards
    assert [board.kind for board in found] == ["FLOPs", "epochs", "seconds", "steps"]
    assert [board.title for board in found] == [f"scenes, budget in {board.kind}" for board in found]
    for board in found:
        kinds = {next(key for key in row.budget if key != "batch").upper() for row in board.rows if row.trained}
        assert kinds == {board.kind.upper()}
        others = [row.name for row in board.rows if not row.trained]
        assert others == ["linear", "vit (untrained)", "raw"]
        assert [row.variant for row in board.rows if row.rank] == ["linear"], "the others have one seed each"
    trained = [row.run_id for board in found for row in board.rows if row.trained]
    assert sorted(trained) == [f"vit{number}" for number in range(5)], "each on one board"
    (epochs,) = [board for board in found if board.kind == "epochs"]
    assert [row.label for row in epochs.rows[:3]] == ["linear", "vit epochs=20", "vit epochs=10"]
    write_all(tmp_path)
    wide = pd.read_csv(tmp_path / "leaderboard.csv")
    assert wide.groupby("budget_kind").size().to_dict() == {"FLOPs": 4, "epochs": 5, "seconds": 4, "steps": 4}


def test_one_kind_of_budget_needs_no_word_in_the_title(tmp_path: Path) -> None:
    put(tmp_path, "linear", None, {"probe": 40.0})
    assert (only(tmp_path).title, only(tmp_path).kind) == ("scenes", "")
    put(tmp_path, "vit", 0, {"probe": 50.0}, budget={"flops": 2.5e15})
    assert (only(tmp_path).title, only(tmp_path).kind) == ("scenes", "FLOPs")


def test_large_budgets_are_told_apart_in_few_digits(tmp_path: Path) -> None:
    for number, flops in enumerate((1e15, 2.5e15)):
        put(tmp_path, "vit", 0, {"probe": 50.0}, budget={"flops": flops, "batch": 128}, run=f"vit{number}")
    assert {row.label for row in only(tmp_path).rows} == {"vit flops=1e+15", "vit flops=2.5e+15"}


def test_read_outs_stand_below_the_board(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0}, readout="pooled")
    put(tmp_path, "ae", 0, {"probe": 40.0}, readout="pooled")
    write_all(tmp_path)
    assert "- probe read-out: pooled\n" in (tmp_path / "leaderboard.md").read_text()
    put(tmp_path, "raw", None, {"probe": 40.0}, readout="global", floor=True)
    write_all(tmp_path)
    assert "- probe read-out: global (raw), pooled (ae, vit)\n" in (tmp_path / "leaderboard.md").read_text()


def test_phases_stay_in_the_details(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0}, phases={"probe": 2.5}, provenance=CPU)
    write_all(tmp_path)
    details = pd.read_csv(tmp_path / "details.csv")
    assert {json.dumps({"probe": 2.5})} == set(details["phases"])
