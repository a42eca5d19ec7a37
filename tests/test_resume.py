"""A training killed with SIGKILL ends as one that was left alone, and the seconds of a run add up.

`python tests/test_resume.py` kills a training at ten random moments and prints them.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from builders.plugins import CPU
from builders.trainings import cost, metrics, newest, trained
from rich.console import Console

from maebench.runs import config, plan
from maebench.runs.folder import Checkpoints, RunFolder, load_tensors
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner
from maebench.runs.scoring.cost import PHASES

KILLS = 3
CONFIG = """
tracks:
  - dataset: {scenes: {train: 300, val: 60, test: 60, size: 16}}
    tasks: [linear_probe, monocular_depth]
variants: [vit_mae: {width: 16, depth: 1, heads: 2, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}]
masks: {strategy: uniform, ratio: 0.75}
pretrain: {steps: 200, batch: 32, micro_batch: 24, augment: crop_flip, probe_every: 120, checkpoint_every: 0.05}
"""


@dataclass(frozen=True)
class Kill:
    """One life of the command, and how it ended."""

    moment: float
    """seconds after this life's first checkpoint"""
    step: int
    """of the checkpoint that is left; 0 for none"""
    counts: bool
    """whether it left a checkpoint of its own, so that the record counts the next start as a resume"""


def start(folder: Path, text: str) -> subprocess.Popen[str]:
    """The command at work on a config, its results in `folder`/r; one thread is enough for it."""
    folder.mkdir(exist_ok=True)
    (folder / "c.yaml").write_text(text)
    command = [sys.executable, "-m", "maebench", "run", "c.yaml", "--out", "r"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(folder: Path, text: str) -> str:
    """Let the command come to its end -> what it says on the way."""
    process = start(folder, text)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def kill(folder: Path, text: str, moment: float) -> Kill:
    """Start the command and kill it so many seconds after its first checkpoint."""
    before, process = newest(folder), start(folder, text)
    while newest(folder) == before and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    states = [Checkpoints(RunFolder(path.parent), 60).latest() for path in folder.glob("r/*/run.json")]
    step = max((state["training"]["steps"] for state in states if state), default=0)
    return Kill(moment, step, newest(folder) > before)


def killed_run(text: str, folder: Path, kills: int, seed: int, seconds: float) -> list[Kill]:
    """Kill the command at random moments of a training that takes so many seconds, then let it end."""
    rng = random.Random(seed)
    lives = [kill(folder, text, rng.uniform(0, 1.5 * seconds / kills)) for _ in range(kills)]
    finish(folder, text)
    return lives


def assert_equal(folder: Path, other: Path) -> None:
    """The same weights to the bit, the same metrics, and nothing half done is left."""
    ours, theirs = (load_tensors(trained(one) / "weights.pt")["weights"] for one in (folder, other))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name
    assert metrics(folder) == metrics(other)
    assert metrics(folder)
    assert cost(folder)["pretrain_loss"] == cost(other)["pretrain_loss"]
    assert not [*folder.rglob("*.draft"), *folder.rglob("checkpoint*.pt")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of a command that was left alone."""
    folder = tmp_path_factory.mktemp("unbroken")
    finish(folder, CONFIG)
    return folder


def test_kills_change_nothing(tmp_path: Path, unbroken: Path) -> None:
    seconds = cost(unbroken)["pretrain_seconds"]
    assert seconds is not None
    lives = killed_run(CONFIG, tmp_path, KILLS, 0, seconds)
    assert_equal(tmp_path, unbroken)
    assert cost(tmp_path)["steps"] == 200
    assert cost(unbroken)["resumes"] == 0
    assert cost(tmp_path)["resumes"] == sum(life.counts for life in lives) > 0
    assert "top1@step=120" in {name for _, name in metrics(tmp_path)}


def test_a_truncated_checkpoint_is_said_and_the_one_before_used(tmp_path: Path, unbroken: Path) -> None:
    life = kill(tmp_path, CONFIG, 0.3)
    assert 0 < life.step < 200
    (run,) = {path.parent for path in tmp_path.glob("r/*/checkpoint*.pt")}
    last, before = RunFolder(run).checkpoints
    last.write_bytes(before.read_bytes()[:-9])
    said = finish(tmp_path, CONFIG)
    assert "checkpoint.pt: is damaged" in said
    assert "going on from the one before" in said
    assert (run / "checkpoint.damaged").exists()
    assert cost(tmp_path)["resumes"] == 1
    assert_equal(tmp_path, unbroken)


def test_the_phases_add_up_to_the_wall_time(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    specs = plan.make(config.read_config(tmp_path / "c.yaml"), "c.yaml")
    runner = Runner(tmp_path / "r", tmp_path, None, CPU, Progress(Console(quiet=True)), "test", 0.05)
    runner.check(specs, "my.yaml")
    for spec in specs:
        before = time.perf_counter()
        runner.run([spec])
        wall = time.perf_counter() - before
        values = {name: value or 0.0 for (_, name), value in metrics(tmp_path, f"{spec.run_id}/cost@*.jsonl").items()}
        assert wall / 2 < values["wall_seconds"] <= wall  # its own cell is written after
        assert values["wall_seconds"] == pytest.approx(sum(values[f"{phase}_seconds"] for phase in PHASES))
        trained = values["warmup_seconds"] + values["train_seconds"]
        assert values["pretrain_seconds"] == pytest.approx(trained, rel=0.01)
    assert all(values[f"{phase}_seconds"] > 0 for phase in PHASES)  # of the last one, which is trained


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.environ["MAEBENCH_CACHE"] = place
        whole, broken = Path(place, "whole"), Path(place, "broken")
        finish(whole, CONFIG)
        lives = killed_run(CONFIG, broken, 10, 0, cost(whole)["pretrain_seconds"] or 1.0)
        print("kill  s after its first checkpoint  step of the checkpoint left")
        for number, life in enumerate(lives, 1):
            print(f"{number:4d}  {life.moment:29.3f}  {life.step:27d}")
        assert_equal(broken, whole)
        print(f"weights and metrics equal to the bit; {cost(broken)['resumes']:.0f} resumes in the record")
