"""`maebench report` on 1,000 result rows: 25 rows of a board in two seeds, three tasks and the cost."""

from pathlib import Path

from maebench.leaderboard.board import COSTS
from maebench.leaderboard.report import write_all
from maebench.runs.records import Metric, ResultRecord, write_rows

SETTINGS = [(width, ratio) for width in (64, 96, 128, 192, 256) for ratio in (0.5, 0.6, 0.75, 0.8, 0.9)]
SEEDS = (0, 1)
TASKS = {"depth": "lower", "probe": "higher", "texture": "higher"}
DETAILS = 4  # metrics of a task beside its headline
MACHINE = {"device": "cpu", "device_name": "Some CPU", "threads": 2, "torch": "2.6.0", "date": "2026-01-01T00:00:00"}


def metrics(task: str, score: float) -> list[Metric]:
    """The headline of a task and its details, or all costs."""
    if task == "cost":
        return [Metric(name, score, "", "lower") for name in COSTS]
    headline = Metric("score", score, "%", TASKS[task], headline=True)
    return [headline, *(Metric(f"score@part={part}", score, "%", TASKS[task]) for part in range(DETAILS))]


def write_run(folder: Path, width: int, ratio: float, seed: int) -> int:
    """Write the cells of one run; returns how many rows they have."""
    run, written = f"{width}-{ratio}-{seed}", 0
    for task in (*TASKS, "cost"):
        rows = [
            ResultRecord(
                run_id=run,
                dataset="scenes",
                dataset_settings={"size": 32},
                variant="vit_mae",
                settings={"patch": 4, "width": width},
                masking="uniform",
                masking_settings={},
                ratio=ratio,
                seed=seed,
                budget={"steps": 600, "batch": 128},
                floor=False,
                task=task,
                task_version=1,
                task_settings={},
                readout="" if task == "cost" else "pooled",
                seconds=1.0,
                metric=metric,
                provenance=MACHINE,
            )
            for metric in metrics(task, width / 8 + ratio + seed)
        ]
        write_rows(folder / run / f"{task}@1.jsonl", rows)
        written += len(rows)
    return written


def test_report(benchmark, tmp_path):
    written = sum(write_run(tmp_path, *settings, seed) for settings in SETTINGS for seed in SEEDS)
    assert written == 1000
    report = benchmark(lambda: write_all(tmp_path))
    (board,) = report.boards
    assert (len(board.rows), report.warnings) == (len(SETTINGS), [])
    assert all(row.cells["probe", "{}", "score"].n == len(SEEDS) for row in board.rows)
    assert len((tmp_path / "details.csv").read_text().splitlines()) == 1 + written
