"""Two rows compared: the right runs and images, sentences that say what is known, and one line where nothing can be."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.boards import CPU, only, put, put_scored
from builders.commands import call
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import stats

import maebench
from maebench.leaderboard.comparison.compare import Comparison, compare
from maebench.leaderboard.comparison.ranks import holm
from maebench.leaderboard.comparison.scores import Cells
from maebench.leaderboard.comparison.statistics import Scores, difference, interval
from maebench.leaderboard.frame import tidy
from maebench.leaderboard.pages import md
from maebench.leaderboard.panels import COLOURS
from maebench.leaderboard.report import read

IMAGES = 400


def accuracy(place: int, share: float, seeds: int = 4) -> np.ndarray:
    """Of images [seeds, IMAGES], 0 or 100; hard ones are hard for all."""
    hard = np.random.default_rng(0).normal(size=IMAGES)
    noise = np.random.default_rng(place).normal(size=(seeds, IMAGES))
    return 100.0 * (hard + 0.5 * noise > np.quantile(hard, 1 - share))


def depth(place: int, mean: float, seeds: int = 4) -> np.ndarray:
    return mean * np.exp(np.random.default_rng(place).normal(0, 0.3, (seeds, IMAGES)))


A, B = {"probe": accuracy(1, 0.6), "depth": depth(1, 0.2)}, {"probe": accuracy(2, 0.4), "depth": depth(2, 0.2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two rows of four seeds with scores of images, one apart in accuracy, and a floor with none."""
    put_scored(tmp_path / "r", "vit", A, masking="uniform", ratio=0.75, costs={"pretrain_seconds": 60.0})
    put_scored(tmp_path / "r", "vit", B, masking="block", ratio=0.75, costs={"pretrain_seconds": 40.0})
    put(tmp_path / "r", "pixels", None, {"probe": 20.0, "depth": 0.4}, floor=True, costs={"pretrain_seconds": 0.0})
    return tmp_path / "r"


def comparison(folder: Path, a: str, b: str) -> Comparison:
    return compare(read(folder), read(folder), a, b)


def test_the_scores_of_a_cell_are_those_that_its_runs_kept(folder: Path) -> None:
    board, cells = only(folder), Cells(folder, tidy(folder)[0])
    columns = {column.task: column for column in board.columns}
    rows = {row.masking or row.variant: row for row in board.rows}
    found = cells.scores(board, rows["uniform"], columns["probe"])
    assert found
    assert found.seeds == (0, 1, 2, 3)
    assert (found.values == A["probe"]).all()
    floor = cells.scores(board, rows["pixels"], columns["depth"])
    assert floor
    assert (floor.seeds, floor.values.tolist()) == ((), [0.4])
    for path in folder.glob("vit-uniform-2/probe*.npz"):
        path.unlink()
    partly = cells.scores(board, rows["uniform"], columns["probe"])
    assert partly
    assert partly.values == pytest.approx(A["probe"].mean(1)), "without the images of all runs there are only means"


def test_only_the_runs_that_the_board_shows_count(folder: Path) -> None:
    """A newer run of the same seed, and a newer version of a task: the older ones are left out there and here."""
    given = {"masking": "uniform", "ratio": 0.75, "provenance": {**CPU, "date": "2030-01-01"}}
    put(folder, "vit", 3, {"probe": 90.0, "depth": 0.1}, run="again", **given)
    for seed in range(3):
        put(folder, "vit", seed, {"probe": 70.0 + seed}, run=f"vit-uniform-{seed}", task_version=2, **given)
    board, cells = only(folder), Cells(folder, tidy(folder)[0])
    row = next(row for row in board.rows if row.masking == "uniform")
    for column in (one for one in board.columns if not one.is_cost):
        found = cells.scores(board, row, column)
        assert found
        assert found.values.mean() == pytest.approx(row.cells[column.key].mean)
        assert found.seeds == ((0, 1, 2) if column.task == "probe" else (0, 1, 2, 3))


def test_the_numbers_are_those_of_the_statistics(folder: Path) -> None:
    found = comparison(folder, "uniform", "block")
    pairs = {task: [Scores(one[task].astype(np.float32).astype(float), (0, 1, 2, 3)) for one in (A, B)] for task in A}
    by_task = {one.column.task: one for one in found.contests}
    corrected = dict(zip(pairs, holm([difference(*pair).p or 0 for pair in pairs.values()]), strict=True))
    for task, (a, b) in pairs.items():
        one = by_task[task]
        assert (one.a, one.b, one.difference) == (interval(a), interval(b), difference(a, b))
        assert one.p == corrected[task]
    assert (by_task["probe"].apart, by_task["depth"].apart) == (True, False)
    table = found.table.set_index("task")
    assert table.loc["probe", "difference"] == pytest.approx((A["probe"] - B["probe"]).mean())
    assert (table["paired_images"] == IMAGES).all()


def test_the_sentences_say_what_is_known(folder: Path) -> None:
    lines = repr(comparison(folder, "uniform", "block")).splitlines()
    probe, same, cost = (next(line for line in lines if word in line) for word in ("probe", "depth", "pretraining"))
    assert re.fullmatch(
        r"On scenes, probe: vit uniform 0\.75 scores [\d.]+ points more than vit block 0\.75 "
        r"\(95% interval [\d.]+ to [\d.]+, p < 0\.001 after Holm over 2 tasks, 4 seeds paired, 400 test images\)\.",
        probe,
    )
    assert "are not told apart (difference " in same
    assert "lower is better" in same
    assert re.search(r"; with 4 seeds a difference of [\d.]+ or more would have been seen 4 times in 5\.$", same)
    assert "takes 1.50 times as long as vit block 0.75 (60.00 s against 40.00 s, Small CPU, 2 threads)" in cost
    backwards = repr(comparison(folder, "block", "uniform"))
    assert "vit block 0.75 scores" in backwards
    assert "points less than vit uniform 0.75 (95% interval " in backwards


def test_without_scores_of_images_seeds_alone_are_compared(folder: Path) -> None:
    found = comparison(folder, "uniform", "pixels")
    probe = next(one for one in found.contests if one.column.task == "probe")
    means = A["probe"].mean(1)
    assert probe.difference
    assert probe.difference.p == pytest.approx(stats.ttest_1samp(means, 20.0).pvalue)
    assert "4 seeds against one run in which nothing is random, compared by seeds alone" in repr(found)


def test_what_cannot_be_known_is_said(tmp_path: Path) -> None:
    put_scored(tmp_path, "one", {"probe": accuracy(1, 0.5, 1)})
    put_scored(tmp_path, "other", {"probe": accuracy(2, 0.5, 1)})
    put_scored(tmp_path, "later", {"probe": accuracy(3, 0.5, 2)}, seeds=(5, 6))
    put(tmp_path, "pixels", None, {"probe": 20.0})
    put(tmp_path, "blank", None, {"probe": 10.0})
    put_scored(tmp_path, "copy", {"probe": accuracy(3, 0.5, 2)}, seeds=(5, 6))
    for a, b, said in (
        ("one", "other", "score 50.00 and 50.00; with one seed nothing can be said"),
        ("one", "later", "no seed in common"),
        ("pixels", "blank", "score 20.00 and 10.00; nothing is random in them and no scores of images were kept"),
        ("copy", "later", "the same every time"),
    ):
        found = comparison(tmp_path, a, b)
        assert said.partition(" and ")[2] in repr(found)
        assert [one.p for one in found.contests] == [None]


def test_rows_are_named_by_words_of_their_labels(folder: Path) -> None:
    assert comparison(folder, "0.75 uniform", "vit block").a == "vit uniform 0.75"
    for a, b, said in (
        ("vit", "block", "several rows have the words of 'vit': 'vit uniform 0.75', 'vit block 0.75'"),
        ("vti", "block", "no row has all the words of 'vti': 'vit uniform 0.75', 'vit block 0.75', 'pixels'"),
        ("", "block", "several rows have the words of ''"),
        ("uniform", "vit uniform", "'uniform' and 'vit uniform' both name vit uniform 0.75"),
    ):
        with pytest.raises(LookupError, match=re.escape(said)):
            comparison(folder, a, b)
    put_scored(folder, "vit uniform", {"probe": accuracy(3, 0.5)}, ratio=0.75)
    put_scored(folder, "vit uniform 0.75", {"probe": accuracy(4, 0.5)}, masking="block")
    assert comparison(folder, "vit block 0.75", "pixels").a == "vit block 0.75", "a whole label names its row alone"


def test_words_of_a_board_choose_among_budgets_and_a_whole_label_goes_first(tmp_path: Path) -> None:
    for kind, more in (("steps", 0.0), ("flops", 5.0)):
        for settings in ({"patch": 4}, {"patch": 4, "uniformity": 1.0}):
            for masking in ("uniform", "block"):
                for seed in range(3):
                    put(
                        tmp_path, "vit", seed, {"probe": 50.0 + more * (masking == "block") + 0.1 * seed},
                        masking=masking, ratio=0.75, settings=settings, budget={kind: 9, "batch": 128},
                        run=f"{kind}{len(settings)}{masking}{seed}",
                    )  # fmt: skip
    with pytest.raises(LookupError, match=r"several rows have the words of 'vit block 0\.75'"):
        comparison(tmp_path, "vit block 0.75", "vit uniform 0.75")
    for word, more in (("steps", 0.0), ("FLOPs", 5.0)):
        (one,) = comparison(tmp_path, f"vit block 0.75 {word}", f"vit uniform 0.75 {word}").contests
        assert one.difference
        assert one.difference.mean == pytest.approx(more)
        assert word in one.board


def test_each_data_set_that_both_have_is_compared(folder: Path) -> None:
    for seed in range(3):
        for masking, score in (("uniform", 50.0), ("block", 60.0)):
            given = {"masking": masking, "ratio": 0.75, "dataset": "photos", "run": f"photos-{masking}-{seed}"}
            put(folder, "vit", seed, {"probe": score + seed}, provenance={**CPU, "data_checksum": "photos"}, **given)
    found = comparison(folder, "uniform", "block")
    assert sorted((one.board, one.name) for one in found.contests) == [
        ("photos", "probe"),
        ("scenes", "depth"),
        ("scenes", "probe"),
    ]
    assert {one.board for one in comparison(folder, "photos uniform", "block").contests} == {"photos"}
    with pytest.raises(LookupError, match="no scores of the same task on the same data"):
        comparison(folder, "photos uniform", "pixels")


def test_two_folders_are_compared_if_their_data_are_the_same(folder: Path, tmp_path: Path) -> None:
    for name, checksum in (("same", "a"), ("changed", "b"), ("left", "a")):
        given = {"masking": "uniform", "ratio": 0.75, "provenance": {**CPU, "data_checksum": checksum}}
        put_scored(tmp_path / name, "vit", A if name == "left" else B, **given)
    left, same, changed = (read(tmp_path / name) for name in ("left", "same", "changed"))
    found = compare(left, same, "uniform", "uniform")
    assert (found.a, found.b) == (
        f"vit uniform 0.75 in {tmp_path / 'left'}",
        f"vit uniform 0.75 in {tmp_path / 'same'}",
    )
    assert all(one.difference and one.difference.images == IMAGES for one in found.contests)
    with pytest.raises(ValueError, match="different contents of the data"):
        compare(left, changed, "uniform", "uniform")


def test_versions_of_a_task_are_not_compared(folder: Path, tmp_path: Path) -> None:
    put_scored(tmp_path / "new", "vit", {"probe": A["probe"]}, masking="uniform", ratio=0.75, task_version=2)
    put(tmp_path / "new", "vit", 0, {"depth": 0.2}, masking="uniform", ratio=0.75, run="vit-uniform-0")
    found = compare(read(folder), read(tmp_path / "new"), "block", "uniform")
    assert [one.column.task for one in found.contests] == ["depth"]
    few = "depth: vit uniform 0.75 has 1 of 4 seeds: the others failed or are missing"
    assert found.warnings == (few, "probe: left out, version 1 is not compared with 2")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", "wrong"])
def test_scores_that_cannot_be_right_are_refused(folder: Path, content: bytes | str) -> None:
    path = folder / "vit-uniform-1/probe@1.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez_compressed(path, scores=A["probe"][1] + 1)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        comparison(folder, "uniform", "block")


def test_times_of_different_machines_are_not_compared(folder: Path) -> None:
    put_scored(folder, "fast", A, provenance={**CPU, "threads": 8})
    (line,) = (one for one in repr(comparison(folder, "fast", "block")).splitlines() if "pretraining" in one)
    assert line == "On scenes, pretraining: times are not compared, since they come from different machines."
    assert "pretraining" not in repr(comparison(folder, "pixels", "block")), "what is not trained takes no time"


def test_the_command_prints_sentences_and_writes_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("compare", "vit uniform", "block", folder, "--out", out) == 0
    said = capsys.readouterr()
    *sentences, files = said.out.splitlines()
    assert sentences == maebench.results(folder).compare("vit uniform", "block").sentences
    assert files == "files: " + ", ".join(str(out / f"compare.{kind}") for kind in ("md", "csv", "png"))
    page, table = (out / "compare.md").read_text(), pd.read_csv(out / "compare.csv")
    assert page.startswith("# vit uniform 0.75 against vit block 0.75\n")
    assert all(f"- {md(one)}\n" in page for one in sentences)
    assert table["difference"].between(table["low"], table["high"]).all()
    assert table["p_holm"].ge(table["p"]).all()
    picture = np.asarray(Image.open(out / "compare.png").convert("RGB")) / 255
    blue = np.abs(picture - to_rgb(COLOURS[0])).max(-1) < 0.02
    assert blue.any(), "a is told apart, and better"
    assert np.nonzero(blue)[1].min() > 0.5 * picture.shape[1], "so it is right of 0"


def test_bad_usage_of_the_command_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    for words, message in {
        ("uniform", "block", "none"): "none: is no folder",
        ("uniform", "block", folder, "none"): "none: is no folder",
        ("uniform", "blck", folder): "no row has all the words of 'blck'",
        ("uniform", "block", folder, "--out", tmp_path / "taken"): "taken: cannot be written to",
    }.items():
        assert call("compare", *words) == 2, words
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("maebench: ")
        assert message in line


def test_a_board_is_read_without_its_images(folder: Path) -> None:
    """A results folder whose scores of images are damaged still has its board, and says so."""
    for path in folder.glob("*/*.npz"):
        path.write_bytes(b"damaged")
    cells = Cells(folder, tidy(folder)[0])
    assert len(cells.runs(only(folder), only(folder).rows[0], only(folder).columns[0])) == 4
    assert json.loads(only(folder).columns[0].settings) == {}
    told = read(folder)
    assert all(row.cells[told.boards[0].columns[0].key].mean is not None for row in told.boards[0].rows)
    assert any("without the scores of images" in line and "is damaged" in line for line in told.warnings)


def test_seeds_that_failed_are_told(folder: Path) -> None:
    assert not comparison(folder, "uniform", "block").warnings
    put(folder, "vit", 9, {"probe": "FloatingPointError: the loss is not finite"}, masking="block", ratio=0.75)
    lines = comparison(folder, "uniform", "block").warnings
    assert [line for line in lines if line.startswith("probe")] == [
        "probe: vit block 0.75 has 4 of 5 seeds: the others failed or are missing"
    ]
