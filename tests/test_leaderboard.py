"""Result files -> boards: means, spreads, ranks, gaps, machines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.boards import CPU, HEADLINES, only, put, put_on_two_machines, put_scored, record
from scipy import stats

from maebench.leaderboard.board import Board, Row, Summary
from maebench.leaderboard.frame import tidy
from maebench.leaderboard.report import read, wide_table, write_all
from maebench.leaderboard.rows import boards
from maebench.leaderboard.tables import notes
from maebench.runs.records import write_rows


def by_name(board: Board) -> dict[str, Row]:
    """Its rows, by what names them."""
    return {row.label: row for row in board.rows}


def test_mean_and_sd_are_those_of_numpy(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(50, 5, 4)
    for seed, value in enumerate(values):
        put(tmp_path, "vit", seed, {"probe": float(value)})
    cell = only(tmp_path).rows[0].cells["probe", "{}", "top1"]
    assert (cell.mean, cell.sd, cell.n) == pytest.approx((values.mean(), values.std(ddof=1), 4))


def test_one_seed_has_no_sd_and_no_seed_is_one_run(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0})
    put(tmp_path, "linear", None, {"probe": 40.0})
    rows = by_name(only(tmp_path))
    assert [rows[name].cells["probe", "{}", "top1"].sd for name in ("vit", "linear")] == [None, None]
    assert (rows["vit"].seeds, rows["linear"].seeds, rows["linear"].runs) == ((0,), (), 1)
    assert rows["linear"].rank == (1, 1)  # one run of a variant without randomness is complete
    assert rows["vit"].rank is None, "one seed of several tells no error"
    assert rows["vit"].overall.mean == pytest.approx((50 - 10) / 90)


def test_overall_is_the_mean_between_floor_and_ceiling_and_knows_directions(tmp_path: Path) -> None:
    put(tmp_path, "best", None, {"probe": 55.0, "depth": 0.2})
    put(tmp_path, "half", None, {"probe": 32.5, "depth": 0.25})
    put(tmp_path, "floor", None, {"probe": 10.0, "depth": 1.0}, floor=True)
    rows = by_name(only(tmp_path))
    assert list(rows) == ["best", "half", "floor"]
    assert rows["best"].between["depth", "{}", "absrel"].mean == pytest.approx(0.8)
    assert rows["best"].overall.mean == pytest.approx((0.5 + 0.8) / 2)
    assert rows["half"].overall.mean == pytest.approx((0.25 + 0.75) / 2)
    assert rows["floor"].overall.mean == 0
    assert rows["floor"].rank is None


def seeds_of(folder: Path, variant: str, values: list[float], **given: str) -> None:
    for seed, value in enumerate(values):
        put(folder, variant, seed, {"probe": value}, run=f"{variant}{seed}", **given)


def test_rows_that_no_test_tells_apart_may_have_each_others_ranks(tmp_path: Path) -> None:
    seeds_of(tmp_path, "good", [80.0, 80.2, 79.9, 80.1])
    seeds_of(tmp_path, "alike", [80.1, 79.9, 80.2, 80.0])
    seeds_of(tmp_path, "poor", [60.2, 60.1, 60.0, 59.9])
    rows = by_name(only(tmp_path))
    assert {name: row.rank for name, row in rows.items()} == {"good": (1, 2), "alike": (1, 2), "poor": (3, 3)}
    key = ("probe", "{}", "top1")
    assert {name for name in rows if key in rows[name].leads} == {"good", "alike"}


def test_intervals_are_those_of_the_t_distribution_over_seeds(tmp_path: Path) -> None:
    values = [80.0, 82.0, 79.0]
    seeds_of(tmp_path, "vit", values)
    cell = only(tmp_path).rows[0].cells["probe", "{}", "top1"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (cell.half, cell.mean) == pytest.approx(((high - low) / 2, (high + low) / 2))
    seconds = only(tmp_path).rows[0].cells["cost", "{}", "pretrain_seconds"]
    assert seconds.half is None, "equal seconds tell no spread"


def test_images_that_were_kept_widen_the_interval_and_pair_the_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 20, 400)  # images are hard for both
    first = 60 + hard + rng.normal(0, 3, (3, 400))
    put_scored(tmp_path, "first", {"probe": first})
    put_scored(tmp_path, "second", {"probe": first - 2 + rng.normal(0, 3, (3, 400))})
    rows = by_name(only(tmp_path))
    write_all(tmp_path)
    parts = pd.read_csv(tmp_path / "variance.csv").set_index("variant").loc["first"]
    assert parts["images"] * 400 == pytest.approx(hard.var(ddof=1), rel=0.1)
    assert parts["residual"] * 400 == pytest.approx(9, rel=0.2)
    half = rows["first"].cells["probe", "{}", "top1"].half
    assert half is not None
    assert half > 1.5, "400 images whose scores spread by 20"
    assert (rows["first"].rank, rows["second"].rank) == ((1, 1), (2, 2)), "2 points apart, image by image"


def test_a_row_below_its_untrained_self_is_suspect(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 30.0}, floor=True, budget={"steps": 0}, run="untrained")
    seeds_of(tmp_path, "vit", [25.0, 26.0], masking="block")
    seeds_of(tmp_path, "other", [25.0, 26.0])
    rows = by_name(only(tmp_path))
    assert ["below" in line for line in rows["vit block"].flags] == [True]
    assert rows["other"].flags == ()


def test_a_board_without_floors_and_ceilings_says_why_nobody_is_ranked(tmp_path: Path) -> None:
    write_rows(tmp_path / "run" / "other@1.jsonl", [record("run", "vit", 0, task="other")])
    (board,) = read(tmp_path).boards
    assert board.rows[0].rank is None
    assert dict(notes(board))["rank"].startswith("none: no task here says its floor and ceiling")


def test_a_training_that_collapsed_is_suspect(tmp_path: Path) -> None:
    told = {"collapsed": 1.0, "effective_rank": 2.0, "effective_rank_untrained": 9.0}
    put(tmp_path, "vit", 3, {"probe": 50.0}, costs={**told, "pretrain_loss": 0.9, "pretrain_loss_first": 0.8})
    (line,) = only(tmp_path).rows[0].flags
    assert line.startswith("seed 3 seems to have collapsed: effective rank of the features 2, untrained 9; loss 0.8 at")


@pytest.mark.parametrize("first", [2**53, 2**63 - 2, 2**64, 10**30])
def test_no_digit_of_a_seed_is_lost(tmp_path: Path, first: int) -> None:
    seeds = (first, first + 1)  # one and the same as floats
    put(tmp_path, "linear", None, {"probe": 40.0})  # a gap, for which pandas would make floats of them
    for seed, depth in zip(seeds, (0.25, "lost"), strict=True):
        put(tmp_path, "vit", seed, {"probe": 50.0, "depth": depth})
    written = write_all(tmp_path)
    assert written.warnings == [], "none is left out as an older run of the same seed"
    row = by_name(written.boards[0])["vit"]
    assert (row.seeds, row.cells["probe", "{}", "top1"].n) == (seeds, 2)
    assert row.failures == (f"seed {first + 1}, depth: lost",)
    assert pd.read_csv(tmp_path / "leaderboard.csv")["failures"].dropna().tolist() == list(row.failures)
    details = pd.read_csv(tmp_path / "details.csv", dtype=str)["seed"]
    assert set(details.dropna()) == {str(seed) for seed in seeds}
    assert details.isna().any()


def test_a_gap_or_a_failure_takes_the_rank(tmp_path: Path) -> None:
    for seed in (0, 1):
        put(tmp_path, "whole", seed, {"probe": 50.0, "depth": 0.3})
        put(tmp_path, "gap", seed, {"probe": 70.0, "depth": 0.1} if seed else {"probe": 70.0})
        put(tmp_path, "broken", seed, {"probe": 70.0, "depth": 0.1 if seed else "the loss\nis not finite"})
    board = only(tmp_path)
    assert {row.variant: row.rank for row in board.rows} == {"whole": (1, 1), "gap": None, "broken": None}
    assert [row.variant for row in board.rows if row.overall.mean is not None] == ["whole"]
    tasks = [column for column in board.columns if not column.is_cost]
    assert [by_name(board)[name].coverage(tasks) for name in ("whole", "gap", "broken")] == [1.0, 0.75, 0.75]
    assert board.failures == ["broken, seed 0, depth: the loss is not finite"]
    assert by_name(board)["broken"].cells["depth", "{}", "absrel"].failed == 1


def test_a_task_that_fails_everywhere_has_a_column(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0, "depth": "no targets"})
    board = only(tmp_path)
    assert [column.task for column in board.columns if not column.is_cost] == ["depth", "probe"]
    assert board.rows[0].rank is None
    assert board.failures == ["vit, seed 0, depth: no targets"]


def test_floors_come_last_and_take_no_place(tmp_path: Path) -> None:
    put(tmp_path, "vit", None, {"probe": 50.0})
    put(tmp_path, "raw", None, {"probe": 90.0}, floor=True)
    put(tmp_path, "vit", 0, {"probe": 30.0}, floor=True, budget={"steps": 0}, run="untrained")
    ranks = {row.name: row.rank for row in only(tmp_path).rows}
    assert list(ranks.items()) == [("vit", (1, 1)), ("raw", None), ("vit (untrained)", None)]


def test_masking_and_ratio_may_be_settings(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0}, masking="block", ratio=0.5)
    put(tmp_path, "linear", None, {"probe": 40.0}, settings={"k": 8, "masking": "uniform", "ratio": 0.75})
    rows = by_name(only(tmp_path))
    assert set(rows) == {"vit block 0.5", "linear uniform 0.75"}
    assert rows["linear uniform 0.75"].settings == {"k": 8}


def test_only_settings_that_differ_are_in_the_label(tmp_path: Path) -> None:
    for patch in (4, 8):
        put(tmp_path, "vit", 0, {"probe": 50.0}, settings={"width": 96, "patch": patch}, run=f"vit{patch}")
    assert set(by_name(only(tmp_path))) == {"vit patch=4", "vit patch=8"}


def test_a_label_leaves_out_what_is_as_by_default_and_the_notes_say_it(tmp_path: Path) -> None:
    plain = {"patch": 4, "target": "normalised", "depths": [3, 3]}
    for run, changes in {"a": {}, "b": {"target": "hog"}, "c": {"depths": [1, 1]}}.items():
        put(tmp_path, "vit_mae", 0, {"probe": 50.0}, settings={**plain, **changes}, run=run)
        put(tmp_path, "conv_mae", 0, {"probe": 50.0}, settings={**plain, **changes}, run=f"conv{run}")
    board = only(tmp_path)
    conv = {"conv_mae", "conv_mae target=hog", "conv_mae depths=[1, 1]"}
    known = {  # it has no such setting
        "vit_mae depths=[3, 3]",
        "vit_mae depths=[3, 3] target=hog",
        "vit_mae depths=[1, 1]",
    }  # it has no such setting
    assert {row.label for row in board.rows} == conv | known
    assert dict(notes(board))["vit_mae"] == "patch=4; where not told: target=normalised"
    assert dict(notes(board))["conv_mae"] == "patch=4; where not told: depths=[3, 3] target=normalised"


def test_settings_stand_behind_what_they_belong_to(tmp_path: Path) -> None:
    masks = {"masking": "attention", "ratio": 0.75, "settings": {"width": 96, "patch": 4}}
    for hide in ("high", "low"):
        put(tmp_path, "vit", 0, {"probe": 50.0}, **masks, masking_settings={"hide": hide, "start": 0.0}, run=hide)
    other = {**masks, "settings": {"width": 96, "patch": 8}, "masking_settings": {"hide": "low", "start": 0.0}}
    put(tmp_path, "vit", 0, {"probe": 50.0}, **other, run="other")
    labels = {"vit patch=4 attention 0.75", "vit patch=4 attention hide=low 0.75"}
    assert set(by_name(only(tmp_path))) == {*labels, "vit patch=8 attention hide=low 0.75"}
    assert {row.told for row in only(tmp_path).rows} == {
        "patch=4",
        "patch=4 hide=low",
        "patch=8 hide=low",
    }


def test_two_data_sets_give_two_boards_and_one_csv(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0})
    put(tmp_path, "vit", 0, {"probe": 60.0, "depth": 0.2}, dataset="photos", run="other")
    put(tmp_path, "vit", 0, {"probe": 60.0}, dataset_settings={"size": 64}, run="larger")
    found, _ = boards(tidy(tmp_path)[0])
    assert [board.title for board in found] == ["photos", "scenes size=32", "scenes size=64"]
    wide = wide_table(found)
    assert wide["dataset"].tolist() == ["photos", "scenes", "scenes"]
    assert wide["depth absrel"].isna().tolist() == [False, True, True]


def test_hardware_splits_costs_and_never_scores(tmp_path: Path) -> None:
    put_on_two_machines(tmp_path)
    board = only(tmp_path)
    ranked = [(row.variant, row.rank, row.seeds) for row in board.rows]
    assert ranked == [("vit", (1, 1), (0, 1, 2)), ("linear", (2, 2), ())]
    assert board.hardware == ["Small CPU, 1 threads", "Small CPU, 2 threads"]
    row, seconds = board.rows[0], ("cost", "{}", "pretrain_seconds")
    score = row.cells["probe", "{}", "top1"]
    assert (score.mean, score.sd, score.n, score.half) == (51.0, 1.0, 3, pytest.approx(2.484, abs=1e-3))
    assert row.cells[seconds] == Summary(), "no mean over machines"
    assert row.cells["cost", "{}", "parameters"].n == 3, "the same wherever they are counted"
    costs = [share.costs[seconds] for share in row.shares]
    half = stats.t.interval(0.95, 1, scale=stats.sem([60.0, 62.0]))[1]
    spread = {"sd": pytest.approx(2**0.5), "half": pytest.approx(half)}
    assert costs == [Summary(61.0, n=2, **spread), Summary(30.0, None, 1)]
    wide = wide_table([board]).set_index("variant")
    assert wide["hardware"].tolist() == ["Small CPU, 1 threads; Small CPU, 2 threads", "Small CPU, 2 threads"]
    assert wide["pretrain s"].isna().tolist() == [True, False]
    assert wide["probe top1 % n"].tolist() == [3, 1]


def test_a_run_that_failed_on_another_machine_is_a_failure_of_its_row(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0})
    put(tmp_path, "vit", 1, {"probe": "no memory"}, provenance={"device": "cuda", "device_name": "Big GPU"})
    (row,) = only(tmp_path).rows
    assert (row.rank, row.failures) == (None, ("seed 1, probe: no memory",))
    assert (row.cells["probe", "{}", "top1"].n, row.cells["probe", "{}", "top1"].failed) == (1, 1)


def test_a_task_run_elsewhere_stays_with_the_machine_of_its_run(tmp_path: Path) -> None:
    run = put(tmp_path, "vit", 0, {"probe": 50.0})
    row = record(run, "vit", 0, task="depth", provenance={"device": "cuda", "device_name": "Big GPU"})
    write_rows(tmp_path / run / "depth@1.jsonl", [replace(row, metric=replace(HEADLINES["depth"], value=0.2))])
    assert [[one.hardware for one in row.shares] for row in only(tmp_path).rows] == [["Small CPU, 2 threads"]]
    (tmp_path / run / "cost@1.jsonl").unlink()
    assert [len(row.shares) for row in only(tmp_path).rows] == [1], "whatever its machine is, a run has one"


def test_of_two_runs_of_one_seed_the_newer_counts(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0}, run="b", provenance={**CPU, "date": "2025-01-01"})
    put(tmp_path, "vit", 0, {"probe": 60.0}, run="a", provenance={**CPU, "date": "2025-01-02"})
    (board,), warnings = boards(tidy(tmp_path)[0])
    assert board.rows[0].cells["probe", "{}", "top1"] == Summary(60.0, None, 1)
    assert ["run b" in line for line in warnings] == [True]


def test_of_two_versions_of_a_task_the_newer_counts(tmp_path: Path) -> None:
    run = put(tmp_path, "vit", 0, {"probe": 50.0})
    put(tmp_path, "vit", 0, {"probe": 60.0}, run=run, task_version=2)
    (board,), warnings = boards(tidy(tmp_path)[0])
    assert board.rows[0].cells["probe", "{}", "top1"].mean == 60.0
    assert ["probe@1" in line for line in warnings] == [True]


def test_a_damaged_file_is_skipped_and_named(tmp_path: Path) -> None:
    run = put(tmp_path, "vit", 0, {"probe": 50.0, "depth": 0.2})
    whole = (tmp_path / run / "depth@1.jsonl").read_bytes()
    (tmp_path / run / "depth@1.jsonl").write_bytes(whole[:-40])
    frame, warnings = tidy(tmp_path)
    assert set(frame["task"]) == {"probe", "cost"}
    assert [f"{run}/depth@1.jsonl" in line and "\n" not in line for line in warnings] == [True]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0, "depth": "no targets"})
    put(tmp_path, "raw", None, {"probe": 20.0, "depth": 0.5}, floor=True)
    first = {path: path.read_bytes() for path in write_all(tmp_path).paths}
    names = {"leaderboard.csv", "leaderboard.md", "leaderboard.html", "details.csv", "accuracy_vs_cost.png"}
    assert {path.name for path in first} == names
    assert {path: path.read_bytes() for path in write_all(tmp_path).paths} == first
    details = pd.read_csv(tmp_path / "details.csv")
    assert details["reason"].dropna().tolist() == ["no targets"]
    assert "top1@worst" in set(details["metric"])


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no results in"):
        write_all(tmp_path / "nothing")
