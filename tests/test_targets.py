"""Seconds to a target: the first snapshot that is as good, and never a number where a run fell short."""

import io
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.boards import CPU, learn, only, put
from rich.console import Console

from maebench.leaderboard import pages, tables
from maebench.leaderboard.board import Column, Share
from maebench.leaderboard.frame import Curve, Point
from maebench.leaderboard.report import write_all
from maebench.leaderboard.time_to_target import Goal, Reach, parse, reach

UP = Column("probe", "{}", "top1", "%", "higher")
DOWN = Column("depth", "{}", "absrel", "", "lower")


def share(column: Column, *curves: Curve, runs: int | None = None) -> Share:
    """The runs of a row on one machine, with these curves."""
    return Share("cpu", len(curves) if runs is None else runs, {}, {column.key: curves})


def curve(*values: float, pace: float = 10.0) -> Curve:
    """A point every `pace` seconds, the last one final."""
    points = [Point(number, pace * number, value) for number, value in enumerate(values, 1)]
    return (*points[:-1], replace(points[-1], step=None))


def test_the_first_snapshot_counts_even_if_a_later_one_falls_back() -> None:
    assert reach(share(UP, curve(30, 46, 44, 47)), UP, 45) == Reach(20.0, 10.0, 1, 1)
    assert reach(share(UP, curve(45, 46)), UP, 45) == Reach(10.0, 0.0, 1, 1), "as good is reached"
    assert reach(share(UP, curve(30, 40, 44)), UP, 45) == Reach(None, 30.0, 0, 1)


def test_lower_is_better_mirrors_higher_is_better() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        curves = [curve(*rng.normal(size=6).tolist(), pace=float(rng.uniform(1, 9))) for _ in range(3)]
        mirrored = [tuple(replace(point, value=-point.value) for point in one) for one in curves]
        value = float(rng.normal())
        assert reach(share(UP, *curves), UP, value) == reach(share(DOWN, *mirrored), DOWN, -value)


def test_without_censoring_it_is_the_later_median() -> None:
    curves = [curve(*[0.0] * wait, 1.0) for wait in (7, 1, 3, 5)]
    for count in range(1, 5):
        found = reach(share(UP, *curves[:count]), UP, 1.0)
        times = [one[-1].seconds for one in curves[:count]]
        assert found == Reach(statistics.median_high(times), statistics.median_high(times) - 10, count, count)


def test_a_run_that_falls_short_is_never_counted_as_if_it_had_reached() -> None:
    fast, short = curve(0.0, 1.0), curve(*[0.0] * 80)
    assert reach(share(UP, fast, short), UP, 1.0) == Reach(None, 800.0, 1, 2), "no mean of 20 and 800"
    assert reach(share(UP, fast, fast, short), UP, 1.0) == Reach(20.0, 10.0, 2, 3)
    assert reach(share(UP, fast, short, short), UP, 1.0) == Reach(None, 800.0, 1, 3)
    lost: Curve = ()
    assert reach(share(UP, fast, fast, lost), UP, 1.0) == Reach(20.0, 10.0, 2, 3)
    assert reach(share(UP, fast, runs=3), UP, 1.0) == Reach(None, 0.0, 1, 3), "runs without a curve count too"


def test_what_is_said_of_runs_cut_short_holds_for_the_whole_runs() -> None:
    rng = np.random.default_rng(0)
    open_ends = 0
    for _ in range(300):
        whole = [curve(*rng.normal(size=8).cumsum().tolist(), 99.0, pace=float(rng.uniform(1, 9))) for _ in range(4)]
        cut = [one[: rng.integers(1, 10)] for one in whole]
        truth, found = (reach(share(UP, *curves), UP, 1.5) for curves in (whole, cut))
        assert truth.seconds is not None
        open_ends += found.seconds is None
        assert found.reached <= truth.reached == 4
        assert found.seconds in (None, truth.seconds)
        assert found.after < truth.seconds
    assert 50 < open_ends < 300


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("probe", "--target probe: write TASK=VALUE"),
        ("prob=45", "--target prob=45: no results of a task called 'prob'; did you mean 'probe'?"),
        ("cost=45", "--target cost=45: no results of a task called 'cost'"),
        ("probe=high", "--target probe=high: 'high' is no number; write TASK=VALUE"),
        ("probe=", "'' is no number"),
        ("probe=nan", "'nan' is no number"),
        ("probe=inf", "'inf' is no number"),
    ],
)
def test_a_target_that_cannot_be_is_one_line_and_no_file(tmp_path: Path, word: str, message: str) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0})
    with pytest.raises(ValueError, match="--target") as caught:
        write_all(tmp_path, [word])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.*"))


def test_a_target_is_parsed_once(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0, "depth": 0.2})
    found = parse(["probe=45", "depth=1e-1", "probe=45.0"], [only(tmp_path)])
    assert found == (Goal("probe", 45.0), Goal("depth", 0.1))


def example(folder: Path) -> None:
    """A row that gets there, one that does not, one with a seed that does not, a closed form, a floor, a failure."""
    for seed in range(3):
        learn(folder, "fast", seed, [30.0, 46.0, 48.0, 50.0], 800.0)
        learn(folder, "slow", seed, [30.0, 32.0, 38.0, 40.0], 812.0)
        learn(folder, "torn", seed, [30.0, 32.0, 44.0, 44.0 + (seed == 1)], 600.0)
    put(folder, "closed", None, {"probe": 45.0}, costs={"pretrain_seconds": 4.5})
    put(folder, "raw", None, {"probe": 35.0}, floor=True)
    put(folder, "lost", 0, {"probe": "no memory"})


SHOWN = {
    "fast": ["400.0", "200.0", "3 of 3"],
    "slow": ["> 812.0 (not reached)", "", "0 of 3"],
    "torn": ["> 600.0 (not reached by all)", "", "1 of 3"],
    "closed": ["4.500", "0", "1 of 1"],
    "raw": ["not reached", "", "0 of 1"],
    "lost": ["-", "", "0 of 1"],
}


def test_every_format_says_when_each_row_gets_there(tmp_path: Path) -> None:
    example(tmp_path)
    written = write_all(tmp_path, ["probe=45"])
    (board,) = written.boards
    (race,) = tables.races(board, written.targets)
    assert race.heads == ["row", "seconds", "later than", "runs"]
    assert {first.text: [one.text for one in others] for first, *others in race.rows} == SHOWN
    title = "Seconds of pretraining until probe top1 % ≥ 45"
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(pages.terminal(board, 80, written.targets))
    texts = [(tmp_path / f"leaderboard.{ending}").read_text() for ending in ("md", "html")]
    for page in (*texts, console.file.getvalue()):  # type: ignore[attr-defined]
        assert title in page
        assert all(text in page.replace("\\>", ">").replace("&gt;", ">") for texts in SHOWN.values() for text in texts)


def test_the_csv_leaves_the_seconds_empty_where_they_are_not_known(tmp_path: Path) -> None:
    example(tmp_path)
    path = tmp_path / "time_to_target.csv"
    assert path in write_all(tmp_path, ["probe=45", "probe=29"]).paths
    table = pd.read_csv(path)
    assert table.groupby("target").size().to_dict() == {29.0: 6, 45.0: 6}
    found = table[table.target == 45].set_index("variant")
    assert {name: None if math.isnan(one) else one for name, one in found.seconds.items()} == {
        **{"fast": 400.0, "closed": 4.5, "slow": None},
        **{"torn": None, "raw": None, "lost": None},
    }
    assert found.later_than[["fast", "slow", "torn", "closed"]].tolist() == [200.0, 812.0, 600.0, 0.0]
    write_all(tmp_path)
    assert not path.exists(), "times of earlier results would mislead"


def test_rows_of_two_machines_are_named_and_a_board_without_the_task_has_no_table(tmp_path: Path) -> None:
    learn(tmp_path, "vit", 0, [30.0, 46.0])
    learn(tmp_path, "ae", 0, [30.0, 46.0], provenance={"device": "cuda", "device_name": "Big GPU"})
    (race,) = tables.races(only(tmp_path), [Goal("probe", 45.0)])
    assert sorted(one[1].text for one in race.rows) == ["Big GPU", "Small CPU, 2 threads"]
    put(tmp_path, "vit", 0, {"depth": 0.2}, dataset="photos", run="c")
    written = write_all(tmp_path, ["probe=45"])
    assert [len(tables.races(board, written.targets)) for board in written.boards] == [0, 1]
    assert (tmp_path / "leaderboard.md").read_text().count("without interpolation") == 1


def test_seconds_of_two_machines_make_no_median(tmp_path: Path) -> None:
    for seed, (threads, seconds) in enumerate([(1, 60.0), (1, 70.0), (2, 30.0)]):
        learn(tmp_path, "vit", seed, [30.0, 46.0], seconds, provenance={**CPU, "threads": threads})
    put(tmp_path, "raw", None, {"probe": 35.0}, floor=True)
    written = write_all(tmp_path, ["probe=45"])
    (race,) = tables.races(written.boards[0], written.targets)
    shown = [[one.text for one in line] for line in race.rows]
    assert shown[0] == ["vit", "Small CPU, 1 threads", "70.00", "35.00", "2 of 2"]
    assert shown[1] == ["vit", "Small CPU, 2 threads", "30.00", "15.00", "1 of 1"]
    assert race.floors == [False, False, True]
    table = pd.read_csv(tmp_path / "time_to_target.csv")
    assert table[["hardware", "seeds", "seconds"]].to_numpy().tolist()[:2] == [
        ["Small CPU, 1 threads", 2, 70.0],
        ["Small CPU, 2 threads", 1, 30.0],
    ]
    page = (tmp_path / "leaderboard.html").read_text()
    assert page.count('<tr class="floor">') == 2, "one in each table"


def test_lower_is_better_is_written_so(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"depth": 0.2}, costs={"pretrain_seconds": 60.0})
    (race,) = tables.races(only(tmp_path), [Goal("depth", 0.25)])
    assert race.title == "Seconds of pretraining until depth absrel ≤ 0.25"
    assert race.rows[0][1].text == "60.00"
