"""Whatever fails, and however, is on record: the board is made, and the other cells are as they would have been."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.plugins import CPU, DENSE, LABELS, MASKED, PICTURES, RANDOM, write
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


CHANGES = {
    "its labels": 'train.targets["label"].zero_()',
    "the images": "train.images.zero_()",
    "nothing": "None",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_task_that_changes_data_in_place_spoils_no_other(tmp_path: Path, what: str) -> None:
    code = SOUND.replace("    return lambda", f"    {CHANGES[what]}\n    return lambda")
    scores = {}
    for name in ("alone", "beside"):
        folder = tmp_path / name
        write(folder, "tasks", "toy_greedy", code)
        tasks = ["toy_greedy", "toy_sound"] if name == "beside" else ["toy_sound"]
        track = {"dataset": {"toy_pictures": {"size": 4}}, "tasks": tasks}
        rows = run(folder, *planned(folder, {"tracks": [track], "seeds": [0, 1]}))
        values = {
            (row.seed, row.metric.name): row.metric.value for row in rows if row.metric and row.task != "toy_greedy"
        }
        scores[name] = {key: value for key, value in values.items() if "seconds" not in key[1]}
        failed = {(row.task, row.seed) for row in rows if row.status == "failed"}
        if what == "the images" and name == "beside":
            assert failed == {(task, seed) for task in ("toy_greedy", "toy_sound", "cost") for seed in (0, 1)}
            (reason,) = {row.reason for row in rows if row.task == "toy_greedy"}
            assert "task toy_greedy has changed images of the data set in place" in reason
        else:
            assert not failed
    if what != "the images":
        same = {key: value for key, value in scores["alone"].items() if key[1] in ("accuracy", "pretrain_loss")}
        assert same
        assert same == {key: scores["beside"][key] for key in same}


def test_a_plugin_that_exits_is_a_failed_cell(tmp_path: Path) -> None:
    planned(tmp_path, {})
    write(
        tmp_path, "tasks", "toy_exit", SOUND.replace("    return lambda", "    raise SystemExit(0)\n    return lambda")
    )
    track = {"dataset": {"toy_pictures": {"size": 4}}, "tasks": ["toy_exit", "toy_sound"]}
    rows = run(tmp_path, *planned(tmp_path, {"tracks": [track]}))
    assert {row.task for row in rows if row.status == "failed"} == {"toy_exit"}
    assert {row.task for row in rows if row.status == "ok"} == {"toy_sound", "cost"}


def test_a_masking_that_changes_images_in_place_fails_alone(tmp_path: Path) -> None:
    planned(tmp_path, {})
    write(tmp_path, "variants", "toy_masked", MASKED)
    write(tmp_path, "maskings", "toy_random", RANDOM)
    write(tmp_path, "maskings", "toy_black", RANDOM.replace("    return", "    images.zero_()\n    return"))
    changes = {"variants": "toy_masked", "masks": {"strategy": ["toy_random", "toy_black"], "ratio": 0.5}}
    rows = run(tmp_path, *planned(tmp_path, changes))
    assert {row.masking for row in rows if row.status == "failed"} == {"toy_black"}
    assert {row.masking for row in rows if row.status == "ok"} == {"toy_random"}
