"""Result files -> boards: means, spreads, ranks, gaps, machines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.boards import CPU, HEADLINES, only, put, put_on_two_machines, record

from maebench.leaderboard.board import Board, Row, Summary
from maebench.leaderboard.frame import tidy
from maebench.leaderboard.ranking import boards
from maebench.leaderboard.report import wide_table, write_all
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
    assert rows["linear"].rank == 2  # one run of a variant without randomness is complete


def test_rank_is_of_the_mean_rank_and_knows_directions(tmp_path: Path) -> None:
    put(tmp_path, "best", None, {"probe": 60.0, "depth": 0.1})
    put(tmp_path, "left", None, {"probe": 50.0, "depth": 0.3})
    put(tmp_path, "right", None, {"probe": 40.0, "depth": 0.2})
    put(tmp_path, "worst", None, {"probe": 30.0, "depth": 0.4})
    ranks = {row.variant: row.rank for row in only(tmp_path).rows}
    assert ranks == {"best": 1, "left": 2, "right": 2, "worst": 4}


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
    assert {row.variant: row.rank for row in board.rows} == {"whole": 1, "gap": None, "broken": None}
    assert board.failures == ["broken, seed 0, depth: the loss is not finite"]
    assert by_name(board)["broken"].cells["depth", "{}", "absrel"].failed == 1


def test_a_task_that_fails_everywhere_has_a_column(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0, "depth": "no targets"})
    board = only(tmp_path)
    assert [column.task for column in board.columns if not column.is_cost] == ["depth", "probe"]
    assert board.rows[0].rank is None
    assert board.failures == ["vit, seed 0, depth: no targets"]


def test_floors_come_last_and_take_no_place(tmp_path: Path) -> None:
    put(tmp_path, "vit", 0, {"probe": 50.0})
    put(tmp_path, "raw", None, {"probe": 90.0}, floor=True)
    put(tmp_path, "vit", 0, {"probe": 30.0}, floor=True, budget={"steps": 0}, run="untrained")
    ranks = {row.name: row.rank for row in only(tmp_path).rows}
    assert list(ranks.items()) == [("vit", 1), ("raw", None), ("vit (untrained)", None)]


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
    assert [(row.variant, row.rank, row.seeds) for row in board.rows] == [("vit", 1, (0, 1, 2)), ("linear", 2, ())]
    assert board.hardware == ["Small CPU, 1 threads", "Small CPU, 2 threads"]
    row, seconds = board.rows[0], ("cost", "{}", "pretrain_seconds")
    assert row.cells["probe", "{}", "top1"] == Summary(51.0, 1.0, 3)
    assert row.cells[seconds] == Summary(), "no mean over machines"
    assert row.cells["cost", "{}", "parameters"].n == 3, "the same wherever they are counted"
    costs = [share.costs[seconds] for share in row.shares]
    assert costs == [Summary(61.0, pytest.approx(2**0.5), 2), Summary(30.0, None, 1)]
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
