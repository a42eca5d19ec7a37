"""Whatever fails, and however, is on record: the board is made, and the other cells are as they would have been."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.plugins import CPU, DENSE, LABELS, PICTURES, write
from rich.console import Console

from maebench.leaderboard.report import write_all
from maebench.runs.config import Config
from maebench.runs.plan import RunSpec, make
from maebench.runs.progress import Progress
from maebench.runs.records import ResultRecord, read_rows
from maebench.runs.runner import Runner

SOUND = LABELS.replace("encode(images).flatten(1).argmax(1)", "images[:, 0, 0, 0].long() % 2")


def run(folder: Path, *specs: RunSpec) -> list[ResultRecord]:
    """The rows of all cells, once the board of them is made."""
    runner = Runner(folder / "r", folder, folder, CPU, Progress(Console(quiet=True)), "")
    runner.run(specs)
    written = write_all(folder / "r")
    assert written.boards
    assert (folder / "r" / "leaderboard.md").read_text(encoding="utf-8")
    return [row for path in sorted(folder.glob("r/*/*.jsonl")) for row in strict(path)]


def strict(path: Path) -> Iterator[ResultRecord]:
    """The rows of a file that any reader of JSON can read."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path}: {constant} is not JSON")

    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    yield from read_rows(path)


def planned(folder: Path, changes: dict[str, Any]) -> list[RunSpec]:
    write(folder, "datasets", "toy_pictures", PICTURES)
    write(folder, "variants", "toy_dense", DENSE)
    write(folder, "tasks", "toy_sound", SOUND)
    base = {
        "tracks": [{"dataset": {"toy_pictures": {"size": 4}}, "tasks": ["toy_sound"]}],
        "variants": "toy_dense",
        "pretrain": {"steps": 2, "batch": 4},
    }
    return [spec for spec in make(Config.model_validate({**base, **changes}), "x", folder) if not spec.floor]


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_a_setting_that_json_lacks_fails_alone_and_with_a_record(tmp_path: Path, number: float) -> None:
    (sound,) = planned(tmp_path, {})
    settings = {**sound.encoder.variant.settings, "gain": number}  # past the door, as no config can
    endless = replace(sound, encoder=replace(sound.encoder, variant=replace(sound.encoder.variant, settings=settings)))
    rows = run(tmp_path, endless, sound)
    failed = [row for row in rows if row.status == "failed"]
    assert {row.task for row in failed} == {"cost", "toy_sound"}
    assert {row.run_id for row in failed} == {endless.run_id}
    assert {row.settings["gain"] for row in failed} == {"Infinity" if math.isinf(number) else "NaN"}
    assert {row.task for row in rows if row.run_id == sound.run_id and row.status == "ok"} == {"cost", "toy_sound"}


SPEECHLESS = """
class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

"""
TROUBLES = {
    "Speechless()": "Speechless: <exception str() failed>",
    "OSError('cannot read caf\\udce9.png')": r"OSError: cannot read caf\udce9.png",
    "KeyError('depth')": "KeyError: 'depth'",
    "ValueError('two\\nlines [/of] markup')": "ValueError: two lines [/of] markup",
    "ZeroDivisionError": "ZeroDivisionError",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_error_of_any_sort_has_its_record(tmp_path: Path, trouble: str) -> None:
    write(tmp_path, "tasks", "toy_bad", SPEECHLESS + SOUND.replace("    return lambda", f"    raise {trouble}\n    #"))
    tasks = [{"dataset": {"toy_pictures": {"size": 4}}, "tasks": ["toy_bad", "toy_sound"]}]
    rows = run(tmp_path, *planned(tmp_path, {"tracks": tasks}))
    assert {row.task: row.status for row in rows} == {"toy_bad": "failed", "toy_sound": "ok", "cost": "ok"}
    (reason,) = (row.reason for row in rows if row.status == "failed")
    assert reason.endswith(TROUBLES[trouble])
    (text,) = tmp_path.glob("r/*/toy_bad*.failed.txt")
    assert "in fit" in text.read_text(encoding="utf-8")


def test_a_metric_that_json_lacks_is_a_failure_of_its_task(tmp_path: Path) -> None:
    write(tmp_path, "tasks", "toy_bad", SOUND.replace('(guess == targets["label"]).float().mean()', "float('inf')"))
    tasks = [{"dataset": {"toy_pictures": {"size": 4}}, "tasks": ["toy_bad", "toy_sound"]}]
    rows = run(tmp_path, *planned(tmp_path, {"tracks": tasks}))
    assert {row.task: row.status for row in rows} == {"toy_bad": "failed", "toy_sound": "ok", "cost": "ok"}


SWITCH = DENSE.replace("gain: float = 1.0", "gain: float = 1.0, flip: bool = False").replace(
    "return Dense(shape, width, gain)", "return Dense(shape, width, -gain if flip else gain)"
)


def test_a_setting_that_is_true_or_false_comes_through_to_the_board(tmp_path: Path) -> None:
    write(tmp_path, "variants", "toy_switch", SWITCH)
    specs = planned(tmp_path, {"variants": ["toy_switch", {"toy_switch": {"flip": True}}]})
    rows = run(tmp_path, *specs)
    assert {row.settings["flip"] for row in rows} == {False, True}
    assert {row.status for row in rows} == {"ok"}
    board = (tmp_path / "r" / "leaderboard.md").read_text()
    assert "flip=true" in board
    assert "flip=false" in board
